"""Services across robots: they are there while the real ones are, and every caller has an answer."""

import time

from calling import RULES, Caller, failed, server
from waiting import wait_for


def pair(exchange, **options):
    exchange.start()
    r1, r2 = exchange.robot("r1", rules=RULES, **options), exchange.robot("r2", rules=RULES)
    exchange.wait_on("r1", "r2")
    return r1, r2


def test_robots_and_operators_call_each_other(exchange):
    r1, r2 = pair(exchange)
    alice = exchange.operator("alice", rules=RULES)
    server(exchange, r1, "set_bool", "/set_mode")
    server(exchange, r2, "set_bool", "/set_mode")
    ways = [
        (Caller(r1, "/r2/set_mode").wait(), r2), (Caller(r2, "/r1/set_mode").wait(), r1),
        (Caller(alice, "/r1/set_mode").wait(), r1), (Caller(alice, "/r2/set_mode").wait(), r2),
    ]
    asked = [(caller.ask(data), owner, data) for data in (True, False) * 10 for caller, owner in ways]
    for answer, owner, data in asked:
        response = answer.get()
        assert (response.success, response.message) == (data, f"/set_mode in domain {owner.graph.domain}")
    took = sorted(answer.took for answer, _, _ in asked)
    print(f"{len(took)} calls at once: median {took[len(took) // 2] * 1000:.1f} ms, longest {took[-1] * 1000:.1f} ms")
    names = {name for name, _ in alice.graph.node.get_service_names_and_types()}
    assert {"/r1/set_mode", "/r2/set_mode"} <= names
    assert not {name for name in names if "alice" in name.split("/")[1] or name.count("set_mode") > 1}, names

    def counted(status):
        r1_now, r2_now = exchange.client_status("r1", status), exchange.client_status("r2", status)
        return (r1_now.calls_in, r1_now.calls_out, r1_now.calls_failed) == (20, 40, 0) and r2_now.calls_out == 40

    exchange.wait_for_status(counted, "the calls")


def test_a_service_is_there_exactly_while_the_real_one_is(exchange):
    r1, r2 = pair(exchange)
    caller = Caller(r1, "/r2/set_mode")
    assert not caller.ros.wait_for_service(2.0), "nobody serves it yet"
    for _ in range(2):
        node = server(exchange, r2, "set_bool", "/set_mode")
        caller.wait()
        assert caller.ask().get().success
        node.stop()
        caller.wait_gone(10.0)
    server(exchange, r2, "set_bool", "/set_mode")
    caller.wait()
    r2.process.stop()
    caller.wait_gone(10.0)
    r2.process.start()
    caller.wait()
    assert caller.ask().get().success
    exchange.server.kill()
    caller.wait_gone(10.0)
    exchange.start()
    caller.wait()
    assert caller.ask().get().success


def test_whoever_waits_learns_at_once_when_the_server_the_robot_or_the_exchange_goes(exchange):
    r1, r2 = pair(exchange)
    node = server(exchange, r2, "slow", "/slow", 60)
    caller = Caller(r1, "/r2/slow")

    def fails(what, end, words):
        caller.wait()
        answer = caller.ask()
        time.sleep(0.5)  # Not for the outcome: so that it is the server's work that is interrupted.
        assert not answer.has_come
        began = time.monotonic()
        end()
        response = answer.get(10.0)
        print(f"{what}: {time.monotonic() - began:.2f} s: {response.message}")
        assert failed(response) and words in response.message, response.message
        assert answer.took < 12.0, "that was its time limit"

    fails("the server's node stopped", node.stop, "r2")
    node.start()
    fails("the robot's client was killed", r2.process.kill, "r2 is not connected any more")
    r2.process.start()
    fails("the exchange was killed", exchange.server.kill, "line to the exchange is down")
    exchange.start()
    # Its proxy says goodbye with an answer, too.
    fails("the caller's own client stopped", r1.process.stop, "switchboard: ")


def test_a_server_that_hangs_or_dies_without_a_word_fails_the_call_at_its_limit(exchange):
    r1, r2 = pair(exchange)
    node = server(exchange, r2, "slow", "/slow", 60)
    caller = Caller(r1, "/r2/slow").wait()
    hangs = caller.ask()
    time.sleep(0.5)  # Not for the outcome: so that the request is with the server.
    node.kill()
    response = hangs.get(20.0)
    assert failed(response), response
    assert 14.0 < hangs.took < 16.0, hangs.took
    r1.process.wait_for_output("a call of /r2/slow has failed")


def test_a_server_that_answers_one_by_one_loses_none_of_sixty_calls_at_once(exchange):
    """A ROS server keeps ten requests and drops the oldest of more without a word."""
    r1, r2 = pair(exchange)
    server(exchange, r2, "one_by_one", "/slow", 0.05)
    caller = Caller(r1, "/r2/slow").wait()
    asked = [caller.ask() for _ in range(60)]
    assert all(answer.get().success for answer in asked)
    print(f"60 calls of 50 ms each, one by one: {max(answer.took for answer in asked):.2f} s")


def test_an_observer_calls_nothing(exchange):
    _, r2 = pair(exchange)
    server(exchange, r2, "set_bool", "/set_mode")
    observer = exchange.operator("eve", rules=RULES, flags=("--kind", "observer"))
    alice = exchange.operator("alice", rules=RULES)
    Caller(alice, "/r2/set_mode").wait()
    exchange.wait_on("eve")
    assert not Caller(observer, "/r2/set_mode").ros.wait_for_service(1.0)


def test_a_hundred_calls_at_once_with_one_robot_killed_each_have_an_answer_or_an_error_within_the_limit(exchange):
    """Three robots call each other's slow service, 102 calls at once; in the middle one of them dies."""
    exchange.start()
    robots = {name: exchange.robot(name, rules=RULES) for name in ("r1", "r2", "r3")}
    exchange.wait_on(*robots)
    nodes = {name: server(exchange, robot, "slow", "/slow", 3) for name, robot in robots.items()}
    ways = [
        (name, other, Caller(robot, f"/{other}/slow").wait())
        for name, robot in robots.items() for other in robots if other != name
    ]
    asked = [(name, other, caller.ask()) for name, other, caller in ways for _ in range(17)]
    assert len(asked) >= 100
    exchange.wait_for_status(
        lambda status: sum(exchange.client_status(name, status).calls_in for name in robots) >= len(asked),
        "all of the calls",
    )
    assert not any(answer.has_come for _, _, answer in asked), "the service is not slow enough for this test"
    robots["r3"].process.kill()
    nodes["r3"].kill()
    tally = {"answered": 0, "failed": 0}
    longest = 0.0
    for name, other, answer in asked:
        if name == "r3":
            continue  # Whoever waits there died with its robot.
        response = answer.get(16.0)
        longest = max(longest, answer.took)
        if other == "r3":
            assert failed(response) and "r3 is not connected" in response.message, response
            assert answer.took < 12.0
            tally["failed"] += 1
        else:
            assert response.success, response
            tally["answered"] += 1
    print(f"{len(asked)} calls: {tally}, the longest took {longest:.1f} s of a limit of 15 s")
    assert tally == {"answered": 34, "failed": 34}
    counted = exchange.wait_for_status(
        lambda status: sum(exchange.client_status(name, status).calls_failed for name in ("r1", "r2")) == 34,
        "the failed calls",
    )
    assert counted
    # Who came back serves and calls as before.
    robots["r3"].process.start()
    nodes["r3"].start()
    exchange.wait_on("r3")
    for _, other, caller in ways:
        # What was killed stays in its graph for a while, and whoever asks it gets no answer, as in any ROS graph.
        wait_for(lambda: caller.wait().ask().comes_within(6.0), f"an answer of {other}", 60.0)
