"""Of all tests."""

import pytest
import structlog


@pytest.fixture(autouse=True)
def logging_as_before():
    """Whoever changes how much is logged changes it for one test."""
    yield
    structlog.reset_defaults()
