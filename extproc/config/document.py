"""The configuration file: YAML to settings, with ``path: message`` errors."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from extproc.config import expressions
from extproc.config.errors import ConfigError, Position
from extproc.config.listen import Listen
from extproc.config.locations import located
from extproc.config.settings import Settings
from extproc.validation import problems

WRITE_ONE = "correct the path, or write a configuration with `extproc init`"
_NEXT_STEPS: dict[type[OSError], str] = {
    IsADirectoryError: "name a file in it",
    PermissionError: "let this user read it",
}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 that refuses duplicate keys, of which PyYAML would silently keep the last.

    Merge keys (``<<``) are refused, too: they hide duplicates, and nested ones grow without bound.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for entry in node.value if isinstance(node, yaml.MappingNode) else []:
            key_node = entry[0]
            at = Position(key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            line = at.line
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise ConfigError([f"line {line}: merge keys (<<) are not supported"], position=at)
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError([f"line {line}: a key must be a plain string"], position=at)
            key = self.construct_object(key_node)
            if key in seen:
                raise ConfigError([f"line {line}: {key!r} is set twice"], position=at)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: Any) -> None:
        """Do nothing: there are no merge keys. PyYAML would change the node, which aliases share."""


def read_documents(text: str) -> list[Any]:
    """Return the YAML documents in a string; raises ``ConfigError``."""
    try:
        return list(yaml.load_all(text, _Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "document"
        raise ConfigError(
            [f"{where}: not valid YAML: {getattr(error, 'problem', None) or 'cannot be read'}"],
            position=Position(mark.line + 1, mark.column + 1) if mark else None,
        ) from None
    except ConfigError:
        raise
    except Exception:  # noqa: BLE001 - PyYAML passes on what int(), datetime and dicts raise for odd values
        raise ConfigError(["document: not valid YAML: a value cannot be read"]) from None


def validate(document: Any) -> Settings:
    """Return the settings in a YAML document; raises ``ConfigError``."""
    if document is None:
        raise ConfigError(["document: must be a mapping, but is empty; `extproc init` writes one"])
    if not isinstance(document, dict):
        raise ConfigError(["document: must be a mapping, as `extproc init` writes it"])
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        raise ConfigError(problems(error, Settings)) from None
    found = list(expressions.problems(settings))
    if found:
        raise ConfigError(found)
    return settings


def parse(text: str) -> Settings:
    """Parse and validate a configuration of one document.

    Raises:
        ConfigError: an invalid configuration, with one line for each problem.
    """
    documents = read_documents(text)
    if len(documents) > 1:
        raise ConfigError(["document: one YAML document is expected"])
    return validate(documents[0] if documents else None)


def read_text(path: Path, *, if_absent: str = "correct the path") -> str:
    """Return the content of a file; raises ``ConfigError``, with ``if_absent`` as the next step."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        next_step = _NEXT_STEPS.get(type(error)) or if_absent
        raise ConfigError([f"{path}: {error.strerror}; {next_step}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: not UTF-8; save it as YAML in UTF-8"]) from None


def load(path: Path) -> Settings:
    """Read a configuration file; raises ``ConfigError`` with the places of its problems."""
    text = read_text(path, if_absent=WRITE_ONE)
    with located(path, text):
        return parse(text)


def load_listen(path: Path) -> Listen:
    """Return only the ``listen`` section of a file; raises ``ConfigError``.

    The rest may be invalid: a health check must not fail because of settings that a reload has refused.
    """
    text = read_text(path, if_absent=WRITE_ONE)
    with located(path, text):
        documents = read_documents(text)
        document = documents[0] if documents and isinstance(documents[0], dict) else {}
        try:
            return Listen.model_validate(document.get("listen") or {})
        except ValidationError as error:
            raise ConfigError([f"listen.{problem}" for problem in problems(error, Listen)]) from None
