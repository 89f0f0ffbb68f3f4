"""Hints for installing optional parts of extproc."""

from importlib import metadata


def how_to_install(extra: str) -> str:
    """Return a hint for an extra of pyproject.toml; extproc is in no package index."""
    wheel = f"extproc_sigv4-{metadata.version('extproc-sigv4')}-py3-none-any.whl"
    return f"pip install '.[{extra}]' in a checkout, or pip install './{wheel}[{extra}]' where the wheel is"
