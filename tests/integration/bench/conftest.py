"""The generators' processes import ``bench`` too."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
