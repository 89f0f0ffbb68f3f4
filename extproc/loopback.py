"""What counts as this machine, wherever clear text or a local address is allowed for it alone."""

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str | None) -> bool:
    """Return whether a host is ``localhost`` or an address in 127.0.0.0/8 or ::1 (RFC 6890 2.2.2, 2.2.3).

    No name is resolved: another name for this machine is not one.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def is_loopback_url(url: str) -> bool:
    """Return whether a URL's host is this machine."""
    return is_loopback(urlsplit(url).hostname)
