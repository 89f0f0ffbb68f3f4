"""Writes a commented configuration from a recipe."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from extproc.idp.answers import Value, filled
from extproc.idp.recipe import Recipe, Way

_WIDTH: Final = 100
_ISSUER: Final = "Compared exactly with the claim iss: the path and a slash at the end count."


def configuration(
    recipe: Recipe,
    way: Way,
    values: Mapping[str, Value],
    *,
    jwks_uri: str | None = None,
    target_url: str | None = None,
    sts_url: str | None = None,
) -> str:
    """Return a configuration (YAML).

    Args:
        recipe: the provider's.
        way: one of its ways.
        values: those of ``Recipe.values``.
        jwks_uri: where discovery found the keys.
        target_url: ``endpoint_url`` of the target.
        sts_url: ``endpoint_url`` of STS.
    """
    lines = [
        f"# {recipe.title}, way {way.name!r}:",
        f"# {way.title}.",
        f"# Written by `extproc init`. docs/idp/{recipe.name}.md describes it.",
        "",
    ]
    lines += _setting("resource", {"url": values["resource"]}, "The endpoint, as MCP clients call it.")
    lines += issuers(way, values, jwks_uri=jwks_uri)
    target = {"name": "aws-mcp", "host": f"aws-mcp.{values['region']}.api.aws"}
    if target_url is not None:
        target["endpoint_url"] = target_url
    lines += _setting("targets", [target], "Region and service are derived from the host.")
    if sts_url is not None:
        lines += _setting("sts", {"endpoint_url": sts_url})
    for name, value in recipe.settings.items():
        lines += _setting(name, filled(value, values), recipe.comments.get(name))
    lines += _roles(values)
    return "\n".join(lines) + "\n"


def issuers(way: Way, values: Mapping[str, Value], *, jwks_uri: str | None = None) -> Iterator[str]:
    """Yield the lines of ``issuers``, which has one entry."""
    yield "issuers:"
    lines = list(_setting("issuer", values["issuer"], _ISSUER))
    if jwks_uri is not None:
        lines.append(f"# jwks_uri: {jwks_uri}  # found by discovery; with it, discovery is not needed")
    for name, template in way.issuer.items():
        lines += _setting(name, filled(template, values), way.comments.get(name))
    # One entry of the list: its comments stand before the settings.
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    for number, line in enumerate(lines):
        yield f"  {'- ' if number == first else '  '}{line}"


def _roles(values: Mapping[str, Value]) -> Iterator[str]:
    if not values.get("group"):
        yield from _setting(
            "fallback_role_arn",
            values["role"],
            "The role of every user with a valid token. role_mappings would give others, by claim or CEL.",
        )
        return
    mapping = {"name": "users", "claim": values["group"], "role_arn": values["role"]}
    yield from _setting("role_mappings", [mapping], "The first that matches; users without one are refused.")


def _setting(name: str, value: Any, comment: str | None = None) -> Iterator[str]:
    """Yield the lines of one setting, with its comment before it."""
    if comment:
        yield from textwrap.wrap(
            comment, _WIDTH - 6, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
    dumped = yaml.dump({name: value}, Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True)
    yield from dumped.splitlines()


class _Dumper(yaml.SafeDumper):
    """Indents lists, as the examples do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002
        """Indent, whatever ``indentless`` says."""
        del indentless
        super().increase_indent(flow, indentless=False)
