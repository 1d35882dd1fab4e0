"""The three ways from one robot's graph to another's: started by `start`, ended with their processes."""

import socket
import time

from processes import BenchError

TOPIC = "/bench"
PORT_LIMIT = 20.0

OFFER = f"offer:\n  - {TOPIC}\n"
WANT = f"want:\n  - /*{TOPIC}\n"

# The plugin takes the first network card by default, which is not where nodes look that are for this machine only.
CYCLONE_ON_LOOPBACK = (
    '<CycloneDDS><Domain><General><Interfaces><NetworkInterface address="127.0.0.1"/></Interfaces></General></Domain>'
    "</CycloneDDS>"
)


class Direct:
    """No bridge: both ends are in one graph."""

    key, title = "direct", "direct DDS"

    def start(self, processes, programs, domains):
        return Ends(domains[0], TOPIC, domains[0], TOPIC)


class Switchboard:
    """A server and two robots, each in a graph of its own."""

    key, title = "switchboard", "Switchboard"

    def start(self, processes, programs, domains):
        folder, port = processes.folder, free_port()
        processes.start(
            "server",
            [
                programs.switchboard("server"), "--address", "127.0.0.1", "--port", port,
                "--database", folder / "registry.db", "--export-directory", folder, "--exit-with-parent",
            ],
            domains[2],
        )
        wait_for_port(processes, port)
        for robot, rules, domain in (("r1", OFFER, domains[0]), ("r2", WANT, domains[1])):
            rules_file = folder / f"{robot}.yaml"
            rules_file.write_text(rules)
            processes.start(
                robot,
                [
                    programs.switchboard("robot"), "--id", robot, "--server", f"127.0.0.1:{port}",
                    "--rules", rules_file, "--exit-with-parent",
                ],
                domain,
            )
        return Ends(domains[0], TOPIC, domains[1], f"/r1{TOPIC}")


class Zenoh:
    """A zenoh router and two zenoh bridges."""

    key, title = "zenoh", "zenoh"

    def start(self, processes, programs, domains):
        port = free_port()
        endpoint = f"tcp/127.0.0.1:{port}"
        processes.start("zenoh_router", [programs.zenoh(), "router", "--listen", endpoint], domains[2])
        wait_for_port(processes, port)
        for name, domain in (("zenoh_r1", domains[0]), ("zenoh_r2", domains[1])):
            arguments = [programs.zenoh(), "bridge", "--connect", endpoint, "--domain", domain]
            processes.start(name, arguments, domain, CYCLONEDDS_URI=CYCLONE_ON_LOOPBACK)
        return Ends(domains[0], TOPIC, domains[1], TOPIC)


class Ends:
    """Where the publisher publishes and the subscriber subscribes."""

    def __init__(self, publish_domain, publish_topic, subscribe_domain, subscribe_topic):
        self.publish_domain = publish_domain
        self.publish_topic = publish_topic
        self.subscribe_domain = subscribe_domain
        self.subscribe_topic = subscribe_topic


class Programs:
    """Where the programs are."""

    def __init__(self, switchboard_folder, bench_folder):
        self._switchboard = switchboard_folder
        self._bench = bench_folder

    def switchboard(self, name):
        return existing(self._switchboard / name)

    def endpoint(self):
        return existing(self._bench / "bench-endpoint")

    def zenoh(self):
        return existing(self._bench / "bench-zenoh")


def existing(program):
    if not program.is_file():
        raise BenchError(f"{program} is not there; ./dev bench builds it")
    return program


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(processes, port):
    deadline = time.monotonic() + PORT_LIMIT
    while time.monotonic() < deadline:
        processes.check()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise BenchError(f"nobody listens on port {port} after {PORT_LIMIT:.0f} s")
