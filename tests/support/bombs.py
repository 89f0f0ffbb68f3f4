"""Small gzip streams of gigabytes, and a service whose answers are such."""

import functools
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@functools.cache
def gzip_bomb(mebibytes, members=1):
    """Gzip (RFC 1952) of so many zeros in each of its ``members``; a thousandth of them."""
    packing = zlib.compressobj(9, wbits=31)  # 31: with the head of gzip
    zeros = bytes(1024 * 1024)
    return b"".join([*(packing.compress(zeros) for _ in range(mebibytes)), packing.flush()]) * members


class BombService(ThreadingHTTPServer):
    """Answers with what ``answers`` has for the path: status, headers, body; ``received``: heads of requests.

    A body without ``content-length`` goes out in chunks.
    """

    daemon_threads = True

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.received = []
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with self.server.lock:
            self.server.received.append({name.lower(): value for name, value in self.headers.items()})
        status, headers, body = self.server.answers[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        chunked = "content-length" not in headers
        if chunked:
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if not chunked:
            self.wfile.write(body)
            return
        for start in range(0, len(body), 65536):
            part = body[start : start + 65536]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass
