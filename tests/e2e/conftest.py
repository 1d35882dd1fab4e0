"""End to end: the real programs, real DDS, real TCP, real SQLite, with rclpy and raw sockets at the other ends.

    python3 -m pytest tests/e2e            # in an environment where ROS 2 and the package are sourced

Every process and file belongs to one test or one module of tests. Only loopback is used. The ROS domains come from
SWITCHBOARD_TEST_DOMAINS (default 40-89); runs at the same time on one machine need ranges of their own.
"""

import itertools
import os
import sys
from pathlib import Path

# Before rclpy reads it.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.pop("ROS_LOCALHOST_ONLY", None)
sys.path.insert(0, str(Path(__file__).parent))

import pytest  # noqa: E402

from exchange import Exchange  # noqa: E402
from processes import Processes, install_prefix  # noqa: E402


class Domains:
    """Hands out ROS domains, one after the other."""

    def __init__(self):
        first, last = (int(end) for end in os.environ.get("SWITCHBOARD_TEST_DOMAINS", "40-89").split("-"))
        self._numbers = itertools.cycle(range(first, last + 1))

    def next(self):
        return next(self._numbers)


def pytest_sessionstart(session):
    try:
        install_prefix()
    except FileNotFoundError as error:
        pytest.exit(str(error), returncode=2)


_RUNNING = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for processes in _RUNNING:
            for name, log in processes.logs():
                report.sections.append((f"log of {name}", log))
    return report


@pytest.fixture(scope="session")
def domains():
    return Domains()


def _exchange(folder, domains):
    processes = Processes(folder)
    _RUNNING.append(processes)
    exchange = None
    try:
        exchange = Exchange(folder, processes, domains)
        yield exchange
        panics = processes.panics()
        assert not panics, "\n".join(panics)
    finally:
        if exchange is not None:
            exchange.end()
        processes.end()
        _RUNNING.remove(processes)


@pytest.fixture
def exchange(tmp_path, domains):
    """An exchange of its own for one test, not started yet."""
    yield from _exchange(tmp_path, domains)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, domains):
    """A running exchange with robots r1 and r2 and operator alice, for a module of tests that leave it as it was."""
    for exchange in _exchange(tmp_path_factory.mktemp("fleet"), domains):
        exchange.start()
        exchange.robot("r1")
        exchange.robot("r2")
        exchange.operator("alice")
        exchange.wait_on("r1", "r2", "alice")
        yield exchange
