"""Actions across robots: goals, feedback, status, cancelling, and results that outlive the line."""

import threading

import pytest
from action_msgs.msg import GoalStatus, GoalStatusArray
from rclpy.action import ActionClient

from calling import RULES, Answer, server
from graph import LATCHED
from interfaces import Workspace
from waiting import wait_for


@pytest.fixture(scope="module", autouse=True)
def test_interfaces():
    Workspace("switchboard_test_interfaces").source()


class Operator:
    """An action client of /r2/count."""

    def __init__(self, client):
        from switchboard_test_interfaces.action import Count

        self.count = Count
        self.ros = ActionClient(client.graph.node, Count, "/r2/count")
        self.statuses = client.graph.collect(GoalStatusArray, "/r2/count/_action/status", LATCHED)
        self.feedback = []
        self._lock = threading.Lock()

    def _heard(self, message):
        with self._lock:
            self.feedback.append(message.feedback.now)

    def wait(self, limit=30.0):
        assert self.ros.wait_for_server(limit), f"the action is not there within {limit} s"

    def send(self, up_to):
        goal = Answer(self.ros.send_goal_async(self.count.Goal(up_to=up_to), self._heard)).get()
        assert goal.accepted
        return goal

    def wait_for_feedback(self, more_than):
        wait_for(lambda: len(self.feedback) > more_than, lambda: f"feedback; there is {self.feedback}")

    def wait_for_status(self, status):
        self.statuses.wait_until(
            lambda message: any(one.status == status for one in message.status_list), f"status {status}"
        )


def operated(exchange, pause):
    exchange.start()
    r1, r2 = exchange.robot("r1", rules=RULES), exchange.robot("r2", rules=RULES)
    exchange.wait_on("r1", "r2")
    node = server(exchange, r2, "count", "/count", pause)
    operator = Operator(r1)
    operator.wait()
    return r1, r2, node, operator


def test_a_goal_runs_on_another_robot_with_feedback_status_and_result(exchange):
    _, _, _, operator = operated(exchange, 0.1)
    goal = operator.send(10)
    result = Answer(goal.get_result_async()).get()
    assert result.status == GoalStatus.STATUS_SUCCEEDED
    assert list(result.result.counted) == list(range(10))
    # What was published before the client's route stood is not feedback of anybody.
    assert operator.feedback == sorted(set(operator.feedback)) and 9 in operator.feedback, operator.feedback
    operator.wait_for_status(GoalStatus.STATUS_SUCCEEDED)
    # Somebody who comes later sees how it ended, too.
    again = operator.send(1)
    assert Answer(again.get_result_async()).get().result.counted[0] == 0


def test_a_goal_is_cancelled_from_another_robot(exchange):
    _, _, _, operator = operated(exchange, 0.1)
    goal = operator.send(10_000)
    result = Answer(goal.get_result_async())
    operator.wait_for_feedback(3)
    cancelled = Answer(goal.cancel_goal_async()).get()
    assert len(cancelled.goals_canceling) == 1
    assert result.get().status == GoalStatus.STATUS_CANCELED
    operator.wait_for_status(GoalStatus.STATUS_CANCELED)


def test_an_action_is_there_exactly_while_the_real_one_is(exchange):
    _, _, node, operator = operated(exchange, 0.1)
    node.stop()
    wait_for(lambda: not operator.ros.server_is_ready(), "the action to go")
    node.start()
    operator.wait()
    assert Answer(operator.send(1).get_result_async()).get().status == GoalStatus.STATUS_SUCCEEDED


@pytest.mark.parametrize("broken", ["the exchange", "the robot's client", "both, while the goal ends"])
def test_a_result_is_delivered_after_a_reconnect(exchange, broken):
    _, r2, _, operator = operated(exchange, 0.1)
    goal = operator.send(60)
    result = Answer(goal.get_result_async())
    operator.wait_for_feedback(5)
    operator.statuses.clear()
    if broken == "the exchange":
        exchange.server.kill()
        exchange.start()
    elif broken == "the robot's client":
        r2.process.kill()
        exchange.wait_off("r2")
        assert not result.has_come
        r2.process.start()
    else:
        exchange.server.kill()
        r2.process.kill()
        # Six seconds of counting pass; nobody is there to hear the end of it.
        watcher = Watcher(r2)
        watcher.wait_for_status(GoalStatus.STATUS_SUCCEEDED)
        assert not result.has_come
        exchange.start()
        r2.process.start()
    exchange.wait_on("r1", "r2")
    heard = len(operator.feedback)
    answer = result.get(40.0)
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert list(answer.result.counted) == list(range(60))
    if broken != "both, while the goal ends":
        assert len(operator.feedback) > heard, "feedback goes on after the reconnect"
    operator.wait_for_status(GoalStatus.STATUS_SUCCEEDED)


class Watcher:
    """Somebody in the robot's own graph."""

    def __init__(self, client):
        self.statuses = client.graph.collect(GoalStatusArray, "/count/_action/status", LATCHED)

    wait_for_status = Operator.wait_for_status
