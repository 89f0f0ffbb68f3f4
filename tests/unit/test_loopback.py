"""What counts as this machine."""

from extproc.loopback import is_loopback_url
from support.tables import each_case


@each_case(
    ("url", "local"),
    [
        ("http://127.0.0.1:8080/x", True),
        ("http://localhost", True),
        ("http://LOCALHOST:1", True),
        ("http://127.0.0.2", True),
        ("http://127.255.255.254:1", True),
        ("http://[::1]:8080", True),
        ("http://[0:0:0:0:0:0:0:1]", True),
        ("http://[::2]", False),
        ("http://128.0.0.1", False),
        ("http://127.1", False),
        ("http://:80", False),
        ("http://localhost.example", False),
        ("http://127.0.0.1.example", False),
        ("http://localhost@idp.example", False),
        ("http://0.0.0.0:8080", False),
        ("http://idp.example/127.0.0.1", False),
    ],
)
def test_only_this_machine_is_loopback(url, local):
    assert is_loopback_url(url) is local
