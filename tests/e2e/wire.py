"""The line protocol (docs/protocol.md), as far as a test needs it: a second implementation that shares no code with the
first. Frames are length (u32, big endian), kind (u8) and payload; control payloads are postcard."""

import socket
import struct

MAGIC = b"SWBD"
VERSION = (2, 0)
LOGIN, WELCOME, REFUSED, GOODBYE, PING, PONG = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
INTERESTS, OFFERS, DATA = 0x20, 0x21, 0x30
ROBOT, OPERATOR, OBSERVER = 0, 1, 2
CAUSES = (
    "version malformed oversized violation login_timeout duplicate_id full registry port_closed disconnected "
    "keep_alive too_slow stopping"
).split()
LOGIN_FRAME_MAX = 16 * 1024


def preamble(major=VERSION[0], minor=VERSION[1]):
    return MAGIC + bytes([major, minor, 0, 0])


def frame(kind, payload=b""):
    return struct.pack(">IB", len(payload), kind) + payload


def varint(number):
    """An unsigned integer: seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number):
    """A signed integer of 64 bits."""
    return varint((number << 1 ^ number >> 63) & 0xFFFF_FFFF_FFFF_FFFF)


def text(string):
    data = string.encode() if isinstance(string, str) else string
    return varint(len(data)) + data


def texts(strings):
    return varint(len(strings)) + b"".join(map(text, strings))


def login(client_id, kind=ROBOT, name="", host_name="test", software="0", distro="jazzy", capabilities=("topics",)):
    return frame(
        LOGIN,
        text(client_id) + varint(kind) + text(name) + text(host_name) + text(software) + text(distro)
        + texts(capabilities),
    )


def offer(channel, name, type_name, type_hash=""):
    """Offers one topic, reliable and volatile."""
    no_limits = varint(0) * 2 + varint(0) + varint(0)  # deadline, lifespan, automatic liveliness, lease
    qos = varint(1) + varint(0) + varint(10) + no_limits
    return frame(
        OFFERS, varint(1) + varint(channel) + varint(0) + text(name) + text(type_name) + text(type_hash) + qos
    )


def goodbye(cause="stopping", reason="the test is done"):
    return frame(GOODBYE, varint(CAUSES.index(cause)) + text(reason))


class Reader:
    """Postcard values from the front of bytes."""

    def __init__(self, data):
        self.data = data

    def varint(self):
        number = shift = 0
        while True:
            byte, self.data = self.data[0], self.data[1:]
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def zigzag(self):
        number = self.varint()
        return number >> 1 ^ -(number & 1)

    def text(self):
        length = self.varint()
        data, self.data = self.data[:length], self.data[length:]
        return data.decode()


class Closed(Exception):
    """The server closed the connection without another word."""


class Refused(Exception):
    """The server said why it ends the connection."""

    def __init__(self, cause, reason):
        super().__init__(f"{cause}: {reason}")
        self.cause = cause
        self.reason = reason


class Line:
    """One connection to the exchange, blocking, with a limit on every wait."""

    def __init__(self, port, limit=20.0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=limit)
        self._received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _fill(self, length):
        """Waits for that many bytes, and consumes none: a time limit in the middle of a frame loses nothing."""
        while len(self._received) < length:
            try:
                more = self.socket.recv(65536)
            except ConnectionError as error:
                raise Closed(str(error)) from error
            if not more:
                raise Closed(f"after {self._received!r}")
            self._received += more

    def receive(self, length):
        self._fill(length)
        data, self._received = self._received[:length], self._received[length:]
        return data

    def receive_preamble(self):
        data = self.receive(8)
        assert data[:4] == MAGIC, data
        return data[4], data[5]

    def receive_frame(self):
        """The next frame; a refusal or goodbye is raised."""
        self._fill(5)
        length, kind = struct.unpack(">IB", self._received[:5])
        payload = self.receive(5 + length)[5:]
        if kind in (REFUSED, GOODBYE):
            reader = Reader(payload)
            raise Refused(CAUSES[reader.varint()], reader.text())
        return kind, payload

    def log_in(self, client_id, **about):
        """Logs in and returns the number of the session, or raises [Refused]."""
        self.send(preamble() + login(client_id, **about))
        assert self.receive_preamble()[0] == VERSION[0]
        kind, payload = self.receive_frame()
        assert kind == WELCOME, kind
        return Reader(payload).zigzag()

    def serve(self, until):
        """Answers pings until `until()` holds. Raises what ends the connection."""
        limit = self.socket.gettimeout()
        self.socket.settimeout(0.05)
        try:
            while not until():
                try:
                    kind, payload = self.receive_frame()
                except TimeoutError:
                    continue
                if kind == PING:
                    reader = Reader(payload)
                    nonce, sent = reader.varint(), reader.zigzag()
                    self.send(frame(PONG, varint(nonce) + zigzag(sent) * 3))
        finally:
            self.socket.settimeout(limit)

    def ending(self):
        """How the server ends this connection: (cause, reason), or None if it just closes it."""
        try:
            while True:
                self.receive_frame()
        except Refused as refused:
            return refused.cause, refused.reason
        except Closed:
            return None
