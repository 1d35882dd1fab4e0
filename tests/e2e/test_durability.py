"""The server is killed with -9 again and again while clients come and go: nothing that it acknowledged is lost."""

import random
import threading
import time

from std_msgs.msg import String

import wire
from graph import prime

ROUNDS = 200
KILLS = 10
VISITORS = 4


class Visitors:
    """Clients that connect and leave as fast as they can, and note every session that the server acknowledged."""

    def __init__(self, port):
        self.port = port
        self.acknowledged = []
        self.refusals = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=(n,)) for n in range(VISITORS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def count(self):
        with self._lock:
            return len(self.acknowledged)

    def _visit(self, number):
        dice = random.Random(number)
        client = f"visitor_{number}"
        while not self._stop.is_set():
            try:
                with wire.Line(self.port, limit=10.0) as line:
                    session = line.log_in(client, kind=wire.OBSERVER)
                    with self._lock:
                        self.acknowledged.append((session, client))
                    # Some stay for a moment, some say goodbye, some just go.
                    if dice.random() < 0.3:
                        ends = time.monotonic() + dice.random() * 0.1
                        line.serve(lambda: time.monotonic() > ends)
                    if dice.random() < 0.5:
                        line.send(wire.goodbye())
                        line.ending()
            except wire.Refused as refused:
                # Its last connection may still be ending.
                if refused.cause not in ("duplicate_id", "stopping"):
                    with self._lock:
                        self.refusals.append(str(refused))
            except (wire.Closed, OSError):
                self._stop.wait(0.02)


def test_every_acknowledged_session_survives_kill_9(exchange):
    exchange.start()
    r1, r2 = exchange.robot("r1"), exchange.robot("r2")
    exchange.wait_on("r1", "r2")
    there = r2.graph.collect(String, "/r1/chatter")
    publisher = r1.graph.publisher(String, "/chatter")

    dice = random.Random(7)
    with Visitors(exchange.port) as visitors:
        for kill in range(KILLS):
            target = ROUNDS * (kill + 1) // KILLS
            deadline = time.monotonic() + 60
            while visitors.count() < target:
                assert time.monotonic() < deadline, f"only {visitors.count()} rounds, {exchange.server.is_running()}"
                time.sleep(0.001)
            # Anywhere between two logins, or in one.
            time.sleep(dice.random() * 0.02)
            exchange.server.kill()
            exchange.start()
    acknowledged, refusals = visitors.acknowledged, visitors.refusals
    assert len(acknowledged) >= ROUNDS
    assert not refusals, refusals[:5]

    # Back without help, and the route between them too.
    exchange.wait_on("r1", "r2", limit=10.0)
    assert (r1.process.starts, r2.process.starts) == (1, 1)
    prime(publisher, there, lambda text: String(data=text), lambda message: message.data)
    exchange.wait_off(*(f"visitor_{n}" for n in range(VISITORS)), limit=10.0)

    numbers = [session for session, _ in acknowledged]
    assert len(set(numbers)) == len(numbers), "a session number was given twice"
    recorded = dict(exchange.rows("SELECT id, client FROM sessions"))
    lost = [(session, client) for session, client in acknowledged if recorded.get(session) != client]
    print(f"{len(acknowledged)} sessions acknowledged over {KILLS} kills, {len(recorded)} recorded, {len(lost)} lost")
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged sessions are not in the registry: {lost[:5]}"
    known = {client for (client,) in exchange.rows("SELECT id FROM clients")}
    assert known == {"r1", "r2", *(f"visitor_{n}" for n in range(VISITORS))}
    assert exchange.rows("PRAGMA integrity_check") == [("ok",)]
    assert exchange.rows("PRAGMA foreign_key_check") == []
    still_open = exchange.rows("SELECT client FROM sessions WHERE disconnected_at IS NULL ORDER BY client")
    assert still_open == [("r1",), ("r2",)]
    assert exchange.rows("SELECT count(*) FROM sessions WHERE disconnected_at < connected_at") == [(0,)]
