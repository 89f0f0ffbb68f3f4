"""Pydantic's errors as lines for people."""

from pydantic import ValidationError


def problems(error: ValidationError) -> list[str]:
    """Return one ``path: message`` line an error, with list positions in brackets."""
    lines = []
    for entry in error.errors():
        path = ""
        for part in entry["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
        message = "unknown key" if entry["type"] == "extra_forbidden" else entry["msg"]
        message = message.removeprefix("Value error, ")
        # A rule about a whole section names its own path.
        lines.append(f"{path}: {message}" if path else message)
    return lines
