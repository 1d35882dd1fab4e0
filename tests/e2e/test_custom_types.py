"""Interfaces that did not exist when Switchboard was compiled, from a workspace that was built afterwards."""

import threading

import pytest
from rclpy.action import ActionClient, ActionServer

from interfaces import Workspace
from waiting import wait_for

RULES = """
offer:
  - topic: /everything
    type: switchboard_later_interfaces/msg/Everything
  - service: /reckon
  - action: /travel
want:
  - /*/everything
  - service: /*/reckon
  - action: /*/travel
"""


@pytest.fixture(scope="module")
def workspace():
    return Workspace("switchboard_later_interfaces")


@pytest.fixture(scope="module")
def interfaces(workspace):
    return workspace.load()


def everything(msg, seed):
    """A message whose every field says something, other for each seed."""

    def leaf(n):
        return msg.Leaf(name=f"leaf {seed}.{n}", wide=f"Blätter 葉 🍃 {seed}.{n}", samples=[seed + n / 8 for n in range(n)])

    message = msg.Everything(
        yes=bool(seed % 2), octet=bytes([seed % 256]), tiny=-(seed % 128), huge=2**64 - 1 - seed, ratio=seed / 4,
        text="t" * (seed % 50), short_text="sixteen at most"[: seed % 16], wide_text="ü€😀" * (seed % 7), leaf=leaf(3),
        leaves=[leaf(n) for n in range(seed % 5)], pair=[leaf(1), leaf(2)], words=["", "a", "ab" * seed],
        wide_words=["ü", "", "€" * seed], fixed=[-1, seed, 32767], bytes=bytes(range(seed % 200)),
        at_most_four=[float(seed)] * (seed % 5),
    )
    message.stamp.sec = seed
    message.pose.orientation.w = 0.5 + seed
    return message


@pytest.fixture
def robots(exchange, workspace, interfaces):
    exchange.start()
    robots = [exchange.robot(name, rules=RULES, environment=workspace.environment()) for name in ("r1", "r2")]
    exchange.wait_on("r1", "r2")
    return [robot.graph for robot in robots]


def test_a_message_of_a_later_workspace_arrives_whole_in_both_directions(robots, interfaces):
    msg, _, _ = interfaces
    for here, there, name in ((robots[0], robots[1], "r1"), (robots[1], robots[0], "r2")):
        arrived = there.collect(msg.Everything, f"/{name}/everything")
        publisher = here.publisher(msg.Everything, "/everything")

        def first():
            publisher.publish(everything(msg, 0))
            return arrived.messages

        wait_for(first, f"a first message of {name}")
        sent = [everything(msg, seed) for seed in range(1, 100)]
        for message in sent:
            publisher.publish(message)
        arrived.wait_until(lambda message: message == sent[-1], "the last message")
        received = [message for message in arrived.snapshot() if message.stamp.sec != 0]
        assert received == sent


def test_a_service_of_a_later_workspace_is_called_in_both_directions(robots, interfaces):
    msg, srv, _ = interfaces

    def reckon(request, response):
        response.sum = sum(request.numbers)
        response.joined = "·".join(request.words)
        response.everything = request.everything
        return response

    for here, there, name in ((robots[0], robots[1], "r1"), (robots[1], robots[0], "r2")):
        here.node.create_service(srv.Reckon, "/reckon", reckon)
        for seed in range(20):
            request = {"numbers": [seed, -2**40], "words": ["ü", "葉", "🍃"], "everything": everything(msg, seed)}
            answer = there.call(srv.Reckon, f"/{name}/reckon", limit=30, **request)
            assert answer.sum == seed - 2**40
            assert answer.joined == "ü·葉·🍃"
            assert answer.everything == request["everything"]


def test_an_action_of_a_later_workspace_is_run_in_both_directions(robots, interfaces):
    msg, _, action = interfaces
    for here, there, name in ((robots[0], robots[1], "r1"), (robots[1], robots[0], "r2")):

        def travel(goal):
            for step in range(goal.request.steps):
                goal.publish_feedback(action.Travel.Feedback(step=step, note=f"step {step} 葉"))
            goal.succeed()
            return action.Travel.Result(report=everything(msg, 7), done=goal.request.steps)

        server = ActionServer(here.node, action.Travel, "/travel", travel)
        client = ActionClient(there.node, action.Travel, f"/{name}/travel")
        assert client.wait_for_server(30), f"no action /{name}/travel"
        feedback = []
        goal = action.Travel.Goal(steps=5, through=[msg.Leaf(name="a", wide="ü")])
        handle = result_of(client.send_goal_async(goal, feedback_callback=feedback.append))
        assert handle.accepted
        result = result_of(handle.get_result_async())
        assert (result.status, result.result.done) == (4, 5), "STATUS_SUCCEEDED is 4"
        assert result.result.report == everything(msg, 7)
        wait_for(lambda: feedback, "feedback")
        assert all(f.feedback.note == f"step {f.feedback.step} 葉" for f in feedback)
        client.destroy()
        server.destroy()


def result_of(future, limit=30):
    """Of a future that an executor in another thread completes."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    assert done.wait(limit), f"no answer within {limit} s"
    return future.result()
