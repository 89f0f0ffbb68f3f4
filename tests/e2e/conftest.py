"""The whole stack with the real Envoy, once for a test session, on free loopback ports."""

import contextlib
import functools

import pytest

from support.aws_gateway import verifying_gateway
from support.envoys import further_envoy
from support.stacks import Stack


@pytest.fixture
def engine():
    """What carries the streams in extproc; tests of both are parametrized with its names."""
    return "auto"


@pytest.fixture(scope="session")
def shared_stacks(tmp_path_factory):
    """Start a stack for each engine that is asked for, once in this process."""
    # Session scope also means: started by the main thread, which outlives every test. Envoy
    # gets SIGTERM when the thread that started it ends.
    with contextlib.ExitStack() as cleanup:
        started = {}

        def started_with(engine):
            engine = "completion_queue" if engine == "auto" else engine  # as the server would choose here
            if engine not in started:
                directory = tmp_path_factory.mktemp("stack")
                adjust = functools.partial(_with_more_targets, engine=engine)
                started[engine] = cleanup.enter_context(Stack(directory, adjust=adjust))
            return started[engine]

        yield started_with


def _with_engine(text, engine):
    return text.replace("listen:\n", f"listen:\n  engine: {engine}\n", 1)


def _with_more_targets(text, engine):
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
    return _with_engine(text.replace(first, first + wrong + regional), engine)


@pytest.fixture
def stack(shared_stacks, engine):
    """The shared stack with its records cleared and no faults."""
    stack = shared_stacks(engine)
    stack.control("sts", "reset", {})
    stack.control("mcp", "reset", {})
    return stack


@pytest.fixture
def own_stack(tmp_path, engine):
    """A stack that a test may break."""
    with Stack(tmp_path, adjust=lambda text: _with_engine(text, engine)) as stack:
        yield stack


@pytest.fixture
def another_envoy(stack, tmp_path):
    """Start a further Envoy before the same stack, with its configuration changed; returns its base URL."""
    with contextlib.ExitStack() as cleanup:
        yield lambda change: cleanup.enter_context(further_envoy(stack, tmp_path, change))


@pytest.fixture(scope="session")
def aws_gateway(tmp_path_factory):
    """AWS services behind HTTPS, played by an upstream that verifies every signature."""
    with verifying_gateway(tmp_path_factory.mktemp("aws")) as running:
        yield running
