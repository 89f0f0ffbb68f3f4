"""What makes the start of a process that stays cheaper. Call it before anything else is imported."""

import gc
import importlib
import os
import sys

_COLLECTION_THRESHOLD = 50_000
"""Net allocations after which Python collects cyclic garbage."""


def collect_rarely() -> None:
    """Let Python look for cycles rarely."""
    gc.set_threshold(_COLLECTION_THRESHOLD, 20, 20)


def prepare() -> None:
    """Collect garbage rarely, and import structlog and pydantic without what is not used of them."""
    # Imports make hundreds of thousands of objects that stay; by default Python looks through all of them
    # several times.
    collect_rarely()
    # Otherwise pydantic looks for plugins through all packages that are installed, and would run them.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if "structlog" in sys.modules:
        return
    # structlog imports rich where it is installed, to draw tracebacks, and with it a lexer of Python. No
    # traceback is logged here. colorama is for Windows, and brings ctypes. None means "not installed" to an
    # import (sys.modules in Python's reference).
    hidden = [name for name in ("rich", "colorama") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        importlib.import_module("structlog")
    finally:
        for name in hidden:
            del sys.modules[name]
