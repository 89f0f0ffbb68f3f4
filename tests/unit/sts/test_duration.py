import time

from extproc.sts.client import _duration
from extproc.values import Grant

ROLE = "arn:aws:iam::123456789012:role/R"


def test_credentials_are_asked_for_until_the_grant_ends_and_never_for_less_than_sts_accepts():
    now = time.time()
    asked = {
        left: _duration(Grant(ROLE, "alice", 3600, None, ends_at=None if left is None else now + left))
        for left in (None, -10, 10, 2000.9, 9000)
    }
    assert asked[2000.9] in (1999, 2000)
    assert {**asked, 2000.9: 0} == {None: 3600, -10: 900, 10: 900, 2000.9: 0, 9000: 3600}
