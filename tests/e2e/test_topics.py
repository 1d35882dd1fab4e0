"""Topics go from graph to graph under the names that docs and rules promise."""

import random
import time

import pytest
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from rclpy.duration import Duration
from rclpy.qos import LivelinessPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String

from graph import BEST_EFFORT, LATCHED, RELIABLE, prime
from waiting import wait_for


def odometry(text, x=0.0):
    message = Odometry()
    message.header.frame_id = text
    message.pose.pose.position.x = x
    return message


def frame_of(message):
    return message.header.frame_id


def test_odom_of_one_robot_is_in_the_graph_of_the_other_under_its_id(fleet):
    r1, r2 = fleet.clients["r1"].graph, fleet.clients["r2"].graph
    there = r2.collect(Odometry, "/r1/odom")
    plain = r2.collect(Odometry, "/odom")
    publisher = r1.publisher(Odometry, "/odom")
    prime(publisher, there, odometry, frame_of)
    for n in range(100):
        publisher.publish(odometry("odom", x=float(n)))
    there.wait_until(lambda message: message.pose.pose.position.x == 99.0, "the last message")
    assert [message.pose.pose.position.x for message in there.snapshot()] == [float(n) for n in range(100)]
    assert {frame_of(message) for message in there.snapshot()} == {"odom"}
    assert plain.snapshot() == [], "an un-prefixed copy came too"
    r1.destroy(publisher)
    r2.destroy(there, plain)


def test_both_robots_and_the_operator_see_each_other_at_once(fleet):
    robots = ("r1", "r2")
    graphs = {name: client.graph for name, client in fleet.clients.items()}
    collectors = {
        (viewer, robot): graphs[viewer].collect(Odometry, f"/{robot}/odom")
        for viewer in graphs
        for robot in robots
        if viewer != robot
    }
    publishers = {robot: graphs[robot].publisher(Odometry, "/odom") for robot in robots}

    def all_arrived():
        for robot, publisher in publishers.items():
            publisher.publish(odometry(robot))
        return all(collector.messages for collector in collectors.values())

    wait_for(all_arrived, lambda: f"a message for {[key for key, c in collectors.items() if not c.messages]}")
    for (viewer, robot), collector in collectors.items():
        assert {frame_of(message) for message in collector.snapshot()} == {robot}, (viewer, robot)
        graphs[viewer].destroy(collector)
    for robot, publisher in publishers.items():
        graphs[robot].destroy(publisher)


def twist(speed):
    message = Twist()
    message.linear.x = speed
    return message


def test_a_command_arrives_at_the_robot_it_names_and_nowhere_else(fleet):
    alice, r1, r2 = (fleet.clients[name].graph for name in ("alice", "r1", "r2"))
    at_r1, at_r2 = r1.collect(Twist, "/cmd_vel"), r2.collect(Twist, "/cmd_vel")
    to_r1, to_r2 = alice.publisher(Twist, "/r1/cmd_vel"), alice.publisher(Twist, "/r2/cmd_vel")

    def drive_both():
        to_r1.publish(twist(-1.0))
        to_r2.publish(twist(-2.0))
        return at_r1.messages and at_r2.messages

    wait_for(drive_both, "a command at both robots")
    for n in range(50):
        to_r1.publish(twist(float(n)))
    to_r2.publish(twist(1000.0))
    at_r1.wait_until(lambda message: message.linear.x == 49.0, "the last command")
    at_r2.wait_until(lambda message: message.linear.x == 1000.0, "the other robot's command")
    speeds = [message.linear.x for message in at_r1.snapshot() if message.linear.x >= 0]
    assert speeds == [float(n) for n in range(50)]
    assert {message.linear.x for message in at_r2.snapshot()} == {-2.0, 1000.0}
    alice.destroy(to_r1, to_r2)
    r1.destroy(at_r1)
    r2.destroy(at_r2)


def test_what_a_robot_does_not_accept_does_not_arrive(fleet):
    alice, r1 = fleet.clients["alice"].graph, fleet.clients["r1"].graph
    secret = r1.collect(String, "/secret")
    accepted = r1.collect(Twist, "/cmd_vel")
    to_secret = alice.publisher(String, "/r1/secret")
    to_cmd_vel = alice.publisher(Twist, "/r1/cmd_vel")

    def fenced():
        to_secret.publish(String(data="no"))
        to_cmd_vel.publish(twist(1.0))
        # Fifty accepted messages after as many that must not come: had there been a route, they would be here.
        return len(accepted.messages) >= 50

    wait_for(fenced, "the accepted messages")
    assert secret.snapshot() == []
    assert "/secret" not in r1.topics()
    alice.destroy(to_secret, to_cmd_vel)
    r1.destroy(secret, accepted)


def test_late_joiners_get_the_last_latched_message(fleet):
    r1, r2, alice = (fleet.clients[name].graph for name in ("r1", "r2", "alice"))
    publisher = r1.publisher(String, "/latched", LATCHED)
    publisher.publish(String(data="map"))
    first = r2.collect(String, "/r1/latched", LATCHED)
    first.wait_until(lambda message: message.data == "map", "what was published before")
    # The route stands now; somebody who comes later gets it too, and so does a second graph.
    second = r2.collect(String, "/r1/latched", LATCHED)
    elsewhere = alice.collect(String, "/r1/latched", LATCHED)
    second.wait_until(lambda message: message.data == "map", "what was published before")
    elsewhere.wait_until(lambda message: message.data == "map", "what was published before")
    publisher.publish(String(data="next"))
    for collector in (first, second, elsewhere):
        collector.wait_until(lambda message: message.data == "next", "the next message")
        assert [message.data for message in collector.snapshot()] == ["map", "next"]
    r1.destroy(publisher)
    r2.destroy(first, second)
    alice.destroy(elsewhere)


def test_best_effort_topics_pass(fleet):
    r1, r2 = fleet.clients["r1"].graph, fleet.clients["r2"].graph
    there = r2.collect(Odometry, "/r1/odom", BEST_EFFORT)
    publisher = r1.publisher(Odometry, "/odom", BEST_EFFORT)

    def arrived():
        publisher.publish(odometry("best effort"))
        return there.messages

    wait_for(arrived, "a best-effort message")
    info = r2.node.get_publishers_info_by_topic("/r1/odom")
    assert len(info) == 1
    r1.destroy(publisher)
    r2.destroy(there)


def test_what_a_publisher_promises_about_time_is_promised_elsewhere(fleet):
    """Deadline, lifespan and liveliness: a subscription that asks for them matches, as it would in the same graph."""
    r1, r2 = fleet.clients["r1"].graph, fleet.clients["r2"].graph
    limits = QoSProfile(
        depth=10, deadline=Duration(seconds=2), lifespan=Duration(seconds=3), liveliness=LivelinessPolicy.AUTOMATIC,
        liveliness_lease_duration=Duration(seconds=4),
    )
    publisher = r1.publisher(String, "/chatter", limits)
    there = r2.collect(String, "/r1/chatter", limits)
    prime(publisher, there, lambda text: String(data=text), lambda message: message.data)
    (found,) = r2.node.get_publishers_info_by_topic("/r1/chatter")
    qos = found.qos_profile
    assert [qos.deadline, qos.lifespan, qos.liveliness_lease_duration] == [
        Duration(seconds=2), Duration(seconds=3), Duration(seconds=4)
    ]
    r1.destroy(publisher)
    r2.destroy(there)


def test_a_rate_in_the_rules_keeps_the_freshest(fleet):
    r1, r2 = fleet.clients["r1"].graph, fleet.clients["r2"].graph
    there = r2.collect(String, "/r1/limited")
    publisher = r1.publisher(String, "/limited")

    def arrived():
        publisher.publish(String(data="0"))
        return there.messages

    wait_for(arrived, "a first message")
    began = time.monotonic()
    published = 0
    seconds = 3.0
    while (elapsed := time.monotonic() - began) < seconds:
        published += 1
        publisher.publish(String(data=str(published)))
        time.sleep(0.005)  # the pace of the publisher, 200 Hz at most
    received = len(there.snapshot())
    # 10 Hz for three seconds is 30; the pace may begin and end anywhere.
    assert published > 150, "the publisher itself was too slow for this test"
    assert 20 <= received <= elapsed * 10 + 5, f"{received} of {published} in {elapsed:.1f} s"
    r1.destroy(publisher)
    r2.destroy(there)


@pytest.mark.parametrize("size", [1, 100_000, 5_000_000], ids=["1B", "100kB", "5MB"])
def test_payloads_of_any_size_arrive_unchanged(fleet, size):
    r1, r2 = fleet.clients["r1"].graph, fleet.clients["r2"].graph
    there = r2.collect(CompressedImage, "/r1/image/compressed")
    publisher = r1.publisher(CompressedImage, "/image/compressed")

    def image(text, data=b""):
        message = CompressedImage(format="jpeg", data=data)
        message.header.frame_id = text
        return message

    prime(publisher, there, image, frame_of)
    data = random.Random(size).randbytes(size)
    publisher.publish(image("picture", data))
    arrived = there.wait_until(lambda message: frame_of(message) == "picture", "the picture")
    assert arrived.data.tobytes() == data
    r1.destroy(publisher)
    r2.destroy(there)


def test_a_topic_that_nobody_wants_is_not_read(fleet):
    r1 = fleet.clients["r1"].graph
    publisher = r1.publisher(String, "/unwanted", RELIABLE)
    wanted = r1.publisher(Odometry, "/odom")
    there = fleet.clients["r2"].graph.collect(Odometry, "/r1/odom")
    wait_for(lambda: wanted.get_subscription_count() == 1, "a reader of the wanted topic")
    assert publisher.get_subscription_count() == 0
    r1.destroy(publisher, wanted)
    fleet.clients["r2"].graph.destroy(there)


def test_routes_go_when_their_publisher_goes(fleet):
    r1, r2 = fleet.clients["r1"].graph, fleet.clients["r2"].graph
    there = r2.collect(String, "/r1/chatter")
    publisher = r1.publisher(String, "/chatter")
    prime(publisher, there, lambda text: String(data=text), lambda message: message.data)
    r1.destroy(publisher)
    wait_for(lambda: r2.node.count_publishers("/r1/chatter") == 0, "the end of the route")
    # And it comes back with the publisher.
    publisher = r1.publisher(String, "/chatter")
    there.clear()
    prime(publisher, there, lambda text: String(data=text), lambda message: message.data)
    publisher.publish(String(data="again"))
    there.wait_until(lambda message: message.data == "again", "a message of the second publisher")
    assert [message.data for message in there.snapshot()] == ["again"]
    r1.destroy(publisher)
    r2.destroy(there)
