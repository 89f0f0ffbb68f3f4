"""Errors of STS: what they are counted as is a closed list, known before the first of them comes."""

from hypothesis import given
from hypothesis import strategies as st

from extproc.sts.errors import _BY_MESSAGE, _HINTS, _REASONS, denied
from extproc.sts.exchange import EXCHANGE_OUTCOMES

CODES = st.sampled_from([*_REASONS, "", "NeverHeardOf"]) | st.text(max_size=20)
PHRASES = st.sampled_from(
    [*(hint.phrase for hint in _HINTS), *(phrase for phrases, _ in _BY_MESSAGE for phrase in phrases)]
)
STATUSES = st.sampled_from([0, 200, 400, 401, 403, 404, 429, 500, 503])


@given(code=CODES, message=PHRASES | st.text(max_size=20), status=STATUSES)
def test_whatever_sts_answers_is_an_outcome_that_was_expected(code, message, status):
    refused = denied(status, code, message)
    assert (refused.reason.value, refused.code) in EXCHANGE_OUTCOMES


def test_the_outcomes_are_few_enough_to_be_series():
    assert len(EXCHANGE_OUTCOMES) == len(set(EXCHANGE_OUTCOMES)) < 80
