"""The texts of ``settings.yaml``."""

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from extproc.libyaml import SafeLoader

_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


class SettingText(BaseModel):
    """What one setting means.

    Attributes:
        text: its meaning, as Markdown.
        example: a value.
        unit: of a number.
        default: the default in words, where it depends on something else.
        pattern: what its strings match.
        replaced: the schema's constraints, where YAML and the type differ.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    text: str = Field(min_length=1)
    example: Any
    unit: str | None = None
    default: str | None = None
    pattern: str | None = None
    replaced: dict[str, Any] | None = Field(default=None, alias="schema")

    @property
    def plain(self) -> str:
        """The meaning without Markdown, with its unit."""
        text = _LINK.sub(r"\1", self.text).replace("`", "")
        return f"{text} ({self.unit})" if self.unit else text


@cache
def texts() -> Mapping[str, Mapping[str, SettingText]]:
    """Return the texts by section (a model's name) and key."""
    text = (resources.files(__package__) / "settings.yaml").read_text(encoding="utf-8")
    document = yaml.load(text, SafeLoader)  # noqa: S506 - a safe one
    return {
        section: {key: SettingText.model_validate(entry) for key, entry in entries.items()}
        for section, entries in document.items()
    }
