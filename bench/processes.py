"""Child processes, each ended by its own id whatever happens, and gone with this program even if it is killed."""

import json
import os
import queue
import signal
import subprocess
import threading
import time

END_LIMIT = 10.0
TAIL = 2_000


class BenchError(Exception):
    """What went wrong, in words for people."""


class Process:
    """A running program. Its standard input is a pipe; every program here ends when that does."""

    def __init__(self, name, arguments, env, folder):
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [str(argument) for argument in arguments],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C is for this program; it ends the others in order.
                start_new_session=True,
            )
        self._lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with self.log.open("ab") as log:
            for line in self._child.stdout:
                log.write(line)
                self._lines.put(line)
        self._lines.put(None)

    def event(self, name, limit):
        """The next event of that name that the program tells on standard output, a JSON object a line."""
        deadline = time.monotonic() + limit
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise BenchError(f"{self.name} did not say {name!r} within {limit:.0f} s{self.tail()}") from None
            if line is None:
                raise BenchError(f"{self.name} has ended before it said {name!r}{self.tail()}")
            try:
                event = json.loads(line)
            except ValueError:
                continue  # a line of its log
            if isinstance(event, dict) and event.get("event") == name:
                return event

    def say(self, line):
        try:
            self._child.stdin.write(f"{line}\n".encode())
            self._child.stdin.flush()
        except BrokenPipeError:
            raise BenchError(f"{self.name} has ended{self.tail()}") from None

    def is_running(self):
        return self._child.poll() is None

    def tail(self):
        text = self.log.read_text(errors="replace")[-TAIL:].strip()
        return f"; the end of its log:\n{text}" if text else ""

    def ask_to_end(self):
        try:
            self._child.stdin.close()
        except BrokenPipeError:
            pass
        if self.is_running():
            self._child.send_signal(signal.SIGINT)

    def end(self):
        """Waits for the end of a program that was asked to end, and kills it if it does not."""
        try:
            self._child.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


class Processes:
    """Everything that was started for one figure. Used with `with`: at its end all of it has ended."""

    def __init__(self, folder):
        self.folder = folder
        self._all = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The last ones first: the ends of the line before what is between them. All are asked before any is waited for.
        for process in reversed(self._all):
            process.ask_to_end()
        for process in reversed(self._all):
            process.end()

    def start(self, name, arguments, domain, **variables):
        """Starts a program in the ROS graph `domain`, with more `variables` in its environment."""
        process = Process(name, arguments, environment(domain, self.folder) | variables, self.folder)
        self._all.append(process)
        return process

    def check(self):
        """All of them still run."""
        for process in self._all:
            if not process.is_running():
                raise BenchError(f"{process.name} has ended{process.tail()}")


def environment(domain, home):
    """The environment of a program in the ROS graph `domain` of this machine, with files under `home` only."""
    left_out = ("ROS_LOCALHOST_ONLY", "RUST_LOG", "SWITCHBOARD_LOG", "CYCLONEDDS_URI", "FASTRTPS_DEFAULT_PROFILES_FILE")
    inherited = {name: value for name, value in os.environ.items() if name not in left_out}
    return {
        **inherited,
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_HOME": str(home),
        "ROS_LOG_DIR": str(home / "log"),
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
    }
