"""The questions of ``extproc init``, and their answers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

Value = str | list[str]

_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
_ANY: Final = r"[^\x00-\x1f\x7f]+"
_SEGMENT: Final = r"[A-Za-z0-9._~-]+"
_HOST: Final = r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?"
_URL: Final = r"https?://[^\s\"'<>]+"


class AnswerError(ValueError):
    """A missing or unusable answer; the message names its option."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that a configuration depends on.

    Attributes:
        name: the name of its placeholder; with hyphens that of its option.
        text: what is asked, as a noun phrase.
        pattern: a regular expression of the whole answer; of each one, if there are several.
        many: whether the answer is a list, written with commas.
    """

    name: str
    text: str
    pattern: str = _ANY
    many: bool = False

    @property
    def option(self) -> str:
        """Return the command's option."""
        return f"--{self.name.replace('_', '-')}"

    def read(self, answer: str) -> Value:
        """Return the value of an answer.

        Raises:
            AnswerError: it has another form.
        """
        values = [part.strip() for part in answer.split(",")] if self.many else [answer.strip()]
        for value in values:
            if re.fullmatch(self.pattern, value, re.ASCII) is None:
                raise AnswerError(f"{self.option}: {value!a} is not usable as {self.text}")
        return list(dict.fromkeys(values)) if self.many else values[0]


_QUESTIONS: Final = (
    Question("domain", "the provider's host", _HOST),
    Question("tenant", "the tenant's id", _SEGMENT),
    Question("server", "the authorization server's id", _SEGMENT),
    Question("realm", "the realm", _SEGMENT),
    Question("pool", "the user pool's id, as us-east-1_AbCdEfGhI", r"[a-z0-9-]+_[A-Za-z0-9]+"),
    Question("environment", "the environment's id", _SEGMENT),
    Question("workspace", "the organisation's domain, claim hd", _HOST),
    Question("app", "the client id of the application that stands for this gateway", _SEGMENT),
    Question("issuer", "the issuer, exactly as in the claim iss", _URL),
    Question("resource", "the endpoint's URL as MCP clients call it", _URL),
    Question("audience", "the claim aud of access tokens"),
    Question("clients", "the ids of the clients in which users log in, with commas", many=True),
    Question("gateway", "the gateway's own client id at the provider"),
    Question("secret_file", "the file with the gateway's client secret"),
    Question("aws_app", "the client id of the application that stands for AWS", _SEGMENT),
    Question("aws_audience", "the claim aud of the tokens for AWS"),
    Question("role", "the ARN of the role that users get"),
    Question("group", "the value of the role claim that users of this role have; empty for all users"),
    Question("region", "the region of the AWS MCP Server", r"[a-z0-9-]+"),
)
QUESTIONS: Final[Mapping[str, Question]] = {question.name: question for question in _QUESTIONS}


def with_derived(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values, and those that follow from them."""
    pool = values.get("pool")
    # A user pool's id begins with its region.
    return {**values, "pool_region": pool.partition("_")[0]} if isinstance(pool, str) else dict(values)


def filled(template: object, values: Mapping[str, Value]) -> object:
    """Return a template with its placeholders replaced.

    A string that is one placeholder becomes its value, which may be a list. Lists lose lists in them: their
    elements take their place.

    Raises:
        KeyError: a placeholder without a value.
    """
    if isinstance(template, str):
        whole = _PLACEHOLDER.fullmatch(template)
        if whole is not None:
            return values[whole[1]]
        return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), template)
    if isinstance(template, Mapping):
        return {name: filled(value, values) for name, value in template.items()}
    if isinstance(template, Sequence):
        found: list[object] = []
        for element in template:
            value = filled(element, values)
            found += value if isinstance(value, list) else [value]
        return found
    return template
