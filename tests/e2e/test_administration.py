"""The administrator's services."""

import csv
import datetime
import re
import socket

from builtin_interfaces.msg import Time
from std_msgs.msg import String
from switchboard.msg import ClientStatus, Connection

from exchange import free_port
from graph import LATCHED, prime
from waiting import wait_for


def accepts_connections(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def test_close_and_open_take_the_clients_back_within_two_seconds(exchange):
    exchange.start()
    r1, r2 = exchange.robot("r1"), exchange.robot("r2")
    exchange.wait_on("r1", "r2")
    line = r1.graph.collect(Connection, "/switchboard_robot/connection", LATCHED)

    closed = exchange.close_port("maintenance until noon")
    assert closed.success, closed.message
    assert closed.clients == 2
    status = exchange.wait_off("r1", "r2")
    assert (status.open, status.address, status.port) == (False, "", 0)
    assert "maintenance until noon" in status.reason
    assert not accepts_connections(exchange.port)
    for client in status.clients:
        assert "maintenance until noon" in client.reason
        assert (client.connected_since.sec, client.connected_since.nanosec) == (0, 0)
    line.wait_until(lambda line: not line.connected and line.reason, "a reason for the lost line")

    opened = exchange.open()
    assert opened.success, opened.message
    assert (opened.address, opened.port) == ("127.0.0.1", exchange.port)
    exchange.wait_on("r1", "r2", limit=2.0)
    assert exchange.server.starts == 1

    # What the clients offered and wanted is restored.
    there = r2.graph.collect(String, "/r1/chatter")
    publisher = r1.graph.publisher(String, "/chatter")
    prime(publisher, there, lambda text: String(data=text), lambda message: message.data)


def test_the_port_can_be_opened_somewhere_else(exchange):
    exchange.start()
    first, second = exchange.port, free_port()
    # One robot for each port.
    exchange.robot("r1")
    exchange.robot("r2", port=second)
    exchange.wait_on("r1")
    assert exchange.close_port().success
    exchange.wait_off("r1")
    opened = exchange.open(port=second)
    assert opened.success, opened.message
    assert (opened.address, opened.port) == ("127.0.0.1", second)
    status = exchange.wait_on("r2", limit=2.0 + 3.0)
    assert (status.open, status.port) == (True, second)
    assert exchange.client_status("r1", status).state == ClientStatus.STATE_OFF
    assert not accepts_connections(first)
    # Empty values mean the parameters' values again.
    assert exchange.close_port().success
    assert exchange.open().port == first
    exchange.wait_on("r1")


def test_opening_is_answered_with_what_is_wrong(exchange):
    exchange.start()
    exchange.robot("r1")
    exchange.wait_on("r1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = exchange.open(port=port)
        assert not refused.success
        assert str(port) in refused.message
    refused = exchange.open(address="no such host")
    assert not refused.success
    assert "no such host" in refused.message
    # Neither has cost the port that is open.
    assert accepts_connections(exchange.port)
    assert exchange.client_status("r1").state == ClientStatus.STATE_ON


def test_a_server_that_starts_closed_waits_for_open(exchange):
    exchange.server.arguments.append("--closed")
    exchange.server.start()
    exchange.wait_for_status(lambda status: not status.open and status.reason, "a closed port")
    exchange.robot("r1")
    assert not accepts_connections(exchange.port)
    assert exchange.open().success
    exchange.wait_on("r1")


def test_lists_and_disconnects(exchange):
    exchange.start()
    exchange.robot("r1")
    r2 = exchange.robot("r2")
    exchange.wait_on("r1", "r2")
    r2.process.kill()
    exchange.wait_off("r2")

    everyone = exchange.list()
    assert everyone.success, everyone.message
    assert [(client.id, client.state) for client in everyone.clients] == [("r1", 1), ("r2", 0)]
    connected = exchange.list(connected_only=True)
    assert [client.id for client in connected.clients] == ["r1"]

    since = exchange.client_status("r1").connected_since
    answer = exchange.disconnect("r1", "battery change")
    assert answer.success, answer.message
    # It still wants to be connected, so it comes back by itself, in a new session.
    exchange.wait_for_status(
        lambda status: exchange.client_status("r1", status).state == 1
        and exchange.client_status("r1", status).connected_since != since,
        "a new session of r1",
    )
    wait_for(
        lambda: exchange.rows("SELECT 1 FROM sessions WHERE client = 'r1' AND reason LIKE '%battery change%'"),
        "the reason in the registry",
    )

    for client_id, word in (("r2", "not connected"), ("nobody", "nobody"), ("not an id", "not an id")):
        refused = exchange.disconnect(client_id)
        assert not refused.success
        assert word in refused.message, refused.message


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def test_every_table_can_be_exported(exchange):
    exchange.start()
    exchange.robot("r1", name='=HYPERLINK("http://example")')
    r2 = exchange.robot("r2")
    exchange.wait_on("r1", "r2")
    r2.process.kill()
    exchange.wait_off("r2")

    today = datetime.date.today().isoformat()
    for table, expected in (("clients", 2), ("sessions", 2), ("events", None)):
        answer = exchange.export(table=table)
        assert answer.success, answer.message
        assert answer.path == str(exchange.export_directory / f"{table}_{today}.csv")
        rows = read_csv(answer.path)
        assert len(rows) == answer.rows
        assert expected is None or len(rows) == expected

    clients = {row["id"]: row for row in read_csv(exchange.export_directory / f"clients_{today}.csv")}
    assert set(clients) == {"r1", "r2"}
    assert clients["r1"]["kind"] == "robot"
    assert clients["r1"]["name"].startswith("'="), "a formula is neutralised"
    sessions = read_csv(exchange.export_directory / f"sessions_{today}.csv")
    ended = {row["client"]: row["disconnected_at"] for row in sessions}
    assert ended["r1"] == "" and ended["r2"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", ended["r2"])
    kinds = {row["kind"] for row in read_csv(exchange.export_directory / f"events_{today}.csv")}
    assert {"server", "port", "connected", "disconnected"} <= kinds


def test_exports_stay_in_their_folder_and_replace_only_when_asked(exchange):
    exchange.start()
    exchange.robot("r1")
    exchange.wait_on("r1")
    first = exchange.export(table="clients", file_name="list.csv")
    assert first.success, first.message
    (exchange.export_directory / "list.csv").write_text("mine")
    again = exchange.export(table="clients", file_name="list.csv")
    assert not again.success and "list.csv" in again.message
    assert (exchange.export_directory / "list.csv").read_text() == "mine"
    forced = exchange.export(table="clients", file_name="list.csv", overwrite=True)
    assert forced.success, forced.message
    assert read_csv(forced.path)[0]["id"] == "r1"

    for name in ("../list.csv", "/tmp/switchboard_e2e.csv", "a/b.csv", "..", ".", "a\nb.csv"):
        refused = exchange.export(table="clients", file_name=name)
        assert not refused.success, name
    assert not (exchange.folder / "list.csv").exists()
    wrong = exchange.export(table="passwords")
    assert not wrong.success and "clients, sessions or events" in wrong.message
    assert sorted(path.name for path in exchange.export_directory.iterdir()) == ["list.csv"]


def test_an_export_can_be_limited_in_time(exchange):
    exchange.start()
    exchange.robot("r1")
    exchange.wait_on("r1")
    stamp = exchange.client_status("r1").connected_since
    later, earlier = Time(sec=stamp.sec + 3600), Time(sec=stamp.sec - 3600)
    long_ago = Time(sec=stamp.sec - 7200)
    everything = exchange.export(table="events", file_name="all.csv", start=earlier, end=later)
    assert everything.success and everything.rows > 0
    before = exchange.export(table="events", file_name="before.csv", start=long_ago, end=earlier)
    assert before.success and before.rows == 0
    assert (exchange.export_directory / "before.csv").read_text().startswith("id,") or before.rows == 0
    backwards = exchange.export(table="events", file_name="backwards.csv", start=later, end=earlier)
    assert not backwards.success
    assert not (exchange.export_directory / "backwards.csv").exists()
