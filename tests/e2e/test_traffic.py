"""What `~/traffic` says is what was published and what arrived."""

import json
import math
import subprocess

from nav_msgs.msg import Odometry
from std_msgs.msg import String
from switchboard.msg import TopicTraffic, Traffic

from processes import environment, program
from waiting import wait_for

OUT, IN = TopicTraffic.DIRECTION_OUT, TopicTraffic.DIRECTION_IN


def row_of(message, topic, client, direction):
    found = [row for row in message.topics if (row.topic, row.client, row.direction) == (topic, client, direction)]
    assert len(found) <= 1, "two rows of one topic"
    return found[0] if found else None


def odometry(x):
    message = Odometry()
    message.pose.pose.position.x = x
    return message


def test_the_figures_of_all_nodes_add_up(fleet):
    r1, r2 = fleet.clients["r1"].graph, fleet.clients["r2"].graph
    at_r1 = r1.collect(Traffic, "/switchboard_robot/traffic")
    at_server = fleet.graph.collect(Traffic, "/switchboard/traffic")
    at_r2 = r2.collect(Traffic, "/switchboard_robot/traffic")
    there = r2.collect(Odometry, "/r1/odom")
    publisher = r1.publisher(Odometry, "/odom")

    def arrived():
        publisher.publish(odometry(-1.0))
        return there.messages

    wait_for(arrived, "a first message")
    for n in range(200):
        publisher.publish(odometry(float(n)))
    there.wait_until(lambda message: message.pose.pose.position.x == 199.0, "the last message")
    count = len(there.snapshot())

    def agrees(collector, client, direction):
        def is_there(message):
            row = row_of(message, "/r1/odom", client, direction)
            return row is not None and row.sent >= count

        message = collector.wait_until(is_there, f"{count} messages of /r1/odom in the traffic of {client}")
        row = row_of(message, "/r1/odom", client, direction)
        assert (row.sent, row.received) == (count, count)
        assert row.type_name == "nav_msgs/msg/Odometry"
        drops = (row.dropped_lost, row.dropped_overflow, row.dropped_late, row.dropped_refused, row.dropped_failed)
        assert (drops, row.thinned) == ((0,) * 5, 0)
        # A serialized Odometry is at least its 90 numbers of eight bytes.
        assert row.bytes >= count * 700
        return row

    rows = [
        agrees(at_r1, "r1", OUT), agrees(at_server, "r1", IN), agrees(at_server, "r2", OUT), agrees(at_r2, "r2", IN),
    ]
    assert len({row.bytes for row in rows}) == 1, "every node passes on the same bytes"
    assert not math.isnan(rows[0].latency_p50)
    for row in rows:
        assert math.isnan(row.latency_p50) or 0.0 <= row.latency_p50 <= row.latency_p99 < 5.0

    def is_quiet(message):
        row = row_of(message, "/r1/odom", "r2", IN)
        return row is not None and row.rate == 0.0

    at_r2.wait_until(is_quiet, "a rate of zero after the last message")
    r1.destroy(at_r1, publisher)
    r2.destroy(at_r2, there)
    fleet.graph.destroy(at_server)


def test_what_a_rate_limit_leaves_out_is_thinned_and_not_dropped(fleet):
    r1, r2 = fleet.clients["r1"].graph, fleet.clients["r2"].graph
    traffic = r1.collect(Traffic, "/switchboard_robot/traffic")
    there = r2.collect(String, "/r1/limited")
    publisher = r1.publisher(String, "/limited")
    published = 0

    def thinned():
        nonlocal published
        publisher.publish(String(data="x"))
        published += 1
        row = traffic.latest and row_of(traffic.latest, "/r1/limited", "r1", OUT)
        return row and row.thinned > 50 and row

    row = wait_for(thinned, "messages that are left out")
    assert row.received == row.sent + row.thinned
    assert row.received <= published
    assert 0 < row.rate <= 12, "10 Hz in the rules"
    assert row.dropped_overflow + row.dropped_late + row.dropped_refused + row.dropped_failed == 0
    r1.destroy(traffic, publisher)
    r2.destroy(there)


def shown(fleet, domain, *arguments):
    home = fleet.folder / "ros_home" / "command_line"
    home.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [program("switchboard"), *arguments], env=environment(domain, home), capture_output=True, text=True, timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_shows_the_figures_of_every_node(fleet):
    r1, r2 = fleet.clients["r1"].graph, fleet.clients["r2"].graph
    there = r2.collect(String, "/r1/chatter")
    publisher = r1.publisher(String, "/chatter")

    def arrived():
        publisher.publish(String(data="x"))
        return len(there.messages) >= 20

    wait_for(arrived, "twenty messages")
    r1.destroy(publisher)

    def counted(domain, node, client, direction):
        def enough():
            topics = json.loads(shown(fleet, domain, "traffic", "--json", "--node", node))["topics"]
            found = [row for row in topics
                     if (row["topic"], row["client"], row["direction"]) == ("/r1/chatter", client, direction)]
            return found and found[0]["sent"] >= 20

        wait_for(enough, f"twenty messages in the traffic of {node} in domain {domain}")

    counted(fleet.domain, "/switchboard", "r2", "out")
    counted(r1.domain, "/switchboard_robot", "r1", "out")
    counted(r2.domain, "/switchboard_robot", "r2", "in")
    table = shown(fleet, fleet.domain, "traffic")
    assert "/r1/chatter" in table and "DROPPED" in table, table
    r2.destroy(there)
