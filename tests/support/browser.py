"""A browser without a screen: logs in at the demo's identity provider as one account, and goes where it is sent.

As a program, for clients that open ``$BROWSER``: ``python -P browser.py ACCOUNT URL`` (without -P,
http.py beside it would hide the standard library's http).
"""

import sys
import urllib.parse
import urllib.request


def log_in(url: str, account: str) -> None:
    """Choose an account on the page at ``url``, and follow the redirect to the client."""
    with urllib.request.urlopen(url, timeout=30) as page:
        if f"login_hint={account}" not in page.read().decode():
            raise SystemExit("this is not the page where accounts are chosen")
    hint = urllib.parse.urlencode({"login_hint": account})
    with urllib.request.urlopen(f"{url}&{hint}", timeout=30) as answer:
        answer.read()


if __name__ == "__main__":
    log_in(sys.argv[2], sys.argv[1])
