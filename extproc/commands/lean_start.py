"""What makes the start of a process that stays cheaper. Call it before anything else is imported."""

import gc
import importlib
import sys

_COLLECTION_THRESHOLD = 50_000
"""Net allocations after which Python collects cyclic garbage."""


def collect_rarely() -> None:
    """Let Python look for cycles rarely."""
    gc.set_threshold(_COLLECTION_THRESHOLD, 20, 20)


def prepare() -> None:
    """Collect garbage rarely, and import structlog without rich."""
    # Imports make hundreds of thousands of objects that stay; by default Python looks through all of them
    # several times.
    collect_rarely()
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    # structlog imports rich where it is installed, to draw tracebacks, and with it a lexer of Python. No
    # traceback is logged here. None means "not installed" to an import (sys.modules in Python's reference).
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]
