"""Nodes with the same names and topics come and go on both sides, robots and the server restart: what flowed flows, once."""

import sys
import threading
import time

from std_msgs.msg import String

from graph import RELIABLE, Collector, prime
from waiting import wait_for

ROUNDS = 500
# In the second half nothing restarts, so that what every process holds can be compared.
ROBOT_RESTARTS = range(40, ROUNDS // 2, 50)
SERVER_RESTARTS = range(60, ROUNDS // 2, 90)
SETTLED = ROUNDS // 2 + 30
LOOK_EVERY = 25
# Fast DDS keeps about 6 KiB of every node that it ever saw, in each participant; a client has two. So memory is held
# against an idle node of rclpy, which sees the same nodes come and go, and this much for the allocator.
PARTICIPANTS = 2
GROWTH_MAX = 1024 * 1024
IDLE = "import rclpy; rclpy.init(); rclpy.spin(rclpy.create_node('idle', enable_rosout=False))"

RULES = """
offer: [/chatter, /steady, /once]
want: [/*/chatter, /*/steady, /*/once]
"""


def text(data):
    return String(data=data)


def data_of(message):
    return message.data


class Steady:
    """Publishes numbers without a pause, and finds what is missing or doubled among those that arrived."""

    def __init__(self, here, there, name):
        self._publisher = here.publisher(String, "/steady")
        self._collector = there.collect(String, f"/{name}/steady")
        self._next = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.01):
            self._publisher.publish(text(str(self._next)))
            self._next += 1

    def restart(self):
        """Forgets what came so far, and waits until something comes again."""
        self._collector.clear()
        wait_for(lambda: self._collector.messages, "the steady topic after a restart")

    def check(self):
        """Everything since the last restart came once and in order."""
        last = self._next
        self._collector.wait_until(lambda message: int(message.data) >= last, "the newest of the steady messages")
        numbers = [int(message.data) for message in self._collector.snapshot()]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), gaps(numbers)

    def end(self):
        self._stop.set()
        self._thread.join()


def gaps(numbers):
    return [(before, after) for before, after in zip(numbers, numbers[1:]) if after != before + 1][:20]


def test_five_hundred_rounds_of_the_same_nodes_leave_everything_as_it_was(exchange):
    exchange.start()
    robots = {name: exchange.robot(name, rules=RULES) for name in ("r1", "r2")}
    exchange.wait_on(*robots)
    graphs = {name: robot.graph for name, robot in robots.items()}
    other = {"r1": "r2", "r2": "r1"}
    idle = exchange.processes.new("idle", [sys.executable, "-c", IDLE], graphs["r1"].domain).start()
    steady = [Steady(graphs[name], graphs[other[name]], name) for name in robots]
    for topic in steady:
        topic.restart()
    before = None

    for number in range(ROUNDS):
        nodes = {name: graph.new_node("worker") for name, graph in graphs.items()}
        publishers, collectors = {}, {}
        for name, node in nodes.items():
            elsewhere = f"/{other[name]}/chatter"
            publishers[name], collectors[name] = graphs[name].run(
                lambda node=node, elsewhere=elsewhere: (
                    node.create_publisher(String, "/chatter", RELIABLE),
                    Collector(node, String, elsewhere, RELIABLE, False),
                )
            )
        if number % LOOK_EVERY == 0:
            for name in robots:
                prime(publishers[name], collectors[other[name]], text, data_of)
        restarted = restart(exchange, robots, number)
        for name, node in nodes.items():
            graphs[name].end_node(node)
        for topic in steady:
            if restarted:
                topic.restart()
            elif number % LOOK_EVERY == 0:
                topic.check()
        if number == SETTLED:
            before = held_by(exchange, idle)

    for topic in steady:
        topic.check()
        topic.end()
    after = held_by(exchange, idle)
    for name, graph in graphs.items():
        publisher = graph.publisher(String, "/once")
        there = graphs[other[name]].collect(String, f"/{name}/once")
        prime(publisher, there, text, data_of)
        for n in range(100):
            publisher.publish(text(str(n)))
        there.wait_until(lambda message: message.data == "99", "the last message")
        assert [message.data for message in there.snapshot()] == [str(n) for n in range(100)]
        assert graphs[other[name]].node.count_publishers(f"/{name}/once") == 1
    allowed = PARTICIPANTS * (after["idle"][2] - before["idle"][2]) + GROWTH_MAX
    for name, (files, threads, memory) in after.items():
        files_before, threads_before, memory_before = before[name]
        print(f"{name}: {files_before} -> {files} files, {threads_before} -> {threads} threads, "
              f"{memory_before / 2**20:.1f} -> {memory / 2**20:.1f} MiB")
        assert files <= files_before + 2, f"{name} holds {files} files, {files_before} before"
        assert threads <= threads_before + 2, f"{name} has {threads} threads, {threads_before} before"
        assert memory <= memory_before + allowed, f"{name} grew from {memory_before} to {memory} bytes"


def restart(exchange, robots, number):
    if number in ROBOT_RESTARTS:
        robot = robots["r1" if number % 100 == 40 else "r2"]
        robot.process.kill()
        exchange.wait_off(robot.id)
        robot.process.start()
    elif number in SERVER_RESTARTS:
        exchange.server.kill()
        exchange.start()
    else:
        return False
    exchange.wait_on(*robots)
    return True


def held_by(exchange, idle):
    """Open files, threads and memory of each program, once they have let go of what is gone."""
    processes = [exchange.server, idle, *(client.process for client in exchange.clients.values())]
    settle = time.monotonic() + 3.0
    wait_for(lambda: time.monotonic() > settle, "three seconds in which nothing comes or goes")
    return {process.name: (process.open_files(), process.threads(), process.resident_bytes()) for process in processes}
