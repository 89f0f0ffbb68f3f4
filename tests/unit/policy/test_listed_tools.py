"""Which tools of a list stay: those of which some call may be allowed."""

from extproc.policy.ceilings import Ceiling
from extproc.policy.cel import compile_string
from extproc.policy.inputs import Inputs
from extproc.policy.listed_tools import ListedTools
from extproc.policy.mappings import AccountSelector
from extproc.policy.matchers import VARIABLES, cel_matcher
from extproc.policy.rules import Policy, Rule
from extproc.policy.session_policy import SessionPolicy
from extproc.policy.validity import ReasonSource
from extproc.scopes import ScopeHierarchy
from extproc.values import ChainedRole, Identity
from support.tables import each_case

ROLE = "arn:aws:iam::123456789012:role/R"
CALLER = Identity("https://idp.example", "alice", 1.0, {"sub": "alice", "groups": ["sre"]}, b"k")
LISTING = Inputs(mcp={"method": "tools/list", "protocol_version": "2025-11-25"})
TOOLS = ("echo", "aws___call_aws", "aws___run_script")


def rule(source, role=ROLE, name="", **more):
    return Rule(name or source, cel_matcher(source), role, None, **more)


def kept(*rules, tools=TOOLS, inputs=LISTING, ceilings=(), fallback=None, argument=None):
    policy = Policy(
        rules=list(rules),
        ceilings=list(ceilings),
        fallback_role_arn=fallback,
        session_name_claim="sub",
        session_duration=900,
        reason_source=ReasonSource("x-break-glass-reason", argument),
    )
    listed = ListedTools(policy)
    return [name for name in tools if listed.may_be_called(name, CALLER, inputs)[0]]


@each_case(
    ("matcher", "stay"),
    [
        ("true", ["echo", "aws___call_aws", "aws___run_script"]),
        ("mcp.tool == 'echo'", ["echo"]),
        ("mcp.method == 'tools/call'", ["echo", "aws___call_aws", "aws___run_script"]),
        ("mcp.method == 'tools/list'", []),
        ("mcp.protocol_version == '2025-11-25'", ["echo", "aws___call_aws", "aws___run_script"]),
        ("mcp.tool == 'echo' && claims.level > 3", []),
        # The arguments could decide.
        ("mcp.tool == 'echo' && mcp.arguments.n < 3", ["echo"]),
        ("mcp.arguments.n < 3 && mcp.tool == 'echo'", ["echo"]),
        ("!(mcp.arguments.n < 3) && mcp.tool == 'echo'", ["echo"]),
        ("mcp.arguments.all(a, a != 'x')", ["echo", "aws___call_aws", "aws___run_script"]),
        ("has(mcp.arguments) && mcp.tool == 'echo'", ["echo", "aws___call_aws", "aws___run_script"]),
        ("size(mcp) > 9", ["echo", "aws___call_aws", "aws___run_script"]),
        ("mcp.aws.service == 's3'", ["aws___call_aws"]),
        ("has(mcp.aws.region)", ["aws___call_aws"]),
        ("mcp.aws.known", ["aws___call_aws"]),
        ("mcp.tool_annotations.known", ["aws___call_aws", "aws___run_script"]),
        # Whatever the arguments are.
        ("mcp.arguments.n < 3 && 'dev' in claims.groups", []),
        ("mcp.arguments.n < 3 && claims.level == 3 && mcp.tool == 'x'", []),
    ],
)
def test_a_tool_stays_where_a_mapping_could_give_a_role(matcher, stay):
    assert kept(rule(matcher)) == stay


@each_case(
    ("matcher", "stay"),
    [
        ("mcp.tool == 'echo'", ["aws___call_aws", "aws___run_script"]),
        ("mcp.tool == 'echo' && mcp.arguments.n < 3", ["echo", "aws___call_aws", "aws___run_script"]),
        ("mcp.aws.service == 'iam'", ["echo", "aws___call_aws", "aws___run_script"]),
        ("!mcp.tool_annotations.known", ["aws___call_aws", "aws___run_script"]),
        ("claims.level < 3", []),  # a missing claim: the rule applies
    ],
)
def test_a_tool_goes_where_a_deny_rule_applies_to_all_calls(matcher, stay):
    assert kept(rule(matcher, None), rule("true")) == stay


def test_the_order_of_mappings_and_the_fallback_role_count():
    assert kept(rule("mcp.tool == 'echo'", None), fallback=ROLE) == ["aws___call_aws", "aws___run_script"]
    assert kept(rule("mcp.arguments.n < 3"), rule("true", None)) == []  # a deny rule is first
    assert kept() == []


def test_an_error_of_a_rule_hides_the_tool_unless_the_arguments_could_decide():
    assert kept(rule("claims.groups < 3"), rule("true")) == []
    assert kept(rule("claims.groups < 3 && mcp.arguments.n < 3"), tools=["echo"]) == ["echo"]


def test_scopes_that_are_missing_keep_the_tool_so_that_a_call_asks_for_them():
    needed = ScopeHierarchy({}).require(["call"])
    assert kept(rule("mcp.tool == 'echo'", require_scopes=needed)) == ["echo"]


def test_a_reason_counts_where_the_call_may_give_it():
    broken = rule("mcp.tool == 'echo'", break_glass=True)
    given = Inputs(mcp=LISTING.mcp, reason="ticket")
    assert kept(broken) == []
    assert kept(broken, inputs=given) == ["echo"]
    assert kept(broken, argument="reason") == ["echo"]


def test_a_ceiling_counts_and_one_that_needs_the_arguments_does_not():
    mine, other = (SessionPolicy(policy_arns=(f"arn:aws:iam::aws:policy/{name}",)) for name in "ab")
    mapping = rule("true", session_policy=mine)

    def under(source):
        return kept(mapping, ceilings=[Ceiling("c", cel_matcher(source), session_policy=other)])

    assert under("mcp.tool == 'echo'") == ["aws___call_aws", "aws___run_script"]  # a conflict denies
    assert under("mcp.tool == 'echo' && mcp.arguments.n < 3") == list(TOOLS)


def test_an_account_that_depends_on_the_arguments_keeps_the_tool():
    def chained(source):
        selector = AccountSelector(compile_string(source, variables=VARIABLES), {"1": ROLE})
        return kept(rule("mcp.tool == 'echo'", chain=ChainedRole(ROLE, None), account=selector))

    assert chained("mcp.arguments.account") == ["echo"]
    assert chained("claims.sub") == []


def test_headers_are_those_of_a_call_of_the_tool():
    headers = {"mcp-method": "tools/list", "x-team": "a"}
    inputs = Inputs(request={"headers": headers}, mcp=LISTING.mcp)
    named = rule("request.headers['mcp-name'] == 'echo' && request.headers['x-team'] == 'a'")
    assert kept(named, inputs=inputs) == ["echo"]
    assert kept(named, inputs=Inputs(request={"headers": {"x-team": "a"}}, mcp=LISTING.mcp)) == []


def test_an_assumed_condition_reads_and_costs_what_the_condition_does():
    condition = cel_matcher("mcp.arguments.n < 3")
    listed = ListedTools(
        Policy(
            rules=[Rule("r", condition, ROLE, None)],
            fallback_role_arn=None,
            session_name_claim="sub",
            session_duration=900,
        )
    )
    (assumed,) = (each.matcher for each in listed._policy.rules)
    assert (assumed.reads, assumed.constant, assumed.cost(3)) == (condition.reads, None, condition.cost(3))
