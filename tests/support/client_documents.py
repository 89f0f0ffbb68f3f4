"""An HTTPS server of client id metadata documents, with an authority of its own."""

import json
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.certificates import Authority, dns
from support.served import served


class DocumentServer(ThreadingHTTPServer):
    """Serves a document for whatever URL it is asked for.

    ``authority``: the file to trust. ``hosts``: the Host header of each request.
    """

    def __init__(self, directory, redirect_uris):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.redirect_uris, self.hosts = redirect_uris, []
        authority = Authority(directory, "documents-ca")
        self.authority = str(authority.certificate)
        pair = authority.issue("localhost", dns("localhost"))  # not for the address: only the name proves it
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def url(self, host="localhost"):
        return f"https://{host}:{self.server_port}/client.json"

    def handle_error(self, request, client_address):
        pass  # a client that does not trust us goes without a word


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.hosts.append(self.headers["host"])
        document = {
            "client_id": f"https://{self.headers['host']}{self.path}",
            "client_name": "test",
            "redirect_uris": self.server.redirect_uris,
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
        }
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def serving_documents(directory, redirect_uris=("http://localhost/callback",)):
    """Serve documents with these redirect addresses while the context lasts."""
    return served(DocumentServer(directory, list(redirect_uris)))
