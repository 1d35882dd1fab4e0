"""Nothing of a reliable topic is lost without being counted, nobody blocks anybody, and late joiners get what is theirs."""

import signal
import sys
import time
from pathlib import Path

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from graph import Graph, prime
from waiting import wait_for

KEEP_ALL = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_ONE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
COUNT = 20_000
SIZE = 1024
# What the server may hold for one stopped client (32 MiB of a class), and what it needs to pass on all of it meanwhile.
GROWTH_MAX = 80 * 1024 * 1024
FLOODER = Path(__file__).with_name("flooder.py")


def numbers(collector):
    return [int(message.data[:8]) for message in collector.snapshot()]


def gap(received):
    return next((n for n, number in enumerate(received) if n != number), None)


def flood(exchange, domain, collector, what, limit=120.0, count=COUNT, lives_on=True):
    """Floods /chatter from a process of its own until everything is at `collector`. Returns the messages per second."""
    flooder = exchange.processes.new(what, [sys.executable, FLOODER, "/chatter", count, SIZE, int(lives_on)], domain)
    flooder.start()
    flooder.wait_for_output("begins")
    began = time.monotonic()
    wait_for(
        lambda: len(collector.messages) >= count,
        lambda: f"all of {what}; {len(collector.messages)} came, the first gap is at {gap(numbers(collector))}",
        limit,
    )
    rate = count / (time.monotonic() - began)
    assert numbers(collector) == list(range(count)), f"{what}: the first gap is at {gap(numbers(collector))}"
    flooder.wait_for_output("acknowledged")
    flooder.kill()
    print(f"{what}: {rate:.0f} messages/s ({flooder.output().splitlines()[-2]})")
    return rate


def test_a_flood_arrives_whole_and_in_order(exchange, record_property):
    exchange.start()
    r1, r2 = exchange.robot("r1"), exchange.robot("r2")
    exchange.wait_on("r1", "r2")
    neighbour = Graph(r1.graph.domain, "neighbour")
    try:
        beside = neighbour.collect(String, "/chatter", KEEP_ALL)
        direct = flood(exchange, r1.graph.domain, beside, "by_dds_alone")
    finally:
        neighbour.close()
    there = r2.graph.collect(String, "/r1/chatter", KEEP_ALL)
    rate = flood(exchange, r1.graph.domain, there, "through_the_exchange")
    there.clear()
    # More than all queues on the way hold together, from a publisher that is gone long before it has arrived.
    flood(exchange, r1.graph.domain, there, "pushed_back", count=2 * COUNT, lives_on=False)
    record_property("messages_per_second", round(rate))
    record_property("messages_per_second_by_dds_alone", round(direct))
    assert exchange.client_status("r2").messages_dropped == 0


def test_a_stopped_receiver_costs_only_itself(exchange, record_property):
    exchange.start()
    r1, r2, alice = exchange.robot("r1"), exchange.robot("r2"), exchange.operator("alice")
    exchange.wait_on("r1", "r2", "alice")
    there = r2.graph.collect(String, "/r1/chatter", KEEP_ALL)
    stopped = alice.graph.collect(String, "/r1/chatter", KEEP_ALL)
    publisher = r1.graph.publisher(String, "/chatter")
    for collector in (there, stopped):
        prime(publisher, collector, lambda text: String(data=text), lambda message: message.data)
    r1.graph.destroy(publisher)
    there.wait_until(lambda message: message.data == "primed", "the last message of priming")
    there.clear()
    base = exchange.server.resident_bytes()
    alice.process.signal(signal.SIGSTOP)
    rate = flood(exchange, r1.graph.domain, there, "beside_a_stopped_receiver")
    grown = exchange.server.peak_bytes() - base
    alice.process.signal(signal.SIGCONT)
    record_property("messages_per_second", round(rate))
    record_property("resident_growth_bytes", grown)
    print(f"memory of the server grew by {grown / 1e6:.1f} MB")
    assert grown < GROWTH_MAX, f"memory grew by {grown / 1e6:.1f} MB"


def latched(collector):
    return [message.data for message in collector.snapshot()]


# As deep as those of TF: a publisher that keeps one message gives more to a late joiner until it is known how many it keeps.
LISTENER = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def expect_both(collector, newest, who):
    """What a late joiner gets: the last message of each publisher."""
    collector.wait_until(lambda message: message.data == "quiet", f"the quiet publisher, for {who}")
    collector.wait_until(lambda message: message.data == newest, f"the chatty publisher, for {who}")


def test_a_chatty_publisher_does_not_crowd_a_quiet_one_out_for_late_joiners(exchange):
    exchange.start()
    r1, r2, alice = exchange.robot("r1"), exchange.robot("r2"), exchange.operator("alice")
    exchange.wait_on("r1", "r2", "alice")
    quiet = r1.graph.publisher(String, "/latched", LATCHED_ONE)
    chatty = r1.graph.publisher(String, "/latched", LATCHED_ONE)
    quiet.publish(String(data="quiet"))

    def chat(first, count):
        for number in range(first, first + count):
            chatty.publish(String(data=f"chatty {number}"))
        return f"chatty {first + count - 1}"

    newest = chat(0, 50)
    first = r2.graph.collect(String, "/r1/latched", LISTENER)
    expect_both(first, newest, "the first joiner")
    assert latched(first).count("quiet") == 1
    newest = chat(50, 50)
    first.wait_until(lambda message: message.data == newest, "what came since")
    expect_both(r2.graph.collect(String, "/r1/latched", LISTENER), newest, "a later joiner in the same graph")
    other = alice.graph.collect(String, "/r1/latched", LISTENER)
    expect_both(other, newest, "a later joiner in another graph")
    assert latched(other) == ["quiet", newest], "as much as each of them keeps"

    r1.process.kill()
    r1.process.start()
    exchange.wait_off("r1")
    exchange.wait_on("r1")
    newest = chat(100, 30)
    for client in (r2, alice):
        collector = client.graph.collect(String, "/r1/latched", LISTENER)
        expect_both(collector, newest, f"a joiner at {client.id} after a restart of the robot")

    exchange.server.kill()
    exchange.start()
    exchange.wait_on("r1", "r2", "alice")
    newest = chat(130, 30)
    for client in (r2, alice):
        collector = client.graph.collect(String, "/r1/latched", LISTENER)
        expect_both(collector, newest, f"a joiner at {client.id} after a restart of the server")
