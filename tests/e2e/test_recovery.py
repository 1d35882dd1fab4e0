"""Crashes, hangs and restarts of either end: everything comes back by itself, once."""

import signal
import time

from std_msgs.msg import String
from switchboard.msg import ClientStatus

from graph import LATCHED, prime
from waiting import wait_for


def text(data):
    return String(data=data)


def data_of(message):
    return message.data


def assert_exactly_once(publisher, collector, count=50):
    collector.clear()
    for n in range(count):
        publisher.publish(text(f"m{n}"))
    collector.wait_until(lambda message: message.data == f"m{count - 1}", "the last message")
    assert [message.data for message in collector.snapshot()] == [f"m{n}" for n in range(count)]


def test_a_server_that_was_killed_finds_everything_as_it_was(exchange):
    exchange.start()
    r1, r2 = exchange.robot("r1"), exchange.robot("r2")
    exchange.wait_on("r1", "r2")
    there = r2.graph.collect(String, "/r1/chatter")
    publisher = r1.graph.publisher(String, "/chatter")
    prime(publisher, there, text, data_of)
    first_seen = exchange.client_status("r1").first_seen

    for _ in range(3):
        exchange.server.kill()
        exchange.start()
        exchange.wait_on("r1", "r2", limit=10.0)
        assert exchange.client_status("r1").first_seen == first_seen, "the registry forgot when it first saw r1"
        prime(publisher, there, text, data_of)
        assert_exactly_once(publisher, there)
    assert (r1.process.starts, r2.process.starts) == (1, 1)
    assert exchange.rows("PRAGMA integrity_check") == [("ok",)]
    still_open = exchange.rows("SELECT client FROM sessions WHERE disconnected_at IS NULL ORDER BY client")
    assert still_open == [("r1",), ("r2",)], "sessions of the killed servers are ended, the present ones are not"


def test_a_robot_that_was_killed_is_off_at_once_and_comes_back(exchange):
    exchange.start()
    r1, r2 = exchange.robot("r1"), exchange.robot("r2")
    exchange.wait_on("r1", "r2")
    there = r2.graph.collect(String, "/r1/chatter")
    publisher = r1.graph.publisher(String, "/chatter")
    prime(publisher, there, text, data_of)

    for _ in range(3):
        r1.process.kill()
        status = exchange.wait_off("r1", limit=5.0)
        gone = exchange.client_status("r1", status)
        assert gone.reason
        assert gone.name == "The r1" and gone.address == "127.0.0.1", "it stays in the list"
        assert exchange.client_status("r2", status).state == ClientStatus.STATE_ON
        r1.process.start()
        exchange.wait_on("r1")
        prime(publisher, there, text, data_of)
        assert_exactly_once(publisher, there)


def test_latched_messages_come_again_after_a_restart(exchange):
    exchange.start()
    r1, r2 = exchange.robot("r1"), exchange.robot("r2")
    exchange.wait_on("r1", "r2")
    publisher = r1.graph.publisher(String, "/latched", LATCHED)
    publisher.publish(text("map"))
    r2.graph.collect(String, "/r1/latched", LATCHED).wait_until(lambda m: m.data == "map", "the map")
    exchange.server.kill()
    exchange.start()
    exchange.wait_on("r1", "r2")
    late = r2.graph.collect(String, "/r1/latched", LATCHED)
    late.wait_until(lambda message: message.data == "map", "the map after the restart")


def test_a_robot_that_hangs_is_found_within_five_seconds_and_comes_back(exchange):
    exchange.start()
    r1 = exchange.robot("r1")
    exchange.robot("r2")
    exchange.wait_on("r1", "r2")
    for _ in range(2):
        r1.process.signal(signal.SIGSTOP)
        began = time.monotonic()
        try:
            status = exchange.wait_off("r1", limit=10.0)
            took = time.monotonic() - began
        finally:
            r1.process.signal(signal.SIGCONT)
        assert took < 5.0, f"a dead peer was found after {took:.1f} s"
        assert took > 1.0, "a peer was given up before it could have missed a ping"
        assert "nothing was heard" in exchange.client_status("r1", status).reason
        assert exchange.client_status("r2", status).state == ClientStatus.STATE_ON
        exchange.wait_on("r1", limit=10.0)
    assert r1.process.starts == 1


def test_a_server_that_hangs_is_found_and_found_again(exchange):
    exchange.start()
    r1 = exchange.robot("r1")
    exchange.wait_on("r1")
    since = exchange.client_status("r1").connected_since
    exchange.server.signal(signal.SIGSTOP)
    try:
        r1.process.wait_for_output("nothing was heard", limit=15)
    finally:
        exchange.server.signal(signal.SIGCONT)
    exchange.wait_for_status(
        lambda status: (r1_now := exchange.client_status("r1", status)).state == 1 and r1_now.connected_since != since,
        "a new session of r1",
    )


def test_robots_may_start_before_the_server(exchange):
    r1 = exchange.robot("r1")
    r1.process.wait_for_output(str(exchange.port))
    exchange.start()
    exchange.wait_on("r1", limit=10.0)


def test_ctrl_c_ends_every_program_with_a_goodbye(exchange):
    exchange.start()
    r1, alice = exchange.robot("r1"), exchange.operator("alice")
    exchange.wait_on("r1", "alice")
    assert r1.process.stop() == 0
    status = exchange.wait_off("r1", limit=5.0)
    assert "stopping" in exchange.client_status("r1", status).reason
    assert exchange.server.stop() == 0
    assert alice.process.is_running()
    assert alice.process.stop() == 0
    ended = wait_for(
        lambda: exchange.rows("SELECT client, reason FROM sessions WHERE disconnected_at IS NOT NULL ORDER BY client"),
        "the sessions in the registry",
    )
    assert [client for client, _ in ended] == ["alice", "r1"]
    assert all(reason for _, reason in ended)


def test_a_robot_that_starts_again_and_again_leaves_no_copies(exchange):
    """What bridges are known for: one more copy of every message per restart."""
    exchange.start()
    r1, r2 = exchange.robot("r1"), exchange.robot("r2")
    exchange.wait_on("r1", "r2")
    there = r2.graph.collect(String, "/r1/chatter")
    publisher = r1.graph.publisher(String, "/chatter")
    for _ in range(5):
        prime(publisher, there, text, data_of)
        assert r1.process.stop() == 0
        exchange.wait_off("r1")
        r1.process.start()
        exchange.wait_on("r1")
    prime(publisher, there, text, data_of)
    assert_exactly_once(publisher, there, count=100)
    wait_for(lambda: r2.graph.node.count_publishers("/r1/chatter") == 1, "one publisher, not one per restart")
