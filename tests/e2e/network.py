"""A bad network between a client and the server: a TCP forwarder on loopback that can go silent, and be cut."""

import contextlib
import socket
import threading


class Network:
    """Listens on `port` and passes everything on to the server's port, both ways."""

    def __init__(self, server_port):
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._flows = threading.Event()
        self._flows.set()
        self._ended = False
        self._sockets = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def go_silent(self):
        """Nothing passes any more, in either direction, and nobody is told: a radio out of reach."""
        self._flows.clear()

    def come_back(self):
        self._flows.set()

    def cut(self):
        """Every connection is reset."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for end in sockets:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                end.close()

    def end(self):
        self._ended = True
        self._flows.set()
        self._listener.close()
        self.cut()

    def _accept(self):
        while not self._ended:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._flows.wait(60) or self._ended:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._server_port), timeout=10)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._sockets |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
