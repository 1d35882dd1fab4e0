"""Peers that do not speak the protocol, or not well: refused with a reason, and nobody else notices."""

import socket
import struct
import time

import pytest
from switchboard.msg import Connection

import wire
from graph import LATCHED
from waiting import wait_for


@pytest.fixture(scope="module")
def open_exchange(fleet):
    """The fleet, whose good clients have to be where they were after every test."""
    return fleet


@pytest.fixture(autouse=True)
def good_clients_are_undisturbed(open_exchange):
    sessions = "SELECT id, client FROM sessions WHERE client IN ('r1', 'r2', 'alice') ORDER BY id"
    before = open_exchange.rows(sessions)
    yield
    assert open_exchange.server.is_running()
    assert open_exchange.rows(sessions) == before, "a good client had to connect again"
    open_exchange.wait_on("r1", "r2", "alice")


def ending_of(exchange, data, half_close=False):
    """Sends `data` and tells how the server ends the connection."""
    with wire.Line(exchange.port) as line:
        line.send(data)
        if half_close:
            line.socket.shutdown(socket.SHUT_WR)
        try:
            line.receive_preamble()
        except wire.Closed:
            return None
        return line.ending()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\x00" * 64,
        b"SWBX" + b"\x01" * 8,
        b"\xff" * 100_000,
    ],
    ids=["http", "tls", "zeros", "nearly", "flood"],
)
def test_strangers_get_no_answer(open_exchange, data):
    refused = open_exchange.status.refused
    with wire.Line(open_exchange.port) as line:
        try:
            line.send(data)
            assert line.receive(1) == b"", "bytes for a stranger"
        except (wire.Closed, ConnectionError):
            pass
    open_exchange.wait_for_status(lambda status: status.refused > refused, "a refusal in the status")


@pytest.mark.parametrize(
    ("data", "cause", "words"),
    [
        (wire.preamble(major=9), "version", "9.0"),
        (wire.preamble() + struct.pack(">IB", 2**32 - 1, wire.LOGIN), "oversized", "4294967295"),
        (wire.preamble() + struct.pack(">IB", wire.LOGIN_FRAME_MAX + 1, wire.LOGIN), "oversized", "16385"),
        (wire.preamble() + wire.frame(0xEE, b"x"), "malformed", "0xee"),
        (wire.preamble() + wire.frame(wire.LOGIN, b"\xff" * 40), "malformed", "Login"),
        (wire.preamble() + wire.frame(wire.LOGIN, b""), "malformed", "Login"),
        (wire.preamble() + wire.login("r3")[:4] + b"\x01" + wire.login("r3")[5:-1] + b"\x80", "malformed", "Login"),
        (wire.preamble() + wire.login("not an id"), "malformed", "Login"),
        (wire.preamble() + wire.login("r__3"), "malformed", "Login"),
        (wire.preamble() + wire.login("r3", name="a\nb"), "malformed", "control characters"),
        (wire.preamble() + wire.login("r3", name="x" * 300), "malformed", "at most 256"),
        (wire.preamble() + wire.login("r3", capabilities=["x"] * 100), "malformed", "capabilities"),
        (wire.preamble() + wire.login("r3", kind=7), "malformed", "Login"),
        (wire.preamble() + wire.frame(wire.DATA, b"x" * 40), "malformed", "Data"),
        (
            wire.preamble() + wire.frame(wire.WELCOME, wire.zigzag(1) + wire.text("0") + wire.zigzag(0)),
            "violation",
            "Welcome",
        ),
    ],
    ids=(
        "version oversized_4GB oversized_by_one unknown_kind malformed empty truncated bad_id double_underscore "
        "control_characters long_name many_capabilities bad_kind data_too_early wrong_direction"
    ).split(),
)
def test_faults_at_login_are_refused_with_the_reason_that_both_ends_log(open_exchange, data, cause, words):
    ending = ending_of(open_exchange, data)
    assert ending is not None, "closed without a reason"
    assert ending[0] == cause, ending
    assert words in ending[1], ending
    open_exchange.server.wait_for_output(words)
    assert open_exchange.rows("SELECT 1 FROM clients WHERE id = 'r3'") == []


def test_a_duplicate_id_is_refused_with_the_reason(open_exchange):
    with wire.Line(open_exchange.port) as line, pytest.raises(wire.Refused) as refused:
        line.log_in("r1")
    assert refused.value.cause == "duplicate_id"
    assert '"r1"' in refused.value.reason and "connected already" in refused.value.reason


def test_a_second_robot_of_the_same_id_says_why_it_is_not_connected(exchange):
    exchange.start()
    first = exchange.robot("r1")
    exchange.wait_on("r1")
    since = exchange.client_status("r1").connected_since
    second = exchange.robot("r1")
    line = second.graph.collect(Connection, "/switchboard_robot/connection", LATCHED)
    line.wait_until(lambda line: "connected already" in line.reason, "the reason")
    assert exchange.client_status("r1").connected_since == since
    # It keeps trying, and takes over when the first goes.
    first.process.kill()
    line.wait_until(lambda line: line.connected, "its turn")


@pytest.mark.parametrize(
    "sent",
    [b"", b"S", wire.preamble(), wire.preamble() + wire.login("r3")[:-3]],
    ids=["nothing", "one_byte", "preamble", "half_a_login"],
)
def test_a_peer_that_stalls_at_login_is_dropped_in_time(open_exchange, sent):
    with wire.Line(open_exchange.port) as line:
        began = time.monotonic()
        line.send(sent)
        if sent.startswith(wire.MAGIC):
            line.receive_preamble()
        ending = line.ending()
        took = time.monotonic() - began
    assert 3.0 < took < 8.0, f"dropped after {took:.1f} s where 5 are set"
    if len(sent) >= 8:
        assert ending is not None and ending[0] == "login_timeout", ending


def test_a_peer_that_drips_bytes_is_dropped_in_time(open_exchange):
    data = wire.preamble() + wire.login("r3", name="x" * 200)
    with wire.Line(open_exchange.port) as line:
        line.socket.settimeout(0.2)
        began = time.monotonic()
        ended = None
        for byte in data:
            try:
                line.send(bytes([byte]))
                if not line.socket.recv(4096):
                    ended = time.monotonic()
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                ended = time.monotonic()
                break
        assert ended is not None, "it could log in, one byte at a time"
        assert ended - began < 8.0


def test_a_peer_that_stalls_in_the_middle_of_a_frame_is_found_by_the_keep_alive(open_exchange):
    with wire.Line(open_exchange.port) as line:
        line.log_in("staller")
        # 1 MB announced, ten bytes sent.
        line.send(struct.pack(">IB", 1_000_000, wire.DATA) + b"0123456789")
        began = time.monotonic()
        ending = line.ending()
        took = time.monotonic() - began
    assert ending is not None and ending[0] == "keep_alive", ending
    assert took < 5.5
    open_exchange.wait_off("staller", limit=5.0)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (wire.frame(0x99, b""), "malformed"),
        (struct.pack(">IB", 64 * 1024 * 1024, wire.DATA), "oversized"),
        (struct.pack(">IB", 1024 * 1024, wire.OFFERS), "oversized"),
        (wire.frame(wire.DATA, b"short"), "malformed"),
        (wire.frame(wire.OFFERS, b"\xff\xff\xff\xff\x0f"), "malformed"),
        (wire.frame(wire.INTERESTS, wire.texts(["/x"] * 300) + wire.texts([])), "malformed"),
        (wire.login("again"), "violation"),
        (wire.frame(0x24, wire.varint(0)), "violation"),
    ],
    ids=(
        "unknown_kind huge_message huge_offers short_data endless_list many_interests second_login server_frame"
    ).split(),
)
def test_faults_after_login_end_only_that_session(open_exchange, data, cause):
    with wire.Line(open_exchange.port) as line:
        session = line.log_in("clumsy")
        line.send(data)
        ending = line.ending()
    assert ending is not None and ending[0] == cause, ending
    open_exchange.wait_off("clumsy")
    reason = wait_for(
        lambda: open_exchange.rows("SELECT reason FROM sessions WHERE id = ? AND disconnected_at IS NOT NULL", session),
        "the end of the session in the registry",
    )
    assert reason[0][0]


def test_a_message_of_a_channel_that_was_never_offered_reaches_nobody(open_exchange):
    with wire.Line(open_exchange.port) as line:
        line.log_in("liar")
        line.send(wire.frame(wire.DATA, struct.pack(">IQq", 77, 0, 0) + b"\0\1\0\0"))
        ends = time.monotonic() + 1.5
        line.serve(lambda: time.monotonic() > ends)
        line.send(wire.goodbye())
    open_exchange.wait_off("liar")
