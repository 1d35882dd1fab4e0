"""Servers and callers of the tests of services and actions."""

import sys
import threading
import time
from pathlib import Path

from rclpy.qos import QoSProfile
from std_srvs.srv import SetBool

from waiting import wait_for

RULES = """
offer:
  - service: /set_mode
  - service: /slow
  - action: /count
want:
  - service: /*/set_mode
  - service: /*/slow
    timeout: 15
  - action: /*/count
"""

# More answers than any test waits for at a time: a client forgets what it has no room for.
DEPTH = QoSProfile(depth=500)


def server(exchange, client, role, name, seconds=0):
    """A node in the graph of `client` that serves, started."""
    arguments = [sys.executable, Path(__file__).parent / "serving.py", role, name, seconds]
    number = sum(process.name.startswith("serving") for process in exchange.processes.all)
    return exchange.processes.new(f"serving_{number}{name.replace('/', '_')}", arguments, client.graph.domain).start()


class Answer:
    """An answer that comes, or not."""

    def __init__(self, future):
        self._came = threading.Event()
        self._future = future
        self._asked = time.monotonic()
        self._took = None
        future.add_done_callback(self._done)

    def _done(self, _):
        self._took = time.monotonic() - self._asked
        self._came.set()

    @property
    def has_come(self):
        return self._came.is_set()

    @property
    def took(self):
        return self._took

    def comes_within(self, limit):
        """Whether it is a success that comes within `limit` seconds."""
        return self._came.wait(limit) and self._future.result().success

    def get(self, limit=20.0):
        assert self._came.wait(limit), f"no answer within {limit} s"
        return self._future.result()


class Caller:
    """A client of a SetBool service in the graph of `client`."""

    def __init__(self, client, name):
        self.name = name
        self.ros = client.graph.node.create_client(SetBool, name, qos_profile=DEPTH)

    def wait(self, limit=20.0):
        assert self.ros.wait_for_service(limit), f"{self.name} is not served within {limit} s"
        return self

    def wait_gone(self, limit=20.0):
        wait_for(lambda: not self.ros.service_is_ready(), f"{self.name} to go", limit)

    def ask(self, data=True):
        return Answer(self.ros.call_async(SetBool.Request(data=data)))


def failed(response):
    """Whether a response is the type's word for failure, with words of the exchange."""
    return not response.success and response.message.startswith("switchboard: ")
