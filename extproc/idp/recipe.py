"""A provider's recipe, as its file has it."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from extproc.idp.answers import QUESTIONS, AnswerError, Value, filled, with_derived
from extproc.libyaml import SafeLoader

COMMON: Mapping[str, str | None] = {"resource": None, "role": None, "group": "", "region": "us-east-1"}
"""What every recipe asks besides its own questions, with defaults."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shape(_Part):
    """A token of the provider, with invented values.

    Attributes:
        title: what it is.
        header: members of the JWS header besides ``alg`` and ``kid``.
        claims: the claims; placeholders as in settings. None for an opaque token.
        text: an opaque token.
    """

    title: str
    header: Mapping[str, str] = {}
    claims: Mapping[str, Any] | None = None
    text: str = ""


class Refusal(_Part):
    """How a way ends that does not work.

    Attributes:
        by: who refuses: extproc, or STS.
        reason: the reason in the audit log.
        message: a part of the detail in the log.
        sts: the message of STS.
        cause: why.
        remedy: the next step.
    """

    by: Literal["extproc", "sts"]
    reason: str
    message: str
    sts: str = ""
    cause: str
    remedy: str


class Way(_Part):
    """One way of a user's token to STS.

    Attributes:
        title: one sentence.
        asks: further questions, with default templates; None for no default.
        bearer: the shape of the bearer token.
        token: the shape that STS gets; by default the bearer token.
        provider: what to do at the provider.
        issuer: settings of the issuer besides ``issuer``.
        comments: a comment for each of these settings.
        refused: how it ends, if it does not work.
    """

    name: str
    title: str
    asks: Mapping[str, str | None] = {}
    bearer: str
    token: str | None = None
    provider: tuple[str, ...] = ()
    issuer: Mapping[str, Any]
    comments: Mapping[str, str] = {}
    refused: Refusal | None = None

    @property
    def for_sts(self) -> str:
        """Return the shape that STS gets."""
        return self.token or self.bearer


class Recipe(_Part):
    """One provider.

    Attributes:
        summary: what is to be known about its tokens.
        issuer: the template of the issuer; None if it is asked.
        asks: its questions, with default templates; None for no default.
        example: answers for documentation and tests.
        settings: settings of the configuration besides those that all have.
        comments: a comment for each of these settings.
        ways: the first one is the default.
        sources: where the provider documents this.
    """

    name: str
    title: str
    summary: tuple[str, ...]
    issuer: str | None = None
    asks: Mapping[str, str | None] = {}
    example: Mapping[str, str]
    settings: Mapping[str, Any] = {}
    comments: Mapping[str, str] = {}
    tokens: Mapping[str, Shape]
    ways: tuple[Way, ...]
    sources: tuple[str, ...]

    def way(self, name: str | None = None) -> Way:
        """Return a way that works, by default the first one.

        Raises:
            AnswerError: there is none of this name.
        """
        usable = [way for way in self.ways if way.refused is None]
        for way in usable:
            if name in (None, way.name):
                return way
        raise AnswerError(f"--way: {self.name} has {', '.join(way.name for way in usable)}")

    def questions(self, way: Way) -> dict[str, str | None]:
        """Return the questions with their defaults' templates, which refer to earlier questions only."""
        asked = {**COMMON, "issuer": self.issuer, **self.asks, **way.asks}
        if "role_claim" not in self.settings:
            del asked["group"]
        return {name: asked[name] for name in QUESTIONS if name in asked}

    def values(self, way: Way, answers: Mapping[str, str]) -> dict[str, Value]:
        """Return the values of all placeholders.

        Raises:
            AnswerError: an answer is missing, unusable, or to a question that is not asked.
        """
        asked = self.questions(way)
        for name in answers:
            if name not in asked:
                raise AnswerError(f"{QUESTIONS[name].option} has no effect with {self.name}, way {way.name}")
        values: dict[str, Value] = {}
        for name, default in asked.items():
            question = QUESTIONS[name]
            answer = answers.get(name) or default_answer(default, values)
            if answer is None:
                raise AnswerError(f"{question.option} is required: {question.text}")
            values[name] = question.read(answer) if answer or default != "" else ""
        return with_derived(values)


def default_answer(default: str | None, values: Mapping[str, Value]) -> str | None:
    """Return a default's template filled in with the values so far."""
    return None if default is None else str(filled(default, with_derived(values)))


@cache
def recipes() -> Mapping[str, Recipe]:
    """Return all recipes by name, the generic one last."""
    found = [
        Recipe.model_validate(yaml.load(entry.read_text(encoding="utf-8"), SafeLoader))  # noqa: S506 - a safe one
        for entry in files("extproc.idp").joinpath("recipes").iterdir()
        if entry.name.endswith(".yaml")
    ]
    found.sort(key=lambda recipe: (recipe.name == "generic", recipe.name))
    return {recipe.name: recipe for recipe in found}
