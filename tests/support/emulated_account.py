"""The STS emulator with what ``extproc aws`` prints of a configuration applied to it."""

import json
import time
import xml.etree.ElementTree as ET
from contextlib import contextmanager

import httpx2
from starlette.testclient import TestClient

from extproc.aws.documents import as_json
from extproc.aws.requirements import accounts
from extproc.demo.sts import StsSettings, create_app
from support.tokens import KID, mint, public_jwk, rsa_key

XML = "{https://sts.amazonaws.com/doc/2011-06-15/}"
AUDIENCE = "https://mcp.example.com/mcp"
ROLE = "arn:aws:iam::123456789012:role/team/Developer"


@contextmanager
def account(settings, issuer, subject=None, **options):
    """The emulator with this configuration applied, and the provider of one issuer."""
    root = issuer.removesuffix("/")

    async def answer(request):
        documents = {
            f"{root}/.well-known/openid-configuration": {"issuer": issuer, "jwks_uri": f"{root}/keys"},
            f"{root}/keys": {"keys": [public_jwk(rsa_key(), kid=KID)]},
        }
        return httpx2.Response(200, json=documents[str(request.url)])

    printed = json.loads(as_json(accounts(settings, **options), subject=subject))
    app = create_app(StsSettings.from_json(printed), transport=httpx2.MockTransport(answer))
    with TestClient(app) as sts:
        yield sts


def present(sts, token, role=ROLE, duration="3600"):
    """Ask for credentials with a token."""
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": role,
        "RoleSessionName": "alice",
        "DurationSeconds": duration,
        "WebIdentityToken": token,
    }
    return sts.post("/", data=form)


def ask(sts, issuer, role=ROLE, duration="3600", **claims):
    """Ask for credentials with a token of these claims."""
    now = int(time.time())
    stated = {"iss": issuer, "sub": "staff-alice", "aud": AUDIENCE, "iat": now, "exp": now + 600, **claims}
    return present(sts, mint(stated), role, duration)


def refusal(answer):
    """Return code and message of the answer; empty strings if it has credentials."""
    if answer.status_code == 200:
        return "", ""
    root = ET.fromstring(answer.text)
    return tuple(root.findtext(f"{XML}Error/{XML}{name}") for name in ("Code", "Message"))


def assume(sts, issuer, *arguments, **claims):
    """Return the message of the refusal; an empty string if there is none."""
    return refusal(ask(sts, issuer, *arguments, **claims))[1]
