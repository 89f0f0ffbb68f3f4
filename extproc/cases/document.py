"""The file with the cases: YAML, read as strictly as the configuration.

    defaults: {claims: {...}, request: {...}, mcp: {...}}
    cases:
      - name: ...
        claims: {...}
        mcp: {tool: ...}
        expect: {mapping: ..., role: ...}
      - name: ...
        expect: {denied: no_role}
        table: [{claims: {...}}, {claims: {...}, expect: {...}}]

A case has the members of ``defaults`` and its own; a row of a table those of its case too. Mappings are
merged member by member, everything else is replaced, and ``expect`` is replaced as a whole.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator

from extproc.config import ConfigError
from extproc.config.document import read_documents, read_text
from extproc.config.fields import Moment, Section, repeated
from extproc.errors import Reason
from extproc.spelling import did_you_mean
from extproc.validation import problems

_REASONS = [reason.value for reason in Reason]


def _reason(name: str) -> str:
    if name not in _REASONS:
        raise ValueError(f"{name} is no reason of a denial{did_you_mean(name, _REASONS)}")
    return name


class Expect(Section):
    """What must come of a request; members that are not set are not compared.

    Attributes:
        role: the ARN of the role that signs, which is the second one of a chain.
        mapping: the name of the mapping that counts; null for the fallback role.
        session_name: the name of the session.
        policy: the inline session policy as YAML; null for none.
        policy_arns: the managed session policies, in any order.
        denied: the reason of the denial; without it the request must be signed.
    """

    role: str | None = None
    mapping: str | None = None
    session_name: str | None = None
    policy: dict[str, Any] | None = None
    policy_arns: list[str] | None = None
    denied: Annotated[str, AfterValidator(_reason)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Expect":
        if not self.model_fields_set:
            raise ValueError("must not be empty")
        if self.denied is not None and self.model_fields_set - {"denied", "mapping"}:
            raise ValueError("denied goes with mapping only")
        return self


class Mcp(Section):
    """An MCP message in short; the body of the request is made of it."""

    method: str = "tools/call"
    tool: str | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    resource: str | None = None
    prompt: str | None = None

    def body(self) -> dict[str, Any]:
        """Return the JSON-RPC request."""
        params: dict[str, Any] = {}
        if self.resource is not None:
            params["uri"] = self.resource
        name = self.tool if self.tool is not None else self.prompt
        if name is not None:
            params |= {"name": name, "arguments": self.arguments}
        return {"jsonrpc": "2.0", "id": 1, "method": self.method, "params": params}


class _Shared(Section):
    claims: dict[str, Any] | None = None
    request: dict[str, Any] | None = None
    mcp: dict[str, Any] | None = None
    at: Moment | None = None
    expect: dict[str, Any] | None = None


class _Entry(_Shared):
    name: Annotated[str, Field(min_length=1)]
    table: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = None


class _Document(Section):
    defaults: _Shared = _Shared()
    cases: Annotated[list[_Entry], Field(min_length=1)]


class _Row(_Shared):
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One case.

    Attributes:
        name: unique in its file.
        claims: the claims of a token that counts as verified, as JSON.
        request: the request as ``extproc explain`` reads it, as JSON; None for a token by itself.
        at: the time of the request in seconds since the epoch; None for now.
    """

    name: str
    expect: Expect
    claims: bytes = field(repr=False)
    request: bytes | None = field(default=None, repr=False)
    at: float | None = None


def load(path: Path) -> list[Case]:
    """Read the cases of a file.

    Raises:
        ConfigError: the file cannot be read or is invalid, with one line for each problem.
    """
    try:
        return parse(read_text(path))
    except ConfigError as error:
        prefix = f"{path}: "
        raise ConfigError([prefix + problem.removeprefix(prefix) for problem in error.problems]) from None


def parse(text: str) -> list[Case]:
    """Return the cases of a document; raises ``ConfigError``."""
    documents = read_documents(text)
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise ConfigError(["document: must be one mapping"])
    document = _validated(_Document, documents[0], "")
    defaults = document.defaults.model_dump(exclude_unset=True)
    cases: list[Case] = []
    for position, entry in enumerate(document.cases):
        path = f"cases[{position}]"
        shared = _merged(defaults, entry.model_dump(exclude_unset=True, exclude={"name", "table"}))
        if entry.table is None:
            cases.append(_case(entry.name, shared, path))
            continue
        for number, given in enumerate(entry.table):
            row = _validated(_Row, given, f"{path}.table[{number}]").model_dump(exclude_unset=True)
            name = row.pop("name", None) or number + 1
            cases.append(_case(f"{entry.name} [{name}]", _merged(shared, row), f"{path}.table[{number}]"))
    for name in repeated(case.name for case in cases):
        raise ConfigError([f"cases: the name {name!r} is used twice"])
    return cases


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(first)
    for name, value in second.items():
        known = merged.get(name)
        if isinstance(known, dict) and isinstance(value, dict) and name != "expect":
            value = _merged(known, value)  # noqa: PLW2901
        merged[name] = value
    return merged


def _case(name: str, members: Mapping[str, Any], path: str) -> Case:
    for required in ("claims", "expect"):
        if members.get(required) is None:
            raise ConfigError([f"{path}: {required} is required"])
    expect = _validated(Expect, members["expect"], f"{path}.expect")
    request = members.get("request")
    if members.get("mcp") is not None:
        message = _validated(Mcp, members["mcp"], f"{path}.mcp")
        request = request or {}
        if "body" in request or "body_base64" in request:
            raise ConfigError([f"{path}: mcp and the body of request exclude each other"])
        request = {**request, "body": message.body()}
    return Case(
        name,
        expect,
        _json(members["claims"], f"{path}.claims"),
        None if request is None else _json(request, f"{path}.request"),
        members.get("at"),
    )


def _json(value: Any, path: str) -> bytes:
    try:
        return json.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError):
        raise ConfigError([f"{path}: JSON has no such value (a date needs quotes)"]) from None


def _validated(kind: type[Any], value: Any, path: str) -> Any:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        lines = zip(error.errors(), problems(error), strict=True)
        raise ConfigError([_at(path, line, whole=not entry["loc"]) for entry, line in lines]) from None


def _at(path: str, line: str, *, whole: bool) -> str:
    """Return a problem's line with the path of what was validated; ``whole``: the line has none itself."""
    if not path:
        return line
    return f"{path}: {line}" if whole else f"{path}.{line}"
