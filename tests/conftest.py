"""Of all tests."""

import gc
import os
import sys

import hypothesis
import pytest
import structlog

from extproc.grpc_server import engine_choice

engine_choice.prepare("auto")  # as the server does: gRPC reads it when it is first imported

# Each example may take its time: on a loaded machine any of them is slow, and that is no defect.
# The gate has no time for many; `make test-all` tries more (tests that need more say how many times as many).
hypothesis.settings.register_profile("gate", deadline=None, max_examples=30)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=400)
hypothesis.settings.load_profile("gate")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Use two workers for each core: tests of processes wait for them half of their time."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Keep garbage collection away from what lives as long as pytest: half a second for each pass over all items."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def quick_rendering():
    """Make rendering cheap where tests of this process render at all: betterproto2 is imported by then."""
    if "betterproto2" in sys.modules:
        from support.rendering import build_once_for_a_class  # noqa: PLC0415

        build_once_for_a_class()


@pytest.fixture(autouse=True)
def logging_as_before(monkeypatch):
    """Whoever changes how much is logged changes it for one test, and no logger keeps it from its first use on."""
    configure = structlog.configure
    monkeypatch.setattr(
        structlog, "configure", lambda **options: configure(**{**options, "cache_logger_on_first_use": False})
    )
    yield
    structlog.reset_defaults()
