"""What to type to get an optional part of extproc."""

from importlib import metadata


def how_to_install(extra: str) -> str:
    """Return a hint for ``extra``, one of those in pyproject.toml; no package index has extproc."""
    wheel = f"extproc_sigv4-{metadata.version('extproc-sigv4')}-py3-none-any.whl"
    return f"pip install '.[{extra}]' in a checkout, or pip install './{wheel}[{extra}]' where the wheel is"
