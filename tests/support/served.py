"""A ``socketserver`` that serves from a thread of its own while a test needs it."""

import contextlib
import threading


@contextlib.contextmanager
def served(server):
    """Serve while the context lasts; the value is the server. Its socket is closed at the end."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
