"""The frames of each robot arrive elsewhere under its id."""

from geometry_msgs.msg import TransformStamped
from tf2_msgs.msg import TFMessage

from graph import LATCHED, RELIABLE
from waiting import wait_for

OFFERS = """
offer:
  - /tf
  - /tf_static
"""
PREFIXED = """
want:
  - {topic: /r1/tf, as: /tf}
  - {topic: /r2/tf, as: /tf}
  - /*/tf_static
"""
PLAIN = """
want:
  - {topic: "/*/{tf,tf_static}", prefix_frames: false}
"""


def transforms(*frames):
    message = TFMessage()
    for n, (parent, child) in enumerate(frames):
        transform = TransformStamped()
        transform.header.frame_id = parent
        transform.child_frame_id = child
        transform.header.stamp.sec = n
        transform.transform.translation.x = 1.5 + n
        transform.transform.rotation.w = 1.0
        message.transforms.append(transform)
    return message


def test_transforms_of_two_robots_share_a_tree_without_mixing(exchange):
    exchange.start()
    robots = {name: exchange.robot(name, rules=OFFERS).graph for name in ("r1", "r2")}
    alice = exchange.operator("alice", rules=PREFIXED).graph
    bob = exchange.operator("bob", rules=PLAIN).graph
    exchange.wait_on("r1", "r2", "alice", "bob")
    tree = alice.collect(TFMessage, "/tf")
    plain = bob.collect(TFMessage, "/r1/tf")
    publishers = {name: graph.publisher(TFMessage, "/tf", RELIABLE) for name, graph in robots.items()}
    sent = transforms(("map", "odom"), ("/odom", "base_link"), ("", "r1/arm"), ("odom", "wheel_left_front"))

    def arrived():
        for publisher in publishers.values():
            publisher.publish(sent)
        parents = {message.transforms[0].header.frame_id for message in tree.snapshot()}
        return plain.messages and parents == {"r1/map", "r2/map"}

    wait_for(arrived, "the transforms of both robots")
    expected = {
        "r1": transforms(("r1/map", "r1/odom"), ("r1/odom", "r1/base_link"), ("", "r1/arm"),
                         ("r1/odom", "r1/wheel_left_front")),
        "r2": transforms(("r2/map", "r2/odom"), ("r2/odom", "r2/base_link"), ("", "r2/r1/arm"),
                         ("r2/odom", "r2/wheel_left_front")),
    }
    for message in tree.snapshot():
        assert message in expected.values(), message
    for message in plain.snapshot():
        assert message == sent, "prefix_frames: false leaves it as it is"


def test_static_transforms_reach_late_joiners_with_the_prefix(exchange):
    exchange.start()
    robot = exchange.robot("r1", rules=OFFERS).graph
    alice = exchange.operator("alice", rules=PREFIXED).graph
    exchange.wait_on("r1", "alice")
    publisher = robot.publisher(TFMessage, "/tf_static", LATCHED)
    publisher.publish(transforms(("base_link", "laser")))
    first = alice.collect(TFMessage, "/r1/tf_static", LATCHED)
    expected = transforms(("r1/base_link", "r1/laser"))
    assert first.wait_until(lambda message: message.transforms, "the static transform") == expected
    second = alice.collect(TFMessage, "/r1/tf_static", LATCHED)
    assert second.wait_until(lambda message: message.transforms, "it once more, for a late joiner") == expected
    robot.destroy(publisher)
