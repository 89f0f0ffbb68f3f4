"""The whole stack with the real Envoy, once for a test session, on free loopback ports."""

import contextlib

import pytest

from extproc.demo.stack import Stack
from support.envoys import further_envoy


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory):
    # Session scope also means: started by the main thread, which outlives every test. Envoy
    # gets SIGTERM when the thread that started it ends.
    with Stack(tmp_path_factory.mktemp("stack"), adjust=_with_more_targets) as stack:
        yield stack


def _with_more_targets(text):
    """The same upstream under a service name that it refuses, and with a default region."""
    first = "targets:\n"
    endpoint = text.split("endpoint_url: ")[1].split("\n")[0]
    wrong = (
        "- name: refused\n  host: aws-mcp.us-east-1.api.aws\n  service: other\n  prefix: /refused\n"
        f"  endpoint_url: {endpoint}\n"
    )
    regional = (
        "- name: regional\n  host: aws-mcp.us-east-1.api.aws\n  prefix: /regional\n"
        f"  default_aws_region: eu-central-1\n  endpoint_url: {endpoint}\n"
    )
    return text.replace(first, first + wrong + regional)


@pytest.fixture
def stack(shared_stack):
    """The shared stack with its records cleared and no faults."""
    shared_stack.control("sts", "reset", {})
    shared_stack.control("mcp", "reset", {})
    yield shared_stack
    shared_stack.control("sts", "faults", {"mode": None})


@pytest.fixture
def own_stack(tmp_path):
    """A stack that a test may break."""
    with Stack(tmp_path) as stack:
        yield stack


@pytest.fixture
def another_envoy(shared_stack, tmp_path):
    """Start a further Envoy before the same stack, with its configuration changed; returns its base URL."""
    with contextlib.ExitStack() as cleanup:
        yield lambda change: cleanup.enter_context(further_envoy(shared_stack, tmp_path, change))
