"""The strings that a rule compares a member with: those that never occur are found at load."""

from extproc.policy.compared import compared
from support.tables import each_case

METHOD = ("request", "method")


@each_case(
    ("source", "found"),
    [
        ('request.method == "GET"', ["GET"]),
        ('"GET" == request.method', ["GET"]),
        ('"GET" != request["method"]', ["GET"]),
        ('request.method in ["GET", "PUT"] || request.method == "GET"', ["GET", "PUT"]),
        ('request.method in ["GET", claims.m, 1]', ["GET"]),
        ("request.method in []", []),
        ("request.method == claims.m", []),
        ("request.method in claims.methods", []),
        ('request.path == "GET"', []),
        ('claims.m.exists(m, m == request.method && request.method == "PUT")', ["PUT"]),
    ],
)
def test_the_strings_that_a_member_is_compared_with_are_found(source, found):
    assert compared(source, METHOD) == found
