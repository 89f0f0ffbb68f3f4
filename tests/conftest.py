"""Of all tests."""

import hypothesis
import pytest
import structlog

# Each example may take its time: on a loaded machine any of them is slow, and that is no defect.
hypothesis.settings.register_profile("gate", deadline=None)
hypothesis.settings.load_profile("gate")


@pytest.fixture(autouse=True)
def logging_as_before():
    """Whoever changes how much is logged changes it for one test."""
    yield
    structlog.reset_defaults()
