"""No token and no secret is ever written down, whatever happens to a request, at the most talkative level."""

import json
import re
import sys

import pytest

from support.http import client
from support.stacks import Stack

CANARIES = {
    "cookie": "canary-cookie-7f3a",
    "basic": "Y2FuYXJ5LWJhc2ljOjdmM2E=",
    "query": "canary-query-7f3a",
    "body": "canary-body-7f3a",
    "header": "canary-header-7f3a",
}
# A bug of ours that has everything at hand, and says it.
_CRASHING = """
from extproc.request.signature import Signature
sign = Signature.sign
def crash(self, admission, authorized, payload, record):
    if admission.head.values("x-crash"):
        secrets = authorized.credentials.secret_access_key, authorized.credentials.session_token
        raise RuntimeError(f"{admission} {admission.unverified_token} {record.head.headers} {secrets}")
    return sign(self, admission, authorized, payload, record)
Signature.sign = crash
from extproc.cli import main; main()
"""


class Talkative(Stack):
    def _command(self, name):
        command = super()._command(name)
        if name != "extproc":
            return command
        return [sys.executable, "-c", _CRASHING, *command[3:], "--log-level", "debug"]


@pytest.fixture
def talkative(tmp_path):
    with Talkative(tmp_path) as stack:
        yield stack


async def test_no_token_and_no_secret_is_ever_written_down(talkative):
    stack, tokens, answers = talkative, [], []
    body = json.dumps({"text": CANARIES["body"]}).encode()
    extra = {"cookie": f"session={CANARIES['cookie']}", "x-own": CANARIES["header"]}
    async with client() as http:

        async def post(path, headers):
            url = f"http://{stack.addresses.envoy}{path}"
            answers.append(await http.post(url, content=body, headers={**extra, **headers}))
            return answers[-1].status_code

        for mode in (None, "throttle", "fail", "malformed", "empty4xx", "html200", "access_denied",
                     "expired", "malformed_policy", "region_disabled", "idp_unreachable", None):  # fmt: skip
            stack.control("sts", "faults", {"mode": mode})
            for account in ("demo-admin", "demo-guest"):
                tokens.append(stack.token(account))
                bearer = {"authorization": f"Bearer {tokens[-1]}"}
                query = f"?q={CANARIES['query']}"
                for path in ("/echo", "/a/../b", "/echo?X-Amz-Signature=1", "/x?a=b+c", f"/echo{query}"):
                    await post(path, bearer)
        crashed = await post(
            f"/echo?q={CANARIES['query']}", {"x-crash": "1", "authorization": f"Bearer {tokens[0]}"}
        )
        assert crashed == 500
        forged = tokens[0][:-8] + "AAAAAAAA"
        assert await post("/echo", {"authorization": f"Bearer {forged}"}) == 401
        assert await post("/echo", {"authorization": f"Basic {CANARIES['basic']}"}) == 401
        assert await post("/echo", {"authorization": f"Bearer {tokens[0]},{tokens[1]}"}) == 400
        metrics = (await http.get(f"http://{stack.addresses.extproc_admin}/metrics")).text
    status = stack.stop_part("extproc")  # so that everything is written
    assert status == 0
    written = {
        name: (stack.directory / name).read_text() for name in ("extproc.log", "audit.log", "envoy.log")
    }
    written |= {
        "metrics": metrics,
        "answers": "".join(f"{dict(a.headers)}{a.text}" for a in answers if not a.is_success),
    }
    assert "RuntimeError" in written["extproc.log"]
    opened = set(re.findall(r'"access_key_id":"(ASIA\w+)"', written["audit.log"]))
    assert opened
    reasons = set(re.findall(r'"reason":"(\w+)"', written["audit.log"]))
    assert {"internal", "signature_invalid", "authorization_malformed", "sts_throttled", "no_role"} <= reasons
    canaries = {part for token in tokens for part in (token, token.rpartition(".")[2])} | {forged}
    canaries |= set(CANARIES.values())
    for key_id in opened:
        secrets = stack.control("sts", f"credentials/{key_id}")
        canaries |= {secrets["secret_access_key"], secrets["session_token"]}
    for place, text in written.items():
        assert text
        assert not [canary for canary in canaries if canary in text], place
    assert "eyJ" not in written["extproc.log"] + written["audit.log"] + metrics
