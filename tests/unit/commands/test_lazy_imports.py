"""The command line is defined without what commands need when they run: help and completion are quick."""

import subprocess
import sys

from extproc.cli import main

HEAVY = (
    "pydantic",
    "yaml",
    "grpc",
    "botocore",
    "structlog",
    "cryptography",
    "celpy",
    "rich",
    "envoy_data_plane",
)


def test_defining_the_commands_loads_no_heavy_library():
    program = f"import sys, extproc.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_is_in_one_section_of_the_help():
    context = main.make_context("extproc", [], resilient_parsing=True)
    named = [name for names in main.sections.values() for name in names]
    assert sorted(named) == main.list_commands(context)
    assert "Other commands" not in main.get_help(context)


def test_commands_that_are_loaded_later_are_listed_as_they_call_themselves():
    context = main.make_context("extproc", [], resilient_parsing=True)
    for name, later in main.later.items():
        assert main.get_command(context, name).get_short_help_str(200) == later.short_help


NOT_SERVING = (
    *(
        "botocore",
        "celpy",
        "rich",
        "uvicorn",
        "starlette",
        "re2",
        "difflib",
        "colorama",
        "anycrc",
        "cachetools",
    ),
    *("extproc.explain", "extproc.policy.review", "extproc.shared_store"),
)


def test_a_server_loads_nothing_large_that_serving_does_not_need():
    program = f"""
import sys
from extproc.commands import lean_start
lean_start.prepare()
import extproc.app.lifecycle, extproc.admin.http, extproc.config.toolhive
print([name for name in {NOT_SERVING!r} if name in sys.modules])
import rich  # by commands that draw tables
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
