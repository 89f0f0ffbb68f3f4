"""How large a request may be with our headers."""

import pytest

from extproc.errors import Denied, Reason
from extproc.request.header_limits import HeaderLimits, check_room
from extproc.values import RequestHead

HEADERS = (("a", "1" * 50_000), ("gone", "2" * 1000), ("c", "3"))


def head(*headers):
    return RequestHead("GET", "/path", "host.example", headers, has_body=False)


def test_the_room_for_ours_is_what_the_rest_leaves():
    room = HeaderLimits().room(head(*HEADERS), {"gone"})
    left = len(":methodGET:path/path:authorityhost.example:schemehttps") + 50_001 + 2
    assert room == 60 * 1024 - left
    check_room(room, [("x", "y" * (room - 1))])
    check_room(room, [("x", "y")], [("z", "y" * (room - 3))])
    with pytest.raises(Denied) as denied:
        check_room(room, [("x", "y")], [("z", "y" * (room - 2))])
    assert denied.value.reason is Reason.TOO_MANY_HEADERS


def test_a_small_request_has_room_for_whatever_comes():
    assert HeaderLimits().room(head(("a", "1" * 40_000)), set()) is None
    assert HeaderLimits(size=40 * 1024).room(head(("a", "1" * 40_000)), set()) < 1000
