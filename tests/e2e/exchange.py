"""A server, its clients and the administrator's view of them."""

import socket
import sqlite3

from switchboard.msg import ClientStatus, ConnectionStatus
from switchboard.srv import Close, DisconnectClient, ExportCsv, ListClients, Open

from graph import LATCHED, Graph
from processes import program
from waiting import wait_for

# Everything that the tests publish, both ways.
RULES = """
offer:
  - topic: /limited
    rate: 10
  - topic: /**
    type: nav_msgs/msg/Odometry
  - /chatter
  - /latched
  - /image/compressed
  - /tf
want:
  - /*/odom
  - /*/chatter
  - /*/latched
  - /*/limited
  - /*/image/compressed
  - /*/tf
accept:
  - topic: /cmd_vel
    type: geometry_msgs/msg/Twist
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Exchange:
    """The server in a graph of its own, seen through rclpy, and the clients that a test starts."""

    def __init__(self, folder, processes, domains):
        self.folder = folder
        self.processes = processes
        self.domains = domains
        self.domain = domains.next()
        self.database = folder / "registry.db"
        self.export_directory = folder / "export"
        self.port = free_port()
        self.clients = {}
        self._graphs = {}
        self.graph = self._graph(self.domain)
        self.status_topic = self.graph.collect(ConnectionStatus, "/switchboard/connection_status", LATCHED)
        arguments = [
            program("server"), "--address", "127.0.0.1", "--port", self.port, "--database", self.database,
            "--export-directory", self.export_directory,
        ]
        self.server = processes.new("server", arguments, self.domain)

    def _graph(self, domain):
        if domain not in self._graphs:
            self._graphs[domain] = Graph(domain)
        return self._graphs[domain]

    def start(self, *more):
        """Starts the server, and returns when its port is open."""
        self.status_topic.clear()
        self.server.arguments += [str(argument) for argument in more]
        self.server.start()
        self.wait_for_status(lambda status: status.open and status.port == self.port, "the open port")
        return self

    def client(self, role, client_id, rules=RULES, domain=None, port=None, name=None, flags=(), environment=None):
        """Starts a robot or operator in a graph of its own; `environment` is what it finds besides the usual."""
        rules_file = self.folder / f"{client_id}.yaml"
        rules_file.write_text(rules)
        arguments = [
            program(role), "--id", client_id, "--name", name or f"The {client_id}", "--server",
            f"127.0.0.1:{port or self.port}", "--rules", rules_file, *flags,
        ]
        domain = domain or self.domains.next()
        client = Client(client_id, role, self.processes.new(client_id, arguments, domain, **(environment or {})), self._graph(domain))
        self.clients[client_id] = client
        client.process.start()
        return client

    def robot(self, client_id, **options):
        return self.client("robot", client_id, **options)

    def operator(self, client_id, **options):
        return self.client("operator", client_id, **options)

    @property
    def status(self):
        return self.status_topic.latest

    def client_status(self, client_id, status=None):
        status = status or self.status
        return next((client for client in status.clients if client.id == client_id), None) if status else None

    def wait_for_status(self, condition, what, limit=30.0):
        """The newest status, as soon as `condition` holds for it."""

        def holds():
            status = self.status
            return [status] if status is not None and condition(status) else None

        return wait_for(holds, lambda: f"{what} in the status; the latest is {brief(self.status)}", limit)[0]

    def wait_for_state(self, state, *client_ids, limit=30.0):
        def holds(status):
            return all(self._has_state(status, client_id, state) for client_id in client_ids)

        return self.wait_for_status(holds, f"state {state} of {', '.join(client_ids)}", limit)

    def _has_state(self, status, client_id, state):
        client = self.client_status(client_id, status)
        return client is not None and client.state == state

    def wait_on(self, *client_ids, limit=30.0):
        return self.wait_for_state(ClientStatus.STATE_ON, *client_ids, limit=limit)

    def wait_off(self, *client_ids, limit=30.0):
        return self.wait_for_state(ClientStatus.STATE_OFF, *client_ids, limit=limit)

    def open(self, address="", port=0):
        return self.graph.call(Open, "/switchboard/open", address=address, port=port)

    def close_port(self, reason=""):
        return self.graph.call(Close, "/switchboard/close", reason=reason)

    def export(self, **fields):
        return self.graph.call(ExportCsv, "/switchboard/export_csv", **fields)

    def list(self, connected_only=False):
        return self.graph.call(ListClients, "/switchboard/list_clients", connected_only=connected_only)

    def disconnect(self, client_id, reason=""):
        return self.graph.call(DisconnectClient, "/switchboard/disconnect_client", id=client_id, reason=reason)

    def rows(self, sql, *arguments):
        """Rows of the registry, read by somebody else than the server."""
        database = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)
        try:
            return database.execute(sql, arguments).fetchall()
        finally:
            database.close()

    def end(self):
        try:
            for graph in self._graphs.values():
                graph.close()
        finally:
            self.processes.end()


class Client:
    """A robot or operator and the graph that it stands in."""

    def __init__(self, client_id, role, process, graph):
        self.id = client_id
        self.role = role
        self.process = process
        self.graph = graph


def brief(status):
    if status is None:
        return "nothing"
    states = {0: "OFF", 1: "ON", 2: "CALLING", 3: "IN_CALL"}
    clients = ", ".join(
        f"{client.id} {states.get(client.state, client.state)} {client.reason!r}" for client in status.clients
    )
    return f"open={status.open} {status.address}:{status.port} {status.reason!r} refused={status.refused} [{clients}]"
