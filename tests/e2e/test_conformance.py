"""The official MCP conformance suite: what a server does directly, it does through the gateway.

https://www.npmjs.com/package/@modelcontextprotocol/conformance against the Python SDK's server. Each check has the same
outcome in the three forms: direct, through the gateway with rules on claims, and with rules that read the MCP message, by
which lists of tools are filtered too.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3
import yaml

from extproc.demo.ports import free_ports
from support.envoys import further_envoy
from support.node import FOLDER, node
from support.stacks import Stack

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

# How many scenarios of a revision the server passes at least: with fewer, little would be compared.
REVISIONS = {"2025-11-25": 30, "2026-07-28": 35}
RULES = {
    "rules on claims": [],
    "rules on mcp": [
        {
            "name": "nobody-deletes",
            "effect": "deny",
            "matcher": 'mcp.tool == "delete_everything"',
            "priority": 1,
        }
    ],
}
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def suite():
    return [
        node(),
        str(FOLDER / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"),
    ]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The SDK's server on an open port, and on one behind the SigV4 check of a given STS: ``(start, ports)``."""
    with contextlib.ExitStack() as cleanup:

        def start(sts):
            open_port, signed_port = free_ports(2)
            log = cleanup.enter_context((tmp_path_factory.mktemp("server") / "log").open("wb"))
            command = [sys.executable, "-m", "support.conformance_server"]
            process = subprocess.Popen(
                [*command, str(open_port), str(signed_port), f"http://{sts}"],
                env={**os.environ, "PYTHONPATH": str(TESTS)},
                stdout=log,
                stderr=log,
            )
            cleanup.callback(process.wait)
            cleanup.callback(process.terminate)
            retries = urllib3.Retry(connect=12, read=0, backoff_factor=0.1, backoff_max=2.0)
            urllib3.PoolManager().request("GET", f"http://127.0.0.1:{signed_port}/mcp", retries=retries)
            return open_port, signed_port

        yield start


@pytest.fixture(scope="module", params=RULES)
def endpoints(request, server, tmp_path_factory):
    """The server's address in the open, and its address behind the gateway for a client without a token."""
    directory = tmp_path_factory.mktemp("stack")
    ports = {}

    def adjust(text):
        settings = yaml.safe_load(text)
        settings["targets"][0]["endpoint_url"] = f"http://127.0.0.1:{ports['signed']}"
        settings["allowed_origins"] = [
            f"http://{host}:{ports['gateway']}" for host in ("127.0.0.1", "localhost")
        ]
        settings["role_mappings"] += RULES[request.param]
        settings["targets"][0]["filter_tools_list"] = bool(RULES[request.param])
        return yaml.safe_dump(settings)

    def with_token(text):
        bootstrap = yaml.safe_load(text)
        listener = bootstrap["static_resources"]["listeners"][0]
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        header = {"key": "authorization", "value": f"Bearer {stack.token('demo-admin')}"}
        manager["http_filters"].insert(0, _added(header))
        listener["address"]["socket_address"]["port_value"] = ports["gateway"]
        return yaml.safe_dump(bootstrap)

    stack = Stack(directory, adjust=adjust)
    (ports["gateway"],) = free_ports(1)
    direct, ports["signed"] = server(stack.addresses.sts)
    with stack, further_envoy(stack, directory, with_token):
        yield f"http://127.0.0.1:{direct}/mcp", f"http://127.0.0.1:{ports['gateway']}/mcp"


def _added(header):
    """An HTTP filter that adds a header: the suite knows of no tokens."""
    kind = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
    mutation = {"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    return {
        "name": "token",
        "typed_config": {"@type": kind, "mutations": {"request_mutations": [mutation]}},
    }


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_check_of_the_suite_has_the_same_outcome_through_the_gateway(
    suite, endpoints, revision, tmp_path
):
    direct, through = (
        _outcomes(suite, url, revision, tmp_path / name)
        for url, name in zip(endpoints, ("direct", "through"), strict=True)
    )
    assert _passed(direct) >= REVISIONS[revision], direct
    assert through == direct


def _outcomes(suite, url, revision, directory):
    """Each scenario's checks and their outcomes."""
    command = [*suite, "server", "--url", url, "--requirements", revision, "--output-dir", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    found = {}
    for path in directory.glob("server-*/checks.json"):
        scenario = path.parent.name[len("server-") : -len("-2026-01-01T00-00-00-000Z")]
        checks = json.loads(path.read_text())
        found[scenario] = sorted((check["id"], check["status"]) for check in checks)
    assert found, done.stdout + done.stderr
    return found


def _passed(outcomes):
    return sum(all(status in ("SUCCESS", "INFO") for _, status in checks) for checks in outcomes.values())
