"""What this project costs, measured: ``make bench``."""

import os
from pathlib import Path

# The processes that a benchmark starts import this package too.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")))
)
