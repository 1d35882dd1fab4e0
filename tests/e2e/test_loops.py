"""Two clients that offer everything and want everything: each message arrives once, and none comes back."""

from std_msgs.msg import String

from graph import prime
from waiting import wait_for

EVERYTHING = """
offer: [/**]
want: [/**]
accept: [/**]
"""
COUNT = 200


def text(data):
    return String(data=data)


def data_of(message):
    return message.data


def test_counts_stay_one_to_one(exchange):
    exchange.start()
    r1, r2 = (exchange.robot(name, rules=EVERYTHING).graph for name in ("r1", "r2"))
    exchange.wait_on("r1", "r2")
    # Everything that could carry a copy: back home, with another prefix, with two.
    at_r2 = {name: r2.collect(String, name) for name in ("/r1/chatter", "/chatter", "/r1/r2/chatter", "/r2/chatter")}
    at_r1 = {name: r1.collect(String, name) for name in ("/r2/r1/chatter", "/r1/chatter", "/r2/chatter")}
    publisher = r1.publisher(String, "/chatter")
    prime(publisher, at_r2["/r1/chatter"], text, data_of)
    for collector in [*at_r1.values(), *at_r2.values()]:
        collector.clear()
    local = r1.collect(String, "/chatter")
    wait_for(lambda: publisher.get_subscription_count() >= 2, "the local subscriber")
    for n in range(COUNT):
        publisher.publish(text(str(n)))
    at_r2["/r1/chatter"].wait_until(lambda message: message.data == str(COUNT - 1), "the last message")
    local.wait_until(lambda message: message.data == str(COUNT - 1), "the last message")

    # A loop would need no more than a round trip; a message the other way has made two of them.
    back, there = r2.publisher(String, "/fence"), r1.collect(String, "/r2/fence")
    prime(back, there, text, data_of)

    expected = [str(n) for n in range(COUNT)]
    assert [message.data for message in at_r2["/r1/chatter"].snapshot()] == expected
    assert [message.data for message in local.snapshot()] == expected
    strays = {("r1", name): len(collector.snapshot()) for name, collector in at_r1.items()}
    strays |= {("r2", name): len(collector.snapshot()) for name, collector in at_r2.items() if name != "/r1/chatter"}
    assert not any(strays.values()), strays


def test_names_do_not_pile_up(exchange):
    exchange.start()
    robots = [exchange.robot(name, rules=EVERYTHING) for name in ("r1", "r2", "r3")]
    exchange.wait_on("r1", "r2", "r3")
    publishers = [robot.graph.publisher(String, "/chatter") for robot in robots]
    collectors = {
        (viewer.id, robot.id): viewer.graph.collect(String, f"/{robot.id}/chatter")
        for viewer in robots
        for robot in robots
        if viewer is not robot
    }

    def everywhere():
        for publisher in publishers:
            publisher.publish(text("x"))
        return all(collector.messages for collector in collectors.values())

    wait_for(everywhere, "every robot's message at every other")
    ids = {robot.id for robot in robots}
    for robot in robots:
        doubled = {
            name
            for name in robot.graph.topics()
            if len(set(name.split("/")[1:-1]) & ids) > 1 or name.startswith(f"/{robot.id}/")
        }
        assert not doubled, f"in the graph of {robot.id}: {doubled}"
