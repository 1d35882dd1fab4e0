"""Commands are safe: nothing old arrives, a robot that lost its commander stops, and who commands is known."""

import json
import math
import signal
import subprocess
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist, TwistStamped
from switchboard.msg import Connection, Traffic
from switchboard.srv import ReleaseTopic

from graph import LATCHED
from processes import environment, program
from waiting import wait_for

STOPPING = """
accept:
  - {topic: /cmd_vel, type: geometry_msgs/msg/Twist, stop: zero, max_age: 0.3}
  - {topic: /stamped, type: geometry_msgs/msg/TwistStamped, stop: zero}
"""
EXCLUSIVE = """
accept:
  - {topic: /cmd_vel, type: geometry_msgs/msg/Twist, exclusive: 600}
"""
NOTHING = "want: []\n"


def twist(speed):
    message = Twist()
    message.linear.x = speed
    return message


def speeds(collector):
    return [message.linear.x for message in collector.snapshot()]


def drive(publisher, collector, speed, limit=30.0):
    """Publishes `speed` until the robot gets it."""

    def arrived():
        publisher.publish(twist(speed))
        return speed in speeds(collector)

    wait_for(arrived, lambda: f"the speed {speed}; the robot got {speeds(collector)[-20:]}", limit)


def stop_after(collector, speed, limit=30.0):
    """Waits until the robot is told to stop after `speed`."""

    def stopped():
        got = speeds(collector)
        return speed in got and 0.0 in got[got.index(speed):]

    wait_for(stopped, lambda: f"a stop; the robot got {speeds(collector)[-20:]}", limit)


def between(collector, before, after):
    """What came after the last `before` and before the first `after`."""
    got = speeds(collector)
    last = len(got) - 1 - got[::-1].index(before)
    return got[last + 1:got.index(after)]


def traffic_of(message, topic, client, direction):
    found = [entry for entry in message.topics
             if (entry.topic, entry.client, entry.direction) == (topic, client, direction)]
    assert len(found) <= 1, "two rows of one topic"
    return found[0] if found else None


def wait_for_clocks(exchange, *clients):
    """Until each end knows the clock of the other: before, nothing is known to be old."""
    for client in clients:
        exchange.wait_for_status(
            lambda status: not math.isnan(exchange.client_status(client.id, status).clock_offset),
            f"the clock of {client.id}",
        )
        lines = client.graph.collect(Connection, f"/switchboard_{client.role}/connection", LATCHED)
        lines.wait_until(lambda line: not math.isnan(line.clock_offset), "the clock of the server")
        client.graph.destroy(lines)


def a_driven_robot(exchange, rules=STOPPING):
    exchange.start()
    r1, alice = exchange.robot("r1", rules=rules), exchange.operator("alice", rules=NOTHING)
    exchange.wait_on("r1", "alice")
    wait_for_clocks(exchange, r1, alice)
    return r1, alice


def test_a_command_that_was_held_up_is_dropped_and_counted(exchange):
    r1, alice = a_driven_robot(exchange)
    robot = r1.graph.collect(Twist, "/cmd_vel")
    traffic = r1.graph.collect(Traffic, "/switchboard_robot/traffic")
    diagnostics = r1.graph.collect(DiagnosticArray, "/diagnostics")
    joystick = alice.graph.publisher(Twist, "/r1/cmd_vel")
    drive(joystick, robot, 1.0)

    for held_up in (alice.process, exchange.server):
        held_up.signal(signal.SIGSTOP)
        for _ in range(20):
            joystick.publish(twist(66.0))
        # The age of these commands is what is tested; the line survives four seconds of silence.
        time.sleep(1.5)
        held_up.signal(signal.SIGCONT)
        marker = 2.0 if held_up is alice.process else 3.0
        drive(joystick, robot, marker)
    assert 66.0 not in speeds(robot), "a command that was over a second old arrived"
    assert 0.0 not in speeds(robot), "the line was up all the time: nothing to stop for"

    def counted(message):
        row = traffic_of(message, "/r1/cmd_vel", "r1", Traffic_IN)
        return row is not None and row.dropped_late >= 40

    row = traffic_of(traffic.wait_until(counted, "40 late commands"), "/r1/cmd_vel", "r1", Traffic_IN)
    assert row.received == row.sent + row.dropped_late
    assert 0.0 <= row.latency_p50 < 0.3, "what went on was young"

    def warned(array):
        return any(status.level == DiagnosticStatus.WARN and "/r1/cmd_vel" in status.message and "late" in status.message
                   for status in array.status)

    diagnostics.wait_until(warned, "a warning of late commands")


Traffic_IN = 1


def test_a_robot_that_loses_its_commander_is_stopped_exactly_once(exchange):
    r1, alice = a_driven_robot(exchange)
    robot = r1.graph.collect(Twist, "/cmd_vel")
    joystick = alice.graph.publisher(Twist, "/r1/cmd_vel")
    speed = 1.0
    drive(joystick, robot, speed)

    def lose(what, how, back):
        """Something ends, the robot stops once, and can be driven again afterwards."""
        nonlocal speed
        how()
        stop_after(robot, speed, limit=10.0)
        back()
        again = speed + 1.0
        drive(joystick, robot, again)
        assert between(robot, speed, again) == [0.0], what
        speed = again

    def restart_server():
        exchange.start()
        exchange.wait_on("r1", "alice")

    lose("the server is killed", exchange.server.kill, restart_server)
    lose("the server hangs", lambda: exchange.server.signal(signal.SIGSTOP), lambda: continue_all(exchange))
    lose("the operator is killed", alice.process.kill, alice.process.start)
    lose("the operator leaves", alice.process.stop, alice.process.start)

    def another_joystick():
        nonlocal joystick
        joystick = alice.graph.publisher(Twist, "/r1/cmd_vel")

    lose("the joystick's node ends", lambda: alice.graph.destroy(joystick), another_joystick)
    lose("the robot's client leaves", r1.process.stop, r1.process.start)


def continue_all(exchange):
    exchange.server.signal(signal.SIGCONT)


def test_nothing_that_was_commanded_during_an_outage_arrives_after_it(exchange):
    r1, alice = a_driven_robot(exchange)
    robot = r1.graph.collect(Twist, "/cmd_vel")
    joystick = alice.graph.publisher(Twist, "/r1/cmd_vel")
    drive(joystick, robot, 1.0)
    exchange.server.signal(signal.SIGSTOP)

    def commanding_in_vain():
        joystick.publish(twist(77.0))
        return 0.0 in speeds(robot)

    wait_for(commanding_in_vain, "the stop of a robot whose server hangs", limit=10.0)
    exchange.server.signal(signal.SIGCONT)
    exchange.wait_on("r1", "alice")
    drive(joystick, robot, 2.0)
    assert 77.0 not in speeds(robot)
    assert between(robot, 1.0, 2.0) == [0.0]


def test_a_stop_with_a_header_is_stamped_with_the_present(exchange):
    r1, alice = a_driven_robot(exchange)
    robot = r1.graph.collect(TwistStamped, "/stamped")
    joystick = alice.graph.publisher(TwistStamped, "/r1/stamped")

    def arrived():
        message = TwistStamped()
        message.twist.linear.x = 1.0
        message.header.frame_id = "base_link"
        joystick.publish(message)
        return robot.messages

    wait_for(arrived, "a stamped command")
    before = time.time()
    alice.graph.destroy(joystick)
    stop = robot.wait_until(lambda message: message.twist.linear.x == 0.0, "a stop")
    stamp = stop.header.stamp.sec + stop.header.stamp.nanosec * 1e-9
    assert before - 0.1 <= stamp <= time.time() + 0.1
    assert stop.twist == TwistStamped().twist


def test_two_who_command_one_topic_are_seen_by_everybody(exchange):
    r1, alice = a_driven_robot(exchange)
    bob = exchange.operator("bob", rules=NOTHING)
    exchange.wait_on("bob")
    diagnostics = exchange.graph.collect(DiagnosticArray, "/diagnostics")
    robot = r1.graph.collect(Twist, "/cmd_vel")
    first = alice.graph.publisher(Twist, "/r1/cmd_vel")
    drive(first, robot, 1.0)
    assert exchange.client_status("r1").contested == []
    second = bob.graph.publisher(Twist, "/r1/cmd_vel")
    drive(second, robot, 2.0)
    words = "/cmd_vel: alice, bob"
    exchange.wait_for_status(lambda status: exchange.client_status("r1", status).contested == [words], "the contest")
    diagnostics.wait_until(
        lambda array: any(status.level == DiagnosticStatus.WARN and words in status.message for status in array.status),
        "a warning",
    )
    shown = command_line(exchange, exchange.domain, "status", "--json")
    assert [client["contested"] for client in json.loads(shown)["clients"] if client["id"] == "r1"] == [[words]]
    assert "several clients command /r1/cmd_vel: alice, bob" in command_line(exchange, exchange.domain, "status")

    # Bob had the last word: when alice goes, the robot follows him on; when he goes, it stops.
    alice.graph.destroy(first)
    exchange.wait_for_status(lambda status: exchange.client_status("r1", status).contested == [], "the end of it")
    drive(second, robot, 3.0)
    assert 0.0 not in speeds(robot)
    bob.graph.destroy(second)
    stop_after(robot, 3.0)


def command_line(exchange, domain, *arguments):
    home = exchange.folder / "ros_home" / "command_line"
    home.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [program("switchboard"), *arguments], env=environment(domain, home), capture_output=True, text=True, timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_exclusive_topic_is_held_by_the_first_until_it_is_released(exchange):
    r1, alice = a_driven_robot(exchange, EXCLUSIVE)
    bob = exchange.operator("bob", rules=NOTHING)
    exchange.wait_on("bob")
    robot = r1.graph.collect(Twist, "/cmd_vel")
    lines = r1.graph.collect(Connection, "/switchboard_robot/connection", LATCHED)
    traffic = r1.graph.collect(Traffic, "/switchboard_robot/traffic")
    first, second = alice.graph.publisher(Twist, "/r1/cmd_vel"), bob.graph.publisher(Twist, "/r1/cmd_vel")
    drive(first, robot, 1.0)

    def refused():
        second.publish(twist(66.0))
        row = traffic.latest and traffic_of(traffic.latest, "/r1/cmd_vel", "r1", Traffic_IN)
        return row and row.dropped_refused >= 10

    wait_for(refused, "ten refused commands")
    drive(first, robot, 2.0)
    assert 66.0 not in speeds(robot)
    words = "/cmd_vel: commands of bob are refused, alice commands it alone"
    lines.wait_until(lambda line: [problem for problem in line.problems if problem.startswith(words)], "the problem")
    exchange.wait_for_status(
        lambda status: any(problem.startswith(words) for problem in exchange.client_status("r1", status).problems),
        "the problem at the exchange",
    )
    lines.wait_until(lambda line: line.messages_dropped >= 10, "the refused commands in the total")
    assert r1.process.output().count(words) == 1, "it is told once"

    wrong = r1.graph.call(ReleaseTopic, "/switchboard_robot/release_topic", topic="/arm")
    assert not wrong.success and "/cmd_vel" in wrong.message, wrong
    done = r1.graph.call(ReleaseTopic, "/switchboard_robot/release_topic", topic="/cmd_vel")
    assert (done.success, done.holder) == (True, "alice"), done
    drive(second, robot, 3.0)
    said = command_line(exchange, r1.graph.domain, "release", "/cmd_vel")
    assert said == "bob commands /cmd_vel alone no more\n"
    drive(second, robot, 4.0)
    bob.graph.destroy(second)
    drive(first, robot, 5.0)
    lines.wait_until(lambda line: line.problems == [], "the end of the problem")
