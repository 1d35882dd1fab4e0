"""Rules come and go while robots and operators run, and every route says what it is and what is in its way."""

import contextlib
import json
import subprocess
import threading
import time

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import String
from switchboard.msg import Connection, Route
from switchboard.srv import AddRule, RemoveRule

import wire
from graph import BEST_EFFORT, LATCHED, RELIABLE, Graph, prime
from processes import environment, program
from route_services import NODE, add, remove, route, routes, rules
from waiting import wait_for

def text(data):
    return String(data=data)


def data_of(message):
    return message.data


def command_line(fleet, client, *arguments, expect=0):
    done = subprocess.run(
        [program("switchboard"), *arguments],
        env=environment(client.graph.domain, fleet.folder, COLUMNS="80"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture
def r1(fleet):
    return fleet.clients["r1"].graph


@pytest.fixture
def r2(fleet):
    return fleet.clients["r2"].graph


def test_a_rule_that_is_added_makes_a_topic_flow_and_removing_it_stops_it(r1, r2):
    publisher = r1.publisher(String, "/added")
    there = r2.collect(String, "/r1/added")
    offer, want = add(r1, "offer", "/added"), add(r2, "want", "{topic: /*/added}")
    prime(publisher, there, text, data_of)
    assert route(r1, "/r1/added").state == Route.STATE_OPEN
    assert route(r2, "/r1/added").rule == "{topic: /*/added}"
    assert remove(r1, offer) == "{topic: /added}"
    wait_for(lambda: publisher.get_subscription_count() == 0, "the end of the reader")
    wait_for(lambda: r2.node.count_publishers("/r1/added") == 0, "the end of the writer")
    assert not [found for found in routes(r1) if found.local_name == "/added"]
    # The other half of the way: what the exchange announces and no rule wants is not let in.
    again = add(r1, "offer", "/added")
    prime(publisher, there, text, data_of)
    remove(r2, want)
    wait_for(lambda: r2.node.count_publishers("/r1/added") == 0, "the end of the writer")
    remove(r1, again)
    r1.destroy(publisher)
    r2.destroy(there)


def test_rules_that_make_no_sense_are_refused_with_words(r1):
    for section, rule, words in [
        ("ofer", "/x", '"ofer" is no section of the rules; use offer, want or accept'),
        ("offer", "x", "does not begin with a slash"),
        ("offer", "{topic: /x, rate: often}", 'rate: "often" is not a rate'),
        ("accept", "{topic: /x, timeout: 3}", "timeout: this key is not for a topic in accept"),
        ("want", "/odom", 'use "/*/odom" for all clients'),
        ("offer", "{topic: /x", "not valid YAML"),
    ]:
        answer = r1.call(AddRule, f"{NODE}/add_rule", section=section, rule=rule)
        assert not answer.success and words in answer.message, answer
    answer = r1.call(RemoveRule, f"{NODE}/remove_rule", id=4_000_000)
    assert not answer.success and "there is no rule 4000000" in answer.message, answer


def test_a_topic_has_another_name_on_the_other_side(r1, r2):
    publisher = r1.publisher(String, "/front/image")
    leader = r1.publisher(String, "/whereabouts")
    image = r2.collect(String, "/r1/camera/image")
    odom = r2.collect(String, "/leader/whereabouts")
    with rules(
        (r1, "offer", "{topic: /front/**, as: /camera/**}"),
        (r1, "offer", "/whereabouts"),
        (r2, "want", "/*/camera/**"),
        (r2, "want", "{topic: /r1/whereabouts, as: /leader/whereabouts}"),
    ):
        prime(publisher, image, text, data_of)
        prime(leader, odom, text, data_of)
        renamed = route(r1, "/r1/camera/image")
        assert (renamed.local_name, renamed.direction) == ("/front/image", Route.DIRECTION_OUT)
        renamed = route(r2, "/r1/whereabouts")
        assert (renamed.local_name, renamed.peer) == ("/leader/whereabouts", "r1")
        assert "/r1/whereabouts" not in r2.topics() and "/r1/front/image" not in r2.topics()
    r1.destroy(publisher, leader)
    r2.destroy(image, odom)


def test_a_command_has_another_name_where_it_arrives(fleet, r1):
    alice = fleet.clients["alice"].graph
    publisher = alice.publisher(String, "/r1/drive")
    there, plain = r1.collect(String, "/base/drive"), r1.collect(String, "/drive")
    with rules((r1, "accept", "{topic: /drive, as: /base/drive}")):
        prime(publisher, there, text, data_of)
        renamed = route(r1, "/r1/drive")
        assert (renamed.local_name, renamed.peer, renamed.direction) == ("/base/drive", "alice", Route.DIRECTION_IN)
        assert plain.snapshot() == []
    alice.destroy(publisher)
    r1.destroy(there, plain)


def test_a_rule_may_speak_of_nodes_and_never_wins(r1, r2):
    camera = Graph(r1.domain, "camera")
    try:
        ours, theirs = r1.publisher(String, "/per_node/ours"), camera.publisher(String, "/per_node/theirs")
        secret = camera.publisher(String, "/per_node/secret")
        there = r2.collect(String, "/r1/per_node/theirs")
        with rules(
            (r2, "want", "/*/per_node/**"),
            (r1, "offer", "{topic: /per_node/**, node: /camera_*}"),
            (r1, "offer", "{never: /per_node/secret}"),
        ):
            prime(theirs, there, text, data_of)
            offered = {found.local_name for found in routes(r1) if found.local_name.startswith("/per_node/")}
            assert offered == {"/per_node/theirs"}
            wait_for(lambda: "/r1/per_node/theirs" in r2.topics(), "the topic")
            assert not {"/r1/per_node/ours", "/r1/per_node/secret"} & r2.topics()
        r1.destroy(ours)
        camera.destroy(theirs, secret)
        r2.destroy(there)
    finally:
        camera.close()


def test_a_rule_replaces_the_qos(r1, r2):
    publisher = r1.publisher(String, "/replaced", LATCHED)
    there = r2.collect(String, "/r1/replaced", BEST_EFFORT)
    with rules(
        (r1, "offer", "{topic: /replaced, qos: {durability: volatile, depth: 3}}"),
        (r2, "want", "{topic: /r1/replaced, qos: {reliability: best_effort}}"),
    ):
        prime(publisher, there, text, data_of)
        assert route(r1, "/r1/replaced").own_qos == "reliable, volatile, keep_last 3"
        assert route(r2, "/r1/replaced").own_qos == "best_effort, volatile, keep_last 3"
        (writer,) = r2.node.get_publishers_info_by_topic("/r1/replaced")
        assert writer.qos_profile.reliability == BEST_EFFORT.reliability
        assert writer.qos_profile.durability == RELIABLE.durability
    r1.destroy(publisher)
    r2.destroy(there)


def test_a_rule_that_asks_for_more_than_is_offered_is_told(r1):
    publisher = r1.publisher(String, "/demanding", BEST_EFFORT)
    with rules((r1, "offer", "{topic: /demanding, qos: {reliability: reliable}}")):
        closed = route(r1, "/r1/demanding", lambda found: found.state == Route.STATE_CLOSED)
        assert "its rule asks for more reliability than it offers" in closed.reason
        assert "reliable, volatile" in closed.reason and "best_effort, volatile" in closed.reason
    r1.destroy(publisher)


def test_a_rate_that_is_added_counts_at_once(r1, r2):
    publisher = r1.publisher(String, "/slowed")
    there = r2.collect(String, "/r1/slowed")
    with rules((r1, "offer", "/slowed"), (r2, "want", "{topic: /*/slowed, rate: 5}")):

        def arrived():
            publisher.publish(text("0"))
            return there.messages

        wait_for(arrived, "a first message")
        there.clear()
        began = time.monotonic()
        published = 0
        while (elapsed := time.monotonic() - began) < 3.0:
            published += 1
            publisher.publish(text(str(published)))
            time.sleep(0.01)  # the pace of the publisher, 100 Hz at most
        received = len(there.snapshot())
        assert published > 100, "the publisher itself was too slow for this test"
        assert 9 <= received <= elapsed * 5 + 4, f"{received} of {published} in {elapsed:.1f} s"
    r1.destroy(publisher)
    r2.destroy(there)


def test_a_subscription_that_asks_for_more_is_told_everywhere_while_it_is_there(fleet, r1, r2):
    publisher = r1.publisher(String, "/weak", BEST_EFFORT)
    there = r2.collect(String, "/r1/weak", RELIABLE)
    connection = r2.collect(Connection, f"{NODE}/connection", LATCHED)
    diagnostics = fleet.graph.collect(DiagnosticArray, "/diagnostics")
    profiles = ("it asks for reliable, volatile", "the publishers offer best_effort, volatile")

    def in_words(problem):
        return problem.startswith(f"/r1/weak: /test_{r2.domain} gets nothing") and all(p in problem for p in profiles)

    with rules((r1, "offer", "/weak"), (r2, "want", "/*/weak")):
        connection.wait_until(lambda line: any(map(in_words, line.problems)), "the problem in the client's connection")
        fleet.wait_for_status(
            lambda status: any(map(in_words, fleet.client_status("r2", status).problems)), "the problem of r2"
        )
        diagnostics.wait_until(
            lambda array: any(
                entry.name.endswith("client r2") and entry.level == b"\x01" and "gets nothing" in entry.message
                for entry in array.status
            ),
            "a warning about r2",
        )
        assert fleet.server.output().count("problem: /r1/weak") == 1, "said once in the log of the server"
        closed = route(r2, "/r1/weak")
        assert closed.state == Route.STATE_CLOSED and all(words in closed.reason for words in profiles)
        assert closed.graph_qos.startswith("reliable") and closed.own_qos.startswith("best_effort")
        shown = command_line(fleet, fleet.clients["r2"], "routes").stdout
        assert all(len(line) <= 80 for line in shown.splitlines()), shown
        assert "/r1/weak is closed:" in shown and "rel vol" in shown and "be vol" in shown, shown
        assert all(words in " ".join(shown.split()) for words in profiles), shown
        status = subprocess.run(
            [program("switchboard"), "status"], env=environment(fleet.domain, fleet.folder), capture_output=True,
            text=True, timeout=60, check=True,
        ).stdout
        assert "ON!" in status and "r2 /r1/weak" in status, status
        # Somebody who is content is served beside it, and the problem goes with whoever had it.
        content = r2.collect(String, "/r1/weak", BEST_EFFORT)
        prime(publisher, content, text, data_of)
        assert any(map(in_words, fleet.client_status("r2").problems))
        r2.destroy(there)
        wait_for_no_problem(fleet)
        connection.wait_until(lambda line: line is connection.latest and not line.problems, "the end of the problem")
        assert route(r2, "/r1/weak").state == Route.STATE_OPEN
        r2.destroy(content)
    r1.destroy(publisher)
    r2.destroy(connection)
    fleet.graph.destroy(diagnostics)


def test_a_subscription_of_another_type_is_told(r1, r2):
    from std_msgs.msg import Int32

    publisher = r1.publisher(String, "/typed")
    there = r2.collect(Int32, "/r1/typed")
    with rules((r1, "offer", "/typed"), (r2, "want", "/*/typed")):
        closed = route(r2, "/r1/typed", lambda found: found.state == Route.STATE_CLOSED)
        assert "it subscribes to std_msgs/msg/Int32, and what comes is std_msgs/msg/String" in closed.reason
        assert closed.type_hash.startswith("RIHS01_")
    r1.destroy(publisher)
    r2.destroy(there)


@contextlib.contextmanager
def ghost(fleet, *offers):
    """A client that is none of ours, and offers topics as it likes."""
    with wire.Line(fleet.port) as line:
        line.log_in("ghost")
        stop = threading.Event()
        serving = threading.Thread(target=line.serve, args=(stop.is_set,), daemon=True)
        for number, offer in enumerate(offers):
            line.send(wire.offer(number, *offer))
        serving.start()
        try:
            yield
        finally:
            stop.set()
            serving.join(10)
            line.send(wire.goodbye())


def wait_for_problem(fleet, begin, *words):
    """Until the server's status tells of a problem of r2 that begins so and has these words."""

    def told(status):
        problems = fleet.client_status("r2", status).problems
        return any(problem.startswith(begin) and all(word in problem for word in words) for problem in problems)

    fleet.wait_for_status(told, f"a problem of r2 that begins with {begin!r}")


def wait_for_no_problem(fleet):
    fleet.wait_for_status(lambda status: not fleet.client_status("r2", status).problems, "the end of the problem")


def test_a_type_that_is_not_installed_closes_the_route_and_is_told(fleet, r2):
    with rules((r2, "want", "/ghost/**")), ghost(fleet, ("/thing", "no_such_package/msg/Thing")):
        closed = route(r2, "/ghost/thing", lambda found: found.state == Route.STATE_CLOSED)
        assert "no_such_package/msg/Thing is not installed here" in closed.reason, closed
        assert "install the ROS package no_such_package" in closed.reason, closed
        wait_for_problem(fleet, "/ghost/thing: it cannot be published here")
    wait_for_no_problem(fleet)


def test_a_type_hash_that_differs_closes_the_route_and_is_told_with_both(fleet, r2):
    other = "RIHS01_" + "b" * 64
    there = r2.collect(String, "/ghost/typed")
    with rules((r2, "want", "/ghost/**")), ghost(fleet, ("/typed", "std_msgs/msg/String", other)):
        closed = route(r2, "/ghost/typed", lambda found: found.state == Route.STATE_CLOSED)
        # The hash of std_msgs/msg/String on every distribution that has hashes.
        installed = "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"
        assert other in closed.reason and installed in closed.reason, closed
        assert closed.type_hash == other
        wait_for_problem(fleet, "/ghost/typed: ", "RIHS01_bbbbb", "RIHS01_df668c")
    wait_for_no_problem(fleet)
    r2.destroy(there)


def test_the_command_line_shows_routes_and_changes_rules(fleet, r1):
    publisher = r1.publisher(String, "/by_hand")
    client = fleet.clients["r1"]
    said = command_line(fleet, client, "rule", "add", "offer", "{topic: /by_hand, rate: 2}").stdout
    assert "is in force at /switchboard_robot" in said
    number = said.split()[1]
    wait_for(lambda: "/r1/by_hand" in command_line(fleet, client, "routes").stdout, "the route")
    shown = command_line(fleet, client, "routes", "--rules").stdout
    assert "{topic: /by_hand, rate: 2}" in shown, shown
    listed = json.loads(command_line(fleet, client, "routes", "--json").stdout)
    (found,) = [found for found in listed["routes"] if found["exchange_name"] == "/r1/by_hand"]
    assert (found["state"], found["direction"], found["local_name"]) == ("idle", "out", "/by_hand")
    assert found["graph_qos"].startswith("reliable, volatile")
    assert {"id": int(number), "section": "offer", "rule": "{topic: /by_hand, rate: 2}"} in listed["rules"]
    said = command_line(fleet, client, "rule", "remove", number).stdout
    assert said == "removed from /switchboard_robot: {topic: /by_hand, rate: 2}\n"
    refused = command_line(fleet, client, "rule", "remove", number, expect=1)
    assert f"there is no rule {number}" in refused.stderr
    assert "use offer, want or accept" in command_line(fleet, client, "rule", "add", "ofer", "/x", expect=2).stderr
    # First of its section, it decides.
    command_line(fleet, client, "rule", "add", "offer", "{topic: /by_hand, rate: 1}", "--first")
    assert route(r1, "/r1/by_hand").rule == "{topic: /by_hand, rate: 1}"
    listed = json.loads(command_line(fleet, client, "routes", "--json").stdout)["rules"]
    assert listed[0]["rule"] == "{topic: /by_hand, rate: 1}"
    command_line(fleet, client, "rule", "remove", str(listed[0]["id"]))
    r1.destroy(publisher)


def test_without_a_client_or_with_several_the_command_line_says_what_to_do(exchange, domains):
    exchange.start()
    shared = domains.next()
    first = exchange.robot("r1", domain=shared)
    second = exchange.operator("alice", domain=shared, flags=["--kind", "observer"])
    exchange.wait_on("r1", "alice")
    node = "/switchboard_operator"
    refused = second.graph.call(AddRule, f"{node}/add_rule", section="offer", rule="/x")
    assert not refused.success and "an observer only looks" in refused.message, refused
    assert second.graph.call(AddRule, f"{node}/add_rule", section="want", rule="/*/x").success

    def several():
        done = subprocess.run(
            [program("switchboard"), "routes"], env=environment(shared, exchange.folder), capture_output=True, text=True,
            timeout=60, check=False,
        )
        return done.stderr if done.returncode == 1 else None

    said = wait_for(several, "a complaint")
    assert "/switchboard_operator, /switchboard_robot" in said and "--node" in said, said
    assert command_line(exchange, first, "routes", "--node", "switchboard_operator", "--rules").stdout
    second.process.stop()
    first.process.stop()
    done = command_line(exchange, first, "routes", "--timeout", "1", expect=1)
    assert f"ROS_DOMAIN_ID {shared}" in done.stderr and "--node" in done.stderr, done.stderr
