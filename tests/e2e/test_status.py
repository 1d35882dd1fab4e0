"""What the exchange and its clients say about themselves."""

import math
import socket
import time

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from switchboard.msg import Clients, ClientStatus, Connection, ConnectionStatus
from visualization_msgs.msg import Marker, MarkerArray

from graph import LATCHED, prime


def seconds(stamp):
    return stamp.sec + stamp.nanosec * 1e-9


def test_the_status_says_where_the_port_is_open_and_who_is_there(fleet):
    status = fleet.status
    assert (status.open, status.address, status.port, status.reason) == (True, "127.0.0.1", fleet.port, "")
    assert abs(seconds(status.header.stamp) - time.time()) < 30
    assert [client.id for client in status.clients] == ["alice", "r1", "r2"], "every client, ordered by id"
    kinds = {client.id: client.kind for client in status.clients}
    robot, operator = ClientStatus.KIND_ROBOT, ClientStatus.KIND_OPERATOR
    assert kinds == {"alice": operator, "r1": robot, "r2": robot}
    for client in status.clients:
        assert client.state == ClientStatus.STATE_ON
        assert client.name == f"The {client.id}"
        assert client.peer == ""
        assert client.address == "127.0.0.1"
        assert 0 < client.port < 65536 and client.port != fleet.port
        assert client.host_name == socket.gethostname()
        assert client.software_version
        assert client.ros_distro
        assert client.reason == ""
        assert 0 < seconds(client.first_seen) <= seconds(client.connected_since) <= seconds(client.last_seen)


def test_round_trip_and_clock_offset_are_measured(fleet):
    def measured(status):
        return all(not math.isnan(client.round_trip) for client in status.clients)

    status = fleet.wait_for_status(measured, "a round trip for every client")
    for client in status.clients:
        assert 0 < client.round_trip < 1.0
        # The same clock at both ends: the error is at most half the round trip.
        assert abs(client.clock_offset) < 0.5


def test_the_status_comes_once_a_second_and_to_late_subscribers(fleet):
    late = fleet.graph.collect(ConnectionStatus, "/switchboard/connection_status", LATCHED)
    late.wait_until(lambda status: True, "a status")
    late.clear()
    began = time.monotonic()
    late.wait_until(lambda status: len(late.snapshot()) >= 4, "four more")
    assert time.monotonic() - began < 8.0
    stamps = [seconds(status.header.stamp) for status in late.snapshot()]
    assert stamps == sorted(stamps)
    fleet.graph.destroy(late)


def test_traffic_is_counted(fleet):
    r1, r2 = fleet.clients["r1"].graph, fleet.clients["r2"].graph
    before = fleet.status
    there = r2.collect(Odometry, "/r1/odom")
    publisher = r1.publisher(Odometry, "/odom")

    def message(text):
        odometry = Odometry()
        odometry.header.frame_id = text
        return odometry

    prime(publisher, there, message, lambda received: received.header.frame_id)
    for n in range(100):
        publisher.publish(message(str(n)))
    there.wait_until(lambda received: received.header.frame_id == "99", "the last message")

    def counted(status):
        origin, receiver = fleet.client_status("r1", status), fleet.client_status("r2", status)
        return (
            origin.messages_in - fleet.client_status("r1", before).messages_in >= 100
            and receiver.messages_out - fleet.client_status("r2", before).messages_out >= 100
        )

    status = fleet.wait_for_status(counted, "the messages in the figures")
    # A serialized odometry has 700 bytes and more.
    assert fleet.client_status("r1", status).bytes_in - fleet.client_status("r1", before).bytes_in > 70_000
    assert fleet.client_status("r2", status).bytes_out - fleet.client_status("r2", before).bytes_out > 70_000
    assert fleet.client_status("r2", status).messages_dropped == 0
    r1.destroy(publisher)
    r2.destroy(there)


def test_each_client_knows_whether_it_is_connected_and_to_what(fleet):
    for client_id, node in (("r1", "switchboard_robot"), ("alice", "switchboard_operator")):
        graph = fleet.clients[client_id].graph
        topic = graph.collect(Connection, f"/{node}/connection", LATCHED)
        line = topic.wait_until(lambda line: line.connected and not math.isnan(line.round_trip), "a connected line")
        assert line.id == client_id
        assert line.server == f"127.0.0.1:{fleet.port}"
        assert line.reason == ""
        assert 0 < seconds(line.since) <= time.time()
        assert 0 < line.round_trip < 1.0
        graph.destroy(topic)


def test_each_client_has_the_client_table(fleet):
    for client_id, node in (("r1", "switchboard_robot"), ("alice", "switchboard_operator")):
        graph = fleet.clients[client_id].graph
        topic = graph.collect(Clients, f"/{node}/clients", LATCHED)
        table = topic.wait_until(lambda table: len(table.clients) == 3, "three clients")
        assert [(client.id, client.state) for client in table.clients] == [("alice", 1), ("r1", 1), ("r2", 1)]
        assert {client.name for client in table.clients} == {"The alice", "The r1", "The r2"}
        graph.destroy(topic)


def test_diagnostics_tell_of_the_exchange_and_of_every_client(fleet):
    topic = fleet.graph.collect(DiagnosticArray, "/diagnostics")

    def told():
        names = {status.name for message in topic.snapshot() for status in message.status}
        return all(any(client_id in name for name in names) for client_id in ("r1", "r2", "alice"))

    topic.wait_until(lambda _: told(), "a status for every client")
    latest = {status.name: status for message in topic.snapshot() for status in message.status}
    assert all(status.level == b"\x00" for status in latest.values()), latest
    fleet.graph.destroy(topic)


def test_markers_show_every_client_with_its_name(fleet):
    topic = fleet.graph.collect(MarkerArray, "/switchboard/markers", LATCHED)

    def labels(array):
        return " ".join(m.text for m in array.markers if m.type == Marker.TEXT_VIEW_FACING)

    array = topic.wait_until(
        lambda array: all(client_id in labels(array) for client_id in ("r1", "r2", "alice")), "a label for every client"
    )
    shapes = [m for m in array.markers if m.type != Marker.TEXT_VIEW_FACING and m.action == Marker.ADD]
    places = {(m.pose.position.x, m.pose.position.y) for m in shapes}
    assert len(places) == len(shapes) == 3, "each at a place of its own"
    assert all(m.header.frame_id == "map" and m.color.a > 0 for m in shapes)
    identities = [(m.ns, m.id) for m in array.markers if m.action == Marker.ADD]
    assert len(identities) == len(set(identities))
    fleet.graph.destroy(topic)
