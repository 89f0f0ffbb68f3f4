"""The demo provider's only page: choosing an account on it logs in."""

import html
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, Response

from extproc.demo.idp_codes import AuthorizationRequest


def account_page(wanted: AuthorizationRequest, query: Mapping[str, str], accounts: Iterable[str]) -> Response:
    """Return the page; each link repeats the ``query`` with an account as ``login_hint``."""
    links = [
        f'<li><a href="?{html.escape(urlencode({**query, "login_hint": account}))}">{account}</a></li>'
        for account in accounts
    ]
    # A client can choose any name; the host of its document shows who chose it.
    host = f" ({wanted.client.host})" if wanted.client.host else ""
    wish = f"call {wanted.resource}" if wanted.resource else "know who you are"
    sentence = html.escape(f"{wanted.client.name}{host} wants to {wish}.")
    page = (
        "<!doctype html><title>Demo login</title><h1>Demo login</h1>"
        f"<p>{sentence} Log in as:</p><ul>{''.join(links)}</ul>"
    )
    headers = {
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
    }
    return HTMLResponse(page, headers=headers)
