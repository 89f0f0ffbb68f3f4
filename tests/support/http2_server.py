"""A TLS server before another one that speaks HTTP/1.1 in clear text: HTTP/2 if the client offers it, or not."""

import contextlib
import socket
import ssl
import threading

import h2.config
import h2.connection
import h2.events
import urllib3

_NOT_FORWARDED = frozenset({"connection", "transfer-encoding", "keep-alive", "content-encoding"})


class TlsFront:
    """Passes on requests to ``behind``. ``spoken``: what was agreed upon, by connection; ``requests``: so far."""

    def __init__(self, pair, behind, *, protocols):
        self.spoken = []
        self.requests = 0
        self._behind = behind
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(pair.certificate, pair.key)
        self._tls.set_alpn_protocols(protocols)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link):
        with contextlib.suppress(OSError), self._tls.wrap_socket(link, server_side=True) as tls:
            protocol = tls.selected_alpn_protocol() or "none"
            self.spoken.append(protocol)
            if protocol == "h2":
                _Http2(self, tls).serve()
            else:
                self._pipe(tls)

    def _pipe(self, tls):
        host, _, port = self._behind.rpartition(":")
        with socket.create_connection((host, int(port))) as behind:
            threading.Thread(target=_copy, args=(behind, tls), daemon=True).start()
            self.requests += 1
            _copy(tls, behind)

    def ask(self, headers, body):
        """The answer of the server behind: status, headers, body."""
        pseudo = {name: value for name, value in headers if name.startswith(":")}
        fields = urllib3.HTTPHeaderDict({"host": pseudo[":authority"]})
        for name, value in headers:
            if not name.startswith(":"):
                fields.add(name, value)
        self.requests += 1
        answer = urllib3.PoolManager(retries=False).request(
            pseudo[":method"], f"http://{self._behind}{pseudo[':path']}", headers=fields, body=body or None
        )
        return answer.status, answer.headers, answer.data


class _Http2:
    def __init__(self, front, tls):
        self._front = front
        self._tls = tls
        self._heads = {}
        self._bodies = {}
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._connection = h2.connection.H2Connection(config)

    def serve(self):
        self._connection.initiate_connection()
        self._tls.sendall(self._connection.data_to_send())
        while chunk := self._tls.recv(65536):
            for event in self._connection.receive_data(chunk):
                self._take(event)
            self._tls.sendall(self._connection.data_to_send())

    def _take(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self._heads[event.stream_id], self._bodies[event.stream_id] = event.headers, bytearray()
        elif isinstance(event, h2.events.DataReceived):
            self._bodies[event.stream_id] += event.data
            self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._answer(event.stream_id)

    def _answer(self, stream):
        status, headers, body = self._front.ask(self._heads.pop(stream), bytes(self._bodies.pop(stream)))
        fields = [(name.lower(), value) for name, value in headers.items()]
        kept = [(name, value) for name, value in fields if name not in _NOT_FORWARDED]
        self._connection.send_headers(stream, [(":status", str(status)), *kept])
        self._connection.send_data(stream, body, end_stream=True)  # of less than a window


def _copy(source, sink):
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
