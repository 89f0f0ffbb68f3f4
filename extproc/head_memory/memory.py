"""A cache of admissions by the fingerprints of their heads. For any thread.

Equal keys (``head_memory.fingerprint``) mean equal requests but for the values of ``VOLATILE_HEADERS``.
One in ``check_one_in`` known heads is decoded and admitted again. If the result ever differs, the request is
denied and the cache is switched off for good.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import structlog

from extproc.caching.two_generations import TwoGenerationCache
from extproc.errors import Denied, Reason
from extproc.head_memory.fingerprint import (
    LONGEST,
    HeadKey,
    RequestFingerprint,
    RestOf,
    Spots,
    all_but,
    fingerprint,
    head_key,
    own_value,
)
from extproc.head_memory.forgotten import FORGOTTEN
from extproc.interning import intern
from extproc.request.admission import Admission
from extproc.values import VOLATILE_HEADERS, ImmediateResponse

_MAX_BYTES = 64 * 1024 * 1024
"""Bytes of heads in each of two generations: enough for those of 10,000 users."""
_PER_HEADER = 256
"""Bytes that a header takes beside its own: many short ones must not take many times what is counted."""
_MAX_SEEN = 16 * 1024  # hashes of heads that came once, in each of two generations
KEPT_FOR = 60.0
"""Seconds. Heads hold tokens, so they are kept no longer than clients usually pause between two calls."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class KnownHead:
    """The admission of a head that came before.

    Attributes:
        spots: the places of the values in which others may differ.
        size: bytes that this takes, about.
    """

    admission: Admission
    spots: Spots
    size: int


class HeadMemory:
    """Admissions by the keys of their heads. They hold tokens and no credentials.

    Attributes:
        enabled: whether anything is remembered at all.
        not_kept: names of headers whose values are not kept: they differ, or are kept elsewhere.
        check_one_in: one in this many known heads is decoded and compared.
        on_check: receives whether that was equal.
    """

    def __init__(
        self,
        *,
        enabled: bool,
        not_kept: frozenset[str],
        check_one_in: int,
        on_check: Callable[[bool], None] = lambda _same: None,
        random_share: Callable[[], float] = random.random,
    ) -> None:
        self.enabled = enabled
        self._not_kept = not_kept
        self._checked = 1 / check_one_in
        self._on_check = on_check
        self._random_share = random_share
        self._heads: TwoGenerationCache[HeadKey, KnownHead] = TwoGenerationCache(
            size=_MAX_BYTES, seconds=KEPT_FOR, weigh=lambda known: known.size
        )
        self._seen: TwoGenerationCache[int, bool] = TwoGenerationCache(size=_MAX_SEEN, seconds=KEPT_FOR)

        # By the length of a head, the spots of the last one that was known. A client's next head mostly has
        # the same, so they need not be searched for. There are at most ``LONGEST`` of them.
        self._spots: dict[int, tuple[Spots, RestOf]] = {}

    def __len__(self) -> int:
        return len(self._heads)

    def find(
        self, message: bytes, target_name: str | None
    ) -> tuple[KnownHead | None, RequestFingerprint | None]:
        """Return what is known of a stream's first message; else its fingerprint, if it may be remembered."""
        length = len(message)
        if not self.enabled or length > LONGEST:
            return None, None
        usual = self._spots.get(length)
        if usual is not None:
            known = self._heads.get(head_key(message, target_name, *usual))
            if known is not None:
                return known, None
        looked = fingerprint(message, target_name)
        known = self._heads.get(looked.key)
        if known is None:
            return None, looked
        self._spots[length] = known.spots, all_but(known.spots)
        return known, None

    def remember(self, known_by: RequestFingerprint | None, admission: Admission, token: str) -> None:
        """Keep the admission of a verified token's head when it comes for the second time.

        Many heads come only once, those with a trace in a header of its own for instance. ``token``: an equal
        token that is kept anyway.
        """
        if known_by is None or not self.enabled:
            return
        seen = hash(known_by.key)  # not the key: it holds a token. A collision does no harm
        if not self._seen.get(seen):
            self._seen.put(seen, True)  # noqa: FBT003 - the value that says so
            return
        if not known_by.verify_layout():
            return
        head = admission.head
        headers = tuple(
            (intern(name), FORGOTTEN if name in self._not_kept else value) for name, value in head.headers
        )
        admission = replace(admission, head=replace(head, headers=headers))
        if token == admission.unverified_token:
            admission.unverified_token = token
        size = len(known_by.message) + _PER_HEADER * len(headers)
        self._heads.put(known_by.key, KnownHead(admission, known_by.spots, size))

    def forget_idle(self) -> None:
        """Evict idle heads. Called regularly, so that no token stays in memory when no request comes."""
        self._heads.age()
        self._seen.age()

    def is_due(self) -> bool:
        """Return whether this known head is to be checked."""
        return self._random_share() < self._checked

    def check(
        self,
        known: KnownHead,
        message: bytes,
        admit: Callable[[], Admission | ImmediateResponse | None],
    ) -> None:
        """Compare a known head's admission with a new one.

        Args:
            known: what is remembered.
            message: this head.
            admit: admits the head anew; returns None if the head would not be remembered.

        Raises:
            Denied: they differ, or the new admission fails.

        """
        try:
            same = _same(known, message, admit())
        except Exception:  # noqa: BLE001 - it was admitted before
            same = False
        self._on_check(same)
        if not same:
            self.enabled = False
            _log.critical("remembered_head_differs")  # nothing of the head: it holds a token
            raise Denied(Reason.INTERNAL, "a remembered head does not mean what this one does")


def _same(known: KnownHead, message: bytes, now: Admission | ImmediateResponse | None) -> bool:
    if not isinstance(now, Admission):
        return False
    admission, ours, theirs = known.admission, known.admission.head, now.head
    own = {name: own_value(message, known.spots, name) for _, _, name in known.spots}
    return (
        _all_equal(admission, now, without="head")
        and _all_equal(ours, theirs, without="headers")
        and len(ours.headers) == len(theirs.headers)
        and all(
            name == other and (value is FORGOTTEN or value == given)
            for (name, value), (other, given) in zip(ours.headers, theirs.headers, strict=True)
        )
        and own == {name: value for name, value in theirs.headers if name in VOLATILE_HEADERS}
    )


def _all_equal(one: Any, other: Any, *, without: str) -> bool:
    names = [field.name for field in fields(one) if field.compare and field.name != without]
    return all(getattr(one, name) == getattr(other, name) for name in names)
