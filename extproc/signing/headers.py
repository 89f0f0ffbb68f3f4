"""What happens to a client's headers: signed, replaced, withheld, or a reason to refuse.

AWS wants every ``x-amz-*`` header of a request signed
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html), and
services act on them: without ``x-amz-copy-source`` a copy is an upload of nothing. So they are signed
and forwarded, except for the lists in ``header_names``. No header is dropped in silence: it is
replaced, refused with 400, or withheld and counted.
"""

import re
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from extproc.errors import Denied, Reason
from extproc.header_names import (
    ALWAYS_REPLACED,
    AWS_PREFIXES,
    CARRIERS,
    CHECKED_HERE,
    ENDS_HERE,
    FORWARDED_UNSIGNED,
    NAMES_A_USER,
    REFUSED,
    SET_BY_PROXIES,
)
from extproc.values import RequestHead

_PUNCTUATION = re.compile(r"[^a-z0-9]", re.ASCII)


class Treatment(Enum):
    """What happens to a client's header."""

    SIGN = "signed and forwarded"
    FORWARD = "forwarded"
    REPLACE = "replaced or removed"
    WITHHOLD = "withheld and counted"
    REFUSE = "refused"


class ClientHeaders(NamedTuple):
    """A client's headers by treatment.

    Attributes:
        signed: names and values that the signature covers.
        removed: names of headers that are removed.
        withheld: how many of the removed ones nothing replaces.
    """

    signed: tuple[tuple[str, str], ...]
    removed: tuple[str, ...]
    withheld: int

    def __repr__(self) -> str:
        return f"ClientHeaders(signed={[name for name, _ in self.signed]}, removed={self.removed})"


class HeaderPolicy:
    """A target's treatment of clients' headers, compiled once.

    ``sign``, ``withhold`` and ``known`` are names or patterns like ``x-amz-meta-*``. A name takes precedence
    over a pattern, a longer pattern over a shorter one, and ``withhold`` over the other two.
    ``refuse_unknown``: refuse an ``x-amz-*`` header that no list has, instead of signing it.
    """

    __slots__ = ("_names", "_patterns", "_prefixes")

    def __init__(
        self,
        *,
        sign: Iterable[str] = (),
        withhold: Iterable[str] = (),
        known: Iterable[str] = (),
        refuse_unknown: bool = False,
    ) -> None:
        aws = Treatment.REFUSE if refuse_unknown else Treatment.SIGN
        rules: dict[str, Treatment] = {f"{prefix}*": aws for prefix in AWS_PREFIXES}
        rules |= dict.fromkeys((*SET_BY_PROXIES, *CARRIERS), Treatment.WITHHOLD)
        rules |= dict.fromkeys(NAMES_A_USER, Treatment.REFUSE)
        rules |= dict.fromkeys(CHECKED_HERE, Treatment.REPLACE)
        rules |= dict.fromkeys(FORWARDED_UNSIGNED, Treatment.FORWARD)
        rules |= dict.fromkeys(known, Treatment.SIGN)
        rules |= dict.fromkeys(sign, Treatment.SIGN)
        rules |= dict.fromkeys(REFUSED, Treatment.REFUSE)
        rules |= dict.fromkeys(withhold, Treatment.WITHHOLD)
        rules |= dict.fromkeys(ENDS_HERE, Treatment.WITHHOLD)
        rules |= dict.fromkeys(ALWAYS_REPLACED, Treatment.REPLACE)
        rules["content-type"] = Treatment.SIGN
        self._names = {name: rule for name, rule in rules.items() if not name.endswith("*")}
        self._patterns = sorted(
            ((name[:-1], rule) for name, rule in rules.items() if name.endswith("*")),
            key=lambda pattern: -len(pattern[0]),
        )
        self._prefixes = tuple(prefix for prefix, _ in self._patterns)

    def treatment(self, name: str) -> Treatment:
        """Return the treatment of a header; ``name`` in lower case."""
        found = self._names.get(name)
        if found is not None:
            return found
        return next((rule for prefix, rule in self._patterns if name.startswith(prefix)), Treatment.FORWARD)

    def _of_odd_name(self, name: str) -> Treatment:
        """Return the treatment of a header like ``x_amz_date``, which some servers read as ``x-amz-date``."""
        rule = self.treatment(name)
        if rule in (Treatment.SIGN, Treatment.FORWARD) and rule is not self.treatment(
            _PUNCTUATION.sub("-", name)
        ):
            return Treatment.REFUSE
        return rule

    def sort(self, head: RequestHead) -> ClientHeaders:
        """Sort a request's headers.

        Raises:
            Denied: ``HEADER_REFUSED`` for a header that the target does not accept,
                ``REQUEST_AMBIGUOUS`` for a signed one that servers or signers read differently.
        """
        signed: list[tuple[str, str]] = []
        removed: list[str] = []
        withheld = 0
        odd_names = not "".join(head.names).replace("-", "").isalnum()  # one test of all: they are rare
        for name in head.names:
            rule = self._names.get(name)
            if rule is None:
                if not odd_names and not name.startswith(self._prefixes):
                    continue
                rule = self._of_odd_name(name) if odd_names else self.treatment(name)
            if rule is Treatment.SIGN:
                signed += [(name, value) for value in _signable(name, head.values(name))]
            elif rule is Treatment.REPLACE:
                removed.append(name)
            elif rule is Treatment.WITHHOLD:
                removed.append(name)
                withheld += 1
            elif rule is Treatment.REFUSE:
                raise Denied(
                    Reason.HEADER_REFUSED,
                    f"{name[:64]} is not for clients to send here",
                    client_text=f"The header {name[:64]} is not accepted for this target.",
                )
        return ClientHeaders(tuple(signed), tuple(removed), withheld)


def _signable(name: str, values: list[str]) -> list[str]:
    """Return a header's values for signing; refuse those that signers or servers read differently."""
    if len(values) > 1 and (name == "content-type" or name.startswith(AWS_PREFIXES)):
        # The signature joins them by a comma; some servers read only the first, some only the last.
        raise _ambiguous(name, "comes more than once")
    for value in values:
        if not value.isascii():
            raise _ambiguous(name, "is not ASCII")
        if not value.isprintable():
            # Some signers fold a TAB within a value into a space, some do not.
            raise _ambiguous(name, "has a TAB or another control character")
    return values


def _ambiguous(name: str, problem: str) -> Denied:
    return Denied(
        Reason.REQUEST_AMBIGUOUS,
        f"{name[:64]} is to be signed, and {problem}",
        client_text=f"The header {name[:64]} cannot be signed: it {problem}.",
    )
