"""The program `switchboard`, as a person in the server's graph uses it."""

import csv
import json
import subprocess

import pytest

from processes import environment, program
from waiting import wait_for


@pytest.fixture
def switchboard(fleet):
    def run(*arguments, domain=fleet.domain, expect=0):
        done = subprocess.run(
            [program("switchboard"), *arguments],
            env=environment(domain, fleet.folder),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


def test_status_is_a_table_of_clients(fleet, switchboard):
    table = switchboard("status").stdout
    assert str(fleet.port) in table
    for word in ("r1", "r2", "alice", "The r1", "robot", "operator", "ON"):
        assert word in table, table


def test_status_is_json_when_asked(fleet, switchboard):
    status = json.loads(switchboard("status", "--json").stdout)
    assert {client["id"] for client in status["clients"]} == {"r1", "r2", "alice"}


def test_clients_lists_them(switchboard):
    listed = switchboard("clients").stdout
    assert all(client in listed for client in ("r1", "r2", "alice"))


def test_export_names_the_file(fleet, switchboard):
    said = switchboard("export", "sessions").stdout
    path = next(fleet.export_directory.glob("sessions_*.csv"))
    assert str(path) in said
    with path.open(newline="") as file:
        assert {row["client"] for row in csv.DictReader(file)} == {"r1", "r2", "alice"}


def test_close_and_open(fleet, switchboard):
    switchboard("close")
    fleet.wait_off("r1", "r2", "alice")
    said = switchboard("open").stdout
    assert str(fleet.port) in said
    fleet.wait_on("r1", "r2", "alice")


def test_doctor_finds_a_healthy_machine(switchboard):
    said = switchboard("doctor").stdout
    for word in ("jazzy", "rmw_fastrtps_cpp") if "jazzy" in said else ("ROS",):
        assert word in said, said


def test_without_a_server_it_says_what_to_do(domains, switchboard):
    for verb in ("status", "open", "close", "clients"):
        done = switchboard(verb, domain=domains.next(), expect=1)
        assert "ROS_DOMAIN_ID" in done.stderr, done.stderr


def test_wrong_arguments_are_named(switchboard):
    assert "statsu" in switchboard("statsu", expect=2).stderr
    assert "--prot" in switchboard("server", "--prot", "1", expect=2).stderr
    done = switchboard("server", "--port", "70000", expect=2)
    assert "70000 is not a TCP port; use 1 to 65535, or 0 for any free one" in done.stderr


def test_a_verb_runs_a_role(exchange):
    exchange.start()
    robot = exchange.robot("r1")
    robot.process.kill()
    exchange.wait_off("r1")
    robot.process.arguments = [program("switchboard"), "robot", *robot.process.arguments[1:]]
    robot.process.start()
    exchange.wait_on("r1")
    assert robot.process.stop() == 0
    wait_for(lambda: exchange.client_status("r1").state == 0, "r1 off")
