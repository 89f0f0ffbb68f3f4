"""Writes a provider's page of the documentation from its recipe."""

import json
from collections.abc import Iterator, Mapping
from typing import Final

from extproc import config
from extproc.aws.documents import trust_policy
from extproc.aws.requirements import accounts
from extproc.idp.answers import QUESTIONS, Value, filled
from extproc.idp.configuration import configuration, issuers
from extproc.idp.recipe import COMMON, Recipe, Shape, Way

EXAMPLE: Final[Mapping[str, str]] = {
    "resource": "https://mcp.example.com/mcp",
    "role": "arn:aws:iam::123456789012:role/Developer",
}
_GENERATED: Final = "<!-- Made from extproc/idp/recipes by `make idp-docs`; not to be edited. -->"


def example_values(recipe: Recipe, way: Way) -> dict[str, Value]:
    """Return the values of the recipe's example answers."""
    given = {**EXAMPLE, **recipe.example}
    return recipe.values(way, {name: given[name] for name in recipe.questions(way) if name in given})


def page(recipe: Recipe) -> str:
    """Return the page (Markdown)."""
    lines = [_GENERATED, "", f"# {recipe.title}", "", *(f"* {fact}" for fact in recipe.summary), ""]
    lines += _ways(recipe)
    for way in recipe.ways:
        if way.refused is None:
            lines += _usable(recipe, way)
    refused = [way for way in recipe.ways if way.refused is not None]
    if refused:
        lines += ["## Ways that do not work", ""]
        for way in refused:
            lines += _refused(way)
    lines += ["## Tokens", "", "Recorded shapes; the values are invented.", ""]
    values = {name: value for way in recipe.ways for name, value in example_values(recipe, way).items()}
    for name, shape in recipe.tokens.items():
        lines += _token(name, shape, values)
    lines += ["## Sources", "", *(f"* <{source}>" for source in recipe.sources)]
    return "\n".join(lines) + "\n"


def index(recipes: Mapping[str, Recipe]) -> str:
    """Return the page that lists all providers."""
    lines = [_GENERATED, "", "# Identity providers", ""]
    lines += ["| provider | ways to STS, the first by default | ways that do not work |", "|---|---|---|"]
    for recipe in recipes.values():
        usable = ", ".join(f"`{way.name}`" for way in recipe.ways if way.refused is None)
        refused = ", ".join(f"`{way.name}`" for way in recipe.ways if way.refused is not None)
        lines.append(f"| [{recipe.title}]({recipe.name}.md) | {usable} | {refused} |")
    lines += [
        "",
        "`extproc init --idp NAME` asks for the rest, and writes a configuration; `--way` chooses the way.",
        "",
    ]
    lines += [
        "STS compares a token's `azp` with the client ids of the IAM OIDC provider, and `aud` only if there",
        "is no `azp` ([aws.md](../aws.md#tokens-with-azp)). That decides which ways tokens have.",
    ]
    return "\n".join(lines) + "\n"


def _ways(recipe: Recipe) -> Iterator[str]:
    yield from ("| way | what it is | result |", "|---|---|---|")
    for way in recipe.ways:
        result = "works" if way.refused is None else f"refused by {way.refused.by}: `{way.refused.reason}`"
        yield f"| `{way.name}` | {way.title} | {result} |"
    yield ""


def _usable(recipe: Recipe, way: Way) -> Iterator[str]:
    values = example_values(recipe, way)
    yield from (f"## {way.name}", "", f"{way.title[0].upper()}{way.title[1:]}.", "")
    yield from ("At the provider:", "", *(f"* {step}" for step in way.provider), "")
    whole = "configuration" if way is recipe.way() else "configuration differs in its issuer"
    yield from (f"The {whole}:", "", "```sh", *_command(recipe, way), "```", "")
    text = configuration(recipe, way, values)
    section = text.rstrip("\n") if way is recipe.way() else "\n".join(issuers(way, values))
    yield from ("```yaml", section, "```", "")
    yield from _iam(text)


def _command(recipe: Recipe, way: Way) -> Iterator[str]:
    given = {**EXAMPLE, **recipe.example}
    chosen = "" if way is recipe.way() else f" --way {way.name}"
    shown = [name for name in recipe.questions(way) if name in given]
    own = [name for name in shown if name not in COMMON]
    common = [name for name in shown if name in COMMON]
    lines = [f"extproc init --idp {recipe.name}{chosen}"]
    lines += [
        " ".join(f"{QUESTIONS[name].option} {given[name]}" for name in names) for names in (own, common)
    ]
    yield from " \\\n  ".join(line for line in lines if line).splitlines()


def _iam(text: str) -> Iterator[str]:
    """Yield what IAM needs, as ``extproc aws`` prints it of the configuration."""
    (account,) = accounts(config.parse(text))
    (role,) = account.roles
    yield from ("IAM, as `extproc aws` prints it:", "")
    for provider in role.providers:
        if provider.built_in:
            yield f"* no OIDC provider: AWS knows `{provider.identifier}` by itself"
    for provider in account.providers:
        clients = ", ".join(f"`{name}`" for name in provider.client_ids)
        yield f"* OIDC provider `{provider.issuer}`, client ids {clients}"
    yield from (
        "* trust policy of the role:",
        "",
        "```json",
        json.dumps(trust_policy(role), indent=2),
        "```",
        "",
    )


def _refused(way: Way) -> Iterator[str]:
    refused = way.refused
    if refused is None:
        return
    yield from (
        f"### {way.name}",
        "",
        f"{way.title[0].upper()}{way.title[1:]}. {refused.cause} {refused.remedy}",
        "",
    )
    said = f"STS answers `{refused.sts}`; the" if refused.sts else "The"
    yield from (f"{said} log has `{refused.reason}`: “{refused.message}”.", "")


def _token(name: str, shape: Shape, values: Mapping[str, Value]) -> Iterator[str]:
    yield from (f"### {name}", "", f"{shape.title[0].upper()}{shape.title[1:]}:", "")
    if shape.claims is None:
        yield from ("```", shape.text, "```", "")
        return
    yield from ("```json", json.dumps(filled(shape.claims, values), indent=2), "```", "")
