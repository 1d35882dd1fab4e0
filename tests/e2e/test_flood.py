"""Ten thousand connections of the worst kinds: the server stays up and small, and the good clients notice nothing."""

import asyncio
import random
import struct
import threading
import time

from std_msgs.msg import String

import wire
from graph import prime

CONNECTIONS = 10_000
WARM_UP = 1_000
AT_ONCE = 100
GROWTH_MAX = 20 * 1024 * 1024


def attack(dice):
    """Bytes to send, and whether to close at once or to wait for the server."""
    full_login = wire.preamble() + wire.login("r1", name="impostor")
    kinds = (
        lambda: b"",
        lambda: dice.randbytes(dice.randrange(1, 4096)),
        lambda: b"GET / HTTP/1.1\r\n\r\n",
        lambda: wire.preamble()[: dice.randrange(1, 8)],
        lambda: wire.preamble(major=dice.randrange(wire.VERSION[0] + 1, 256)),
        lambda: wire.preamble() + dice.randbytes(dice.randrange(1, 4096)),
        lambda: wire.preamble() + struct.pack(">IB", dice.randrange(wire.LOGIN_FRAME_MAX + 1, 2**32), wire.LOGIN),
        lambda: wire.preamble() + struct.pack(">IB", wire.LOGIN_FRAME_MAX, wire.LOGIN) + dice.randbytes(8_000),
        lambda: wire.preamble() + wire.frame(wire.LOGIN, dice.randbytes(dice.randrange(0, 200))),
        lambda: full_login[: dice.randrange(8, len(full_login))],
        lambda: wire.preamble() + wire.frame(dice.randrange(256), dice.randbytes(20)),
        # A valid login of an id that is taken, and rubbish behind it.
        lambda: full_login + dice.randbytes(2_000),
        # A login that is let in, and then the rubbish.
        lambda: wire.preamble() + wire.login(f"stranger_{dice.randrange(4)}") + dice.randbytes(dice.randrange(0, 4096)),
        lambda: mutated(full_login, dice),
    )
    return dice.choice(kinds)(), dice.random() < 0.5


def mutated(data, dice):
    data = bytearray(data)
    for _ in range(dice.randrange(1, 4)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data)


async def connect(port, data, leave_at_once):
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 20)
    except (OSError, TimeoutError):
        return False
    try:
        writer.write(data)
        await writer.drain()
        if not leave_at_once:
            # Waits a little for the server to end it, and leaves it half open otherwise.
            await asyncio.wait_for(reader.read(), 0.3)
    except (OSError, TimeoutError):
        pass
    finally:
        writer.transport.abort()
    return True


async def flood(port, count, seed):
    dice = random.Random(seed)
    slots = asyncio.Semaphore(AT_ONCE)
    connected = 0

    async def one(data, leave_at_once):
        nonlocal connected
        async with slots:
            # Not in one line: the sum would be read before the wait and written after it.
            taken = await connect(port, data, leave_at_once)
            connected += taken

    await asyncio.gather(*(one(*attack(dice)) for _ in range(count)))
    return connected


class Stream:
    """A publisher at 50 Hz, to see whether anything is lost meanwhile."""

    def __init__(self, publisher):
        self.published = 0
        self._publisher = publisher
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.wait(0.02):
            self._publisher.publish(String(data=str(self.published)))
            self.published += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def test_ten_thousand_bad_connections_cost_nothing(exchange, record_property):
    exchange.start()
    r1, r2 = exchange.robot("r1"), exchange.robot("r2")
    exchange.wait_on("r1", "r2")
    there = r2.graph.collect(String, "/r1/chatter")
    publisher = r1.graph.publisher(String, "/chatter")
    prime(publisher, there, lambda text: String(data=text), lambda message: message.data)
    sessions = "SELECT id FROM sessions WHERE client IN ('r1', 'r2')"
    before = exchange.rows(sessions)

    # The first thousand make the allocator's arenas and SQLite's caches; growth is what comes after.
    assert asyncio.run(flood(exchange.port, WARM_UP, seed=1)) > WARM_UP * 0.9
    base = exchange.server.resident_bytes()
    began = time.monotonic()
    with Stream(publisher) as stream:
        connected = asyncio.run(flood(exchange.port, CONNECTIONS, seed=2))
    took = time.monotonic() - began
    there.wait_until(lambda message: message.data == str(stream.published - 1), "the last message of the stream")

    assert connected > CONNECTIONS * 0.95, f"only {connected} connections were taken"
    received = [message.data for message in there.snapshot()]
    assert received == [str(n) for n in range(stream.published)], "the good clients lost messages or got some twice"
    assert exchange.rows(sessions) == before, "a good client had to connect again"

    status = exchange.wait_for_status(lambda status: status.refused >= connected * 0.5, "the refusals in the status")
    grown = exchange.server.resident_bytes() - base
    record_property("seconds", round(took, 1))
    record_property("resident_growth_bytes", grown)
    print(f"{connected} connections in {took:.1f} s, refused {status.refused}, memory grew by {grown / 1e6:.1f} MB")
    assert grown < GROWTH_MAX, f"memory grew by {grown / 1e6:.1f} MB"
    assert exchange.server.log.stat().st_size < 5_000_000, "the flood fills the log"
    assert exchange.rows("SELECT count(*) FROM events")[0][0] < 5_000, "the flood fills the registry"
    # Connections and their tasks are gone again.
    exchange.wait_off(*(client.id for client in exchange.status.clients if client.id.startswith("stranger")))


def test_many_connections_that_stay_open_keep_nobody_out(exchange):
    exchange.start()
    idle = []
    try:
        for _ in range(500):
            idle.append(wire.Line(exchange.port))
        exchange.robot("r1")
        exchange.wait_on("r1", limit=10.0)
        with wire.Line(exchange.port) as line:
            assert line.log_in("visitor") > 0
    finally:
        for line in idle:
            line.socket.close()
