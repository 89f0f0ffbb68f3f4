"""``extproc envoy --check``: each way to leak or break signatures is found, and none in the examples."""

import copy
import functools
import json
import tempfile
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from extproc import config
from extproc.cli import main
from extproc.envoyconf.bootstrap import render
from extproc.envoyconf.fragment import render_pieces
from extproc.envoyconf.lint import CHECKED, Expectations, findings
from extproc.envoyconf.lint_document import load
from extproc.envoyconf.options import EnvoyOptions
from support.tables import each_case

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted(path.parent.name for path in (ROOT / "envoy").glob("*/envoy.yaml"))
EXT_PROC = "envoy.filters.http.ext_proc"
PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
FILTERS = "type.googleapis.com/envoy.extensions.filters.http"


def settings(name="aws-mcp"):
    return config.load(ROOT / "envoy" / name / "extproc.yaml")


@functools.cache
def _rendered(placement):
    return yaml.load(Loader=yaml.CSafeLoader, stream=render(settings(), EnvoyOptions(placement=placement)))


class Config:
    """A rendered configuration with the parts at hand that tests break."""

    def __init__(self, placement="http"):
        self.document = copy.deepcopy(_rendered(placement))
        static = self.document["static_resources"]
        self.listener = static["listeners"][0]
        self.manager = self.listener["filter_chains"][0]["filters"][0]["typed_config"]
        self.extproc, self.cluster = static["clusters"][:2]
        self.routes = self.manager["route_config"]
        self.host = self.routes["virtual_hosts"][0]
        self.route = self.host["routes"][0]
        self.manager["http_filters"].pop(0)  # CORS, which no fault concerns
        chain = self.manager
        if placement == "upstream":
            (chain,) = self.cluster["typed_extension_protocol_options"].values()
        self.filters = chain["http_filters"]
        self.filter = self.filters[0]["typed_config"] if EXT_PROC in self.filters[0]["name"] else None


def found(document, **expectations):
    return [
        f"{finding.path}: {finding.message}" for finding in findings(document, Expectations(**expectations))
    ]


def set_extproc_address(broken, address):
    (place,) = broken.extproc["load_assignment"]["endpoints"][0]["lb_endpoints"]
    place["endpoint"]["address"]["socket_address"]["address"] = address


def tls_to_extproc(broken, **common):
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    broken.extproc["transport_socket"] = {
        "name": "tls",
        "typed_config": {"@type": kind, "common_tls_context": common},
    }


def per_route(broken, **values):
    broken.route["typed_per_filter_config"][EXT_PROC] = {"@type": PER_ROUTE, **values}


def after_ours(broken, name, kind, **values):
    broken.filters.insert(1, {"name": name, "typed_config": {"@type": f"{FILTERS}.{kind}", **values}})


HTTP_FAULTS = {
    "failure_mode_allow": lambda c: c.filter.update(failure_mode_allow=True),
    "overrides.failure_mode_allow": lambda c: per_route(c, overrides={"failure_mode_allow": True}),
    "wrapped failure_mode_allow": lambda c: per_route(c, overrides={"failure_mode_allow": {"value": True}}),
    "request_body_mode: STREAMED": lambda c: c.filter["processing_mode"].update(request_body_mode="STREAMED"),
    "request_body_mode: NONE": lambda c: c.filter["processing_mode"].pop("request_body_mode"),
    "request_body_mode: no": lambda c: c.filter.update(processing_mode={"request_trailer_mode": "SEND"}),
    "request_body_mode: route": lambda c: per_route(
        c,
        overrides={
            "processing_mode": {"request_body_mode": "BUFFERED_PARTIAL", "request_trailer_mode": "SEND"}
        },
    ),
    "request_trailer_mode: SKIP": lambda c: c.filter["processing_mode"].update(request_trailer_mode="SKIP"),
    "request_trailer_mode: no": lambda c: c.filter["processing_mode"].pop("request_trailer_mode"),
    "request_trailer_mode: route": lambda c: per_route(
        c, overrides={"processing_mode": {"request_body_mode": "BUFFERED"}}
    ),
    "request_header_mode": lambda c: c.filter["processing_mode"].update(request_header_mode="SKIP"),
    "allowed_override_modes[0].request_body_mode": lambda c: c.filter.update(
        allow_mode_override=True, allowed_override_modes=[{"request_trailer_mode": "SEND"}]
    ),
    "allowed_override_modes[1].request_trailer_mode": lambda c: c.filter.update(
        allow_mode_override=True,
        allowed_override_modes=[c.filter["processing_mode"], {"request_body_mode": "BUFFERED"}],
    ),
    "].disabled: route": lambda c: per_route(c, disabled=True),
    "].disabled: host": lambda c: c.host.update(
        typed_per_filter_config={
            EXT_PROC: {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
        }
    ),
    "].disabled: chain": lambda c: c.filters[0].update(disabled=True),
    "].is_optional": lambda c: c.filters[0].update(is_optional=True),
    "lua runs after": lambda c: after_ours(c, "lua", "lua.v3.Lua"),
    "header_mutation runs after": lambda c: after_ours(
        c, "header_mutation", "header_mutation.v3.HeaderMutation"
    ),
    "unheard-of runs after": lambda c: after_ours(c, "unheard-of", "unheard_of.v3.Of"),
    "host_rewrite_literal: wrong": lambda c: c.route["route"].update(host_rewrite_literal="other.example"),
    "no host_rewrite_literal": lambda c: c.route["route"].pop("host_rewrite_literal"),
    "route.prefix_rewrite": lambda c: c.route["route"].update(prefix_rewrite="/"),
    "route.regex_rewrite": lambda c: c.route["route"].update(
        regex_rewrite={"pattern": {"regex": "x"}, "substitution": "y"}
    ),
    "route.path_rewrite": lambda c: c.route["route"].update(path_rewrite="/x"),
    "route.path_rewrite_policy": lambda c: c.route["route"].update(
        path_rewrite_policy={"name": "uri-template", "typed_config": {"path_template_rewrite": "/x"}}
    ),
    "message_timeout: missing": lambda c: c.filter.pop("message_timeout"),
    "message_timeout: 0.2s": lambda c: c.filter.update(message_timeout="0.2s"),
    "request_body_buffer_limit": lambda c: c.host.update(request_body_buffer_limit=65536),
    "larger bodies get 413": lambda c: c.host.pop("request_body_buffer_limit"),
    "observability_mode": lambda c: c.filter.update(observability_mode=True),
    "disable_immediate_response": lambda c: c.filter.update(disable_immediate_response=True),
    "forbid what extproc has to change: authorization": lambda c: c.filter.update(
        mutation_rules={"disallow_all": True}
    ),
    "has to change: :path": lambda c: c.filter.update(mutation_rules={"disallow_system": True}),
    "change: x-amz-date": lambda c: c.filter.update(
        mutation_rules={"disallow_expression": {"regex": "x-amz-date"}}
    ),
    "no ext_proc filter": lambda c: c.filters.pop(0),
    "changes x-amz-date": lambda c: c.host.update(request_headers_to_remove=["X-Amz-Date"]),
    "changes content-type": lambda c: c.route.update(
        request_headers_to_add=[{"header": {"key": "Content-Type", "value": "x"}}]
    ),
    "clear text to 10.0.0.7": lambda c: set_extproc_address(c, "10.0.0.7"),
    "any server is taken for extproc": lambda c: tls_to_extproc(c, alpn_protocols=["h2"]),
    "breaks encoded ARNs": lambda c: c.manager.update(
        path_with_escaped_slashes_action="UNESCAPE_AND_FORWARD"
    ),
}
HTTP_FAULTS |= {
    "no cluster is named extproc": lambda c: c.extproc.update(name="other"),
    "no HTTP/2": lambda c: c.extproc.pop("typed_extension_protocol_options"),
    "no HTTP/2, ": lambda c: c.extproc["typed_extension_protocol_options"].update(
        {HTTP_OPTIONS: {"explicit_http_config": {"http_protocol_options": {}}}}
    ),
    "x-forwarded-port: reach AWS": lambda c: c.routes["request_headers_to_remove"].remove("x-forwarded-port"),
    "x-forwarded-for, x-forwarded-host": lambda c: c.routes.pop("request_headers_to_remove"),
    "x-envoy-expected-rq-timeout-ms: reach": lambda c: (
        c.routes["request_headers_to_remove"].remove("x-envoy-expected-rq-timeout-ms"),
        c.manager["http_filters"][-1]["typed_config"].pop("suppress_envoy_headers"),
    ),
    "another authorization server": lambda c: c.routes.pop("response_headers_to_remove"),
    "missing, so 15s: cuts": lambda c: c.route["route"].pop("timeout"),
    "300s: cuts": lambda c: c.route["route"].update(timeout="300s"),
    "max_stream_duration": lambda c: c.route["route"].update(
        max_stream_duration={"max_stream_duration": "60s"}
    ),
    "the access log does not show": lambda c: c.filter.pop("metadata_options"),
    "receiving_namespaces: {untyped: [extproc]}": lambda c: c.filter["metadata_options"].update(
        receiving_namespaces={"untyped": ["other"]}
    ),
    "5xx repeats calls": lambda c: c.route["route"].update(retry_policy={"retry_on": "connect-failure,5xx"}),
    "reset repeats calls": lambda c: c.host.update(retry_policy={"retry_on": "reset"}),
    "write request_body_buffer_limit: 10485760 in": lambda c: c.host.pop("request_body_buffer_limit"),
}
UPSTREAM_FAULTS = {
    "missing, so 15s: cuts": lambda c: c.route["route"].pop("timeout"),
    "another authorization server": lambda c: c.routes.pop("response_headers_to_remove"),
    "no HTTP/2": lambda c: c.extproc.pop("typed_extension_protocol_options"),
    "write per_connection_buffer_limit_bytes: 10485760 in the listener": lambda c: c.listener.pop(
        "per_connection_buffer_limit_bytes"
    ),
    "clear text to": lambda c: set_extproc_address(c, "extproc.internal"),
    "failure_mode_allow": lambda c: c.filter.update(failure_mode_allow=True),
    "retry_policy: route": lambda c: c.route["route"].update(retry_policy={"retry_on": "5xx"}),
    "retry_policy: host": lambda c: c.host.update(retry_policy={"retry_on": "5xx"}),
    "per_connection_buffer_limit_bytes": lambda c: c.listener.pop("per_connection_buffer_limit_bytes"),
    "no host_rewrite_literal": lambda c: c.route["route"].pop("host_rewrite_literal"),
    "lua runs after": lambda c: after_ours(c, "lua", "lua.v3.Lua"),
}


SEEDS = [
    (placement, name, seed)
    for placement, faults in (("http", HTTP_FAULTS), ("upstream", UPSTREAM_FAULTS))
    for name, seed in faults.items()
]


@pytest.mark.parametrize("placement", ["http", "upstream"])
def test_without_a_fault_nothing_is_found(placement):
    assert found(Config(placement).document) == []


@each_case(("placement", "name", "seed"), SEEDS, ids=lambda placement, name, _seed: f"{placement} {name}")
@each_case("form", ["snake", "camel", "config_dump"])
def test_a_seeded_fault_is_found_and_nothing_else(placement, name, seed, form):
    broken = Config(placement)
    seed(broken)
    document = broken.document
    if form == "camel":
        document = camel(document)
    elif form == "config_dump":
        document = config_dump(document)
    lines = found(snake(document))
    fault, _, detail = name.partition(": ")
    assert lines, "nothing was found"
    if detail in ("route", "host", "chain", "no", "wrong"):
        assert all(fault in line for line in lines)
    else:
        assert all(name.removeprefix("overrides.").removeprefix("wrapped ") in line for line in lines)


def snake(document):
    """What reading a file makes of it."""
    path = Path(tempfile.mkdtemp()) / "envoy.json"
    path.write_text(json.dumps(document, indent="\t"))
    return load(path)


def camel(node):
    def key(name):
        if name[:1] == "@" or "." in name or "-" in name:
            return name
        first, *rest = name.split("_")
        return first + "".join(part.capitalize() for part in rest)

    if isinstance(node, dict):
        return {key(name): camel(child) for name, child in node.items()}
    return [camel(child) for child in node] if isinstance(node, list) else node


def config_dump(document):
    static = document["static_resources"]
    return {
        "configs": [
            {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {"node": {}}},
            {
                "@type": "x/ClustersConfigDump",
                "static_clusters": [{"cluster": c} for c in static["clusters"]],
            },
            {
                "@type": "x/ListenersConfigDump",
                "dynamic_listeners": [{"name": "l", "active_state": {"listener": static["listeners"][0]}}],
            },
        ]
    }


@each_case("name", EXAMPLES)
@each_case("with_settings", [True, False])
def test_the_examples_have_no_faults(name, with_settings):
    folder = ROOT / "envoy" / name
    options = ["--config", str(folder / "extproc.yaml")] if with_settings else []
    result = CliRunner().invoke(main, ["envoy", "--check", str(folder / "envoy.yaml"), *options])
    assert result.exit_code == 0, result.output
    first, *checked = result.output.splitlines()
    assert first.endswith("nothing found; checked:")
    assert len(checked) == len(CHECKED) + (not with_settings)


@pytest.mark.parametrize("placement", ["http", "upstream"])
def test_a_filter_to_paste_has_no_faults_and_its_faults_are_found(placement):
    document = yaml.load(
        Loader=yaml.CSafeLoader, stream=render_pieces(settings(), EnvoyOptions(placement=placement))
    )
    assert found(document) == []
    filters = document["http_connection_manager"]["http_filters"]
    if placement == "upstream":
        (options,) = document["clusters"][1]["typed_extension_protocol_options"].values()
        filters = options["http_filters"]
    filters[0]["typed_config"]["failure_mode_allow"] = True
    assert len(found(document)) == 1
    assert len(found(filters)) == 1  # as a list of its own


def test_findings_are_lines_with_their_path_and_the_status_is_1(tmp_path):
    broken = Config()
    broken.filter["failure_mode_allow"] = True
    path = tmp_path / "envoy.yaml"
    path.write_text(yaml.safe_dump(broken.document))
    result = CliRunner().invoke(main, ["envoy", "--check", str(path)])
    assert result.exit_code == 1
    assert result.output.startswith(
        "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0]"
        ".typed_config.failure_mode_allow: fails open"
    )


@pytest.mark.parametrize("content", ["", "a: [", "just text", "[]", "\x00", None])
def test_what_cannot_be_read_is_status_2(content, tmp_path):
    path = tmp_path / "envoy.yaml"
    if content is not None:
        path.write_text(content)
    result = CliRunner().invoke(main, ["envoy", "--check", str(path)])
    assert result.exit_code == 2
    assert str(path) in result.stderr


def test_settings_make_the_check_stricter():
    document = Config().document
    assert found(document, seconds=30.0) != []
    assert found(document, body_bytes=64 * 2**20) != []
    assert found(document, hosts=frozenset({"other.example"})) != []


def test_a_second_listener_without_the_filter_that_reaches_a_target_is_found():
    broken = Config()
    second = copy.deepcopy(broken.listener)
    second["name"] = "second"
    manager = second["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"].pop(0)
    del manager["route_config"]["virtual_hosts"][0]["routes"][0]["typed_per_filter_config"]
    broken.document["static_resources"]["listeners"].append(second)
    assert any("without an ext_proc filter" in line for line in found(broken.document))


def test_harmless_filters_after_extprocs_and_other_ext_proc_filters_are_fine():
    document = Config()
    after_ours(document, "cors", "cors.v3.Cors")
    other = copy.deepcopy(document.filters[0])
    other["typed_config"]["grpc_service"]["envoy_grpc"]["cluster_name"] = "somebody-else"
    other["typed_config"]["failure_mode_allow"] = True
    document.filters.insert(0, other)
    assert found(document.document) == []


@each_case("address", ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "localhost"])
def test_clear_text_within_this_machine_is_fine(address):
    broken = Config()
    set_extproc_address(broken, address)
    assert found(broken.document) == []


@pytest.mark.parametrize(("trailers", "lines"), [(0, 1), (1, 0), (2, 1)])
def test_modes_written_as_numbers_mean_what_envoy_reads_in_them(trailers, lines):
    numbered = Config()
    numbered.filter["processing_mode"].update(request_body_mode=2, request_trailer_mode=trailers)
    problems = found(numbered.document)
    assert len(problems) == lines
    assert all("request_trailer_mode" in problem for problem in problems)


@pytest.mark.parametrize(
    "context",
    [
        {"validation_context": {"trusted_ca": {"filename": "/ca.pem"}}},
        {"validation_context_sds_secret_config": {"name": "ca"}},
        {"combined_validation_context": {"default_validation_context": {"trusted_ca": {"filename": "/c"}}}},
    ],
)
def test_tls_to_a_checked_extproc_on_another_machine_is_fine(context):
    broken = Config()
    set_extproc_address(broken, "10.0.0.7")
    tls_to_extproc(broken, **context)
    assert found(broken.document) == []


def test_responses_that_extproc_observes_and_envoy_would_not_show_are_found():
    broken = Config()
    assert found(broken.document, shows_answers=True) == []
    broken.filter["allow_mode_override"] = False
    (only,) = found(broken.document, shows_answers=True)
    assert "allow_mode_override: not true" in only
    assert found(broken.document) == []


def no_buffered_bodies(config):
    config["allowed_override_modes"] = config["allowed_override_modes"][:1]


def no_heads(config):
    for mode in config["allowed_override_modes"]:
        mode["response_header_mode"] = "SKIP"


@pytest.mark.parametrize(
    "seed", [no_buffered_bodies, no_heads, lambda c: c.update(allow_mode_override=False)]
)
def test_lists_of_tools_that_envoy_would_not_show_are_found_where_a_target_filters_them(seed):
    broken = Config()
    assert found(broken.document, filtered=("aws-mcp",)) == []
    seed(broken.filter)
    (only,) = found(broken.document, filtered=("aws-mcp",))
    assert "lists of tools of aws-mcp reach clients unfiltered" in only
    assert found(broken.document) == []


def test_lists_of_tools_are_shown_by_a_filter_that_allows_any_mode():
    broken = Config()
    del broken.filter["allowed_override_modes"]
    assert found(broken.document, filtered=("aws-mcp",)) == []


COUNTED = {"aws-mcp": "aws-mcp.us-east-1.api.aws"}


def rendered_before(broken):
    """As extproc rendered it when it counted no open requests."""
    overrides = broken.route["typed_per_filter_config"][EXT_PROC]["overrides"]
    del overrides["processing_mode"]
    for mode in [broken.filter["processing_mode"], *broken.filter["allowed_override_modes"]]:
        mode["response_trailer_mode"] = "SKIP"


def rendered_before_in_the_cluster(broken):
    for mode in [broken.filter["processing_mode"], *broken.filter["allowed_override_modes"]]:
        mode["response_trailer_mode"] = "SKIP"


@each_case(("placement", "seed"), [("http", rendered_before), ("upstream", rendered_before_in_the_cluster)])
@each_case("form", ["as it is", "camel", "config_dump"])
def test_a_configuration_that_does_not_show_the_end_of_responses_is_found_where_a_target_has_limits(
    placement, seed, form
):
    broken = Config(placement)
    form = {"camel": camel, "config_dump": config_dump}.get(form, copy.deepcopy)
    assert found(snake(form(broken.document)), counted=COUNTED, shows_answers=True) == []
    seed(broken)
    document = snake(form(broken.document))
    assert found(document) == []
    assert found(document, counted={"other": "other.example"}) == []
    (line,) = found(document, counted=COUNTED)
    assert "routes[0]" in line
    assert "extproc does not see responses end" in line
    lines = found(document, counted=COUNTED, shows_answers=True)
    assert len(lines) == 2
    assert any("allowed_override_modes: none with response_trailer_mode SEND" in line for line in lines)


@pytest.mark.parametrize("level", ["filter", "host", "number"])
def test_the_end_of_responses_may_be_configured_at_any_level(level):
    other = Config()
    overrides = other.route["typed_per_filter_config"][EXT_PROC]["overrides"]
    mode = overrides.pop("processing_mode")
    if level == "filter":
        other.filter["processing_mode"]["response_trailer_mode"] = "SEND"
    elif level == "host":
        entry = {EXT_PROC: {"@type": PER_ROUTE, "overrides": {"processing_mode": mode}}}
        other.host["typed_per_filter_config"].update(entry)
    else:
        overrides["processing_mode"] = {**mode, "response_trailer_mode": 1}
    assert found(other.document, counted=COUNTED) == []


def test_a_route_that_takes_the_end_of_responses_away_is_found_by_the_host_it_leads_to():
    broken = Config()
    overrides = broken.route["typed_per_filter_config"][EXT_PROC]["overrides"]
    broken.filter["processing_mode"]["response_trailer_mode"] = "SEND"
    overrides["processing_mode"]["response_trailer_mode"] = "SKIP"
    del overrides["grpc_initial_metadata"]
    (line,) = found(broken.document, counted=COUNTED)
    assert "extproc does not see responses end" in line


AWS = frozenset({"aws-mcp.us-east-1.api.aws"})


def with_another_route(broken, **values):
    """A route of the same listener that leads elsewhere, before the target's."""
    broken.document["static_resources"]["clusters"].append({"name": "wiki", "load_assignment": {}})
    route = {"match": {"prefix": "/wiki"}, "route": {"cluster": "wiki"}, **values}
    broken.host["routes"].insert(0, route)
    return broken.document


def test_a_route_that_leads_elsewhere_should_be_without_the_filter():
    (line,) = found(with_another_route(Config()), hosts=AWS)
    assert "routes[0]: leads to wiki, which is no target: clients without a token get 401" in line
    off = {EXT_PROC: {"@type": PER_ROUTE, "disabled": True}}
    assert found(with_another_route(Config(), typed_per_filter_config=off), hosts=AWS) == []
    assert (
        len(found(with_another_route(Config(), typed_per_filter_config=off))) == 1
    )  # no settings: a target?


@each_case(
    ("expected", "tls", "fault"),
    [
        ({"server_tls": True}, None, "extproc has listen.tls"),
        ({"server_tls": False}, {}, "extproc has no listen.tls"),
        ({"server_tls": True, "client_certificate": True}, {}, "no certificate of Envoy's"),
        ({"server_tls": False}, None, None),
        ({"server_tls": True}, {}, None),
        ({"server_tls": True, "client_certificate": True}, {"tls_certificates": [{}]}, None),
        ({"server_tls": None}, {}, None),
    ],
)
def test_tls_on_one_side_only_is_found(expected, tls, fault):
    broken = Config()
    if tls is not None:
        tls_to_extproc(broken, validation_context={"trusted_ca": {"filename": "/ca.pem"}}, **tls)
    lines = found(broken.document, **expected)
    assert len(lines) == (fault is not None)
    assert all(fault in line for line in lines)


def test_claims_of_envoy_that_do_not_reach_extproc_are_found():
    (line,) = found(Config().document, verified_by_envoy=True)
    assert "write forwarding_namespaces: {untyped: [envoy.filters.http.jwt_authn]}" in line


def test_headers_may_be_removed_by_any_level_or_filter():
    other = Config()
    removed, challenges = (
        other.routes.pop(key) for key in ("request_headers_to_remove", "response_headers_to_remove")
    )
    other.route["request_headers_to_remove"] = removed[:5]
    other.host["response_headers_to_remove"] = ["WWW-Authenticate"]
    other.host["request_headers_to_remove"] = removed[5:-1]
    assert found(other.document) == []
    mutations = {"request_mutations": [{"remove": name} for name in removed]}
    mutations["response_mutations"] = [{"remove": name} for name in challenges]
    for holder in (other.route, other.host):
        holder.pop("request_headers_to_remove")
    kind = f"{FILTERS}.header_mutation.v3.HeaderMutation"
    entry = {"name": "header_mutation", "typed_config": {"@type": kind, "mutations": mutations}}
    other.manager["http_filters"].insert(0, entry)
    assert found(other.document) == []


def test_clusters_that_come_from_elsewhere_cannot_be_missed():
    broken = Config()
    broken.document["static_resources"]["clusters"].pop(0)
    broken.document["dynamic_resources"] = {"cds_config": {"path_config_source": {"path": "/cds"}}}
    assert found(broken.document) == []


def of_envoy_gateway(**limits):
    """A dump with the shapes that Envoy Gateway gives: routes by RDS, the filter off but for a route."""
    source = Config()
    static = source.document["static_resources"]
    name = f"{EXT_PROC}/envoyextensionpolicy/default/extproc/extproc/0"
    entry = {**source.filters[0], "name": name, "disabled": True}
    entry["typed_config"]["grpc_service"]["envoy_grpc"]["cluster_name"] = "envoyextensionpolicy/extproc/0"
    entry["typed_config"]["processing_mode"] = {
        "request_body_mode": "BUFFERED",
        "response_header_mode": "SKIP",
    }
    entry["typed_config"]["allow_mode_override"] = True
    del entry["typed_config"]["allowed_override_modes"]
    source.extproc["name"] = "envoyextensionpolicy/extproc/0"
    source.manager["http_filters"][0] = entry
    routes = source.manager.pop("route_config")
    source.host.pop("request_body_buffer_limit")
    source.host["routes"] = [source.route]
    enabled = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}
    source.route["typed_per_filter_config"] = {name: enabled}
    source.manager["rds"] = {"route_config_name": routes["name"], "config_source": {"ads": {}}}
    source.listener.update(limits)
    return {
        "configs": [
            {"@type": "x.BootstrapConfigDump", "bootstrap": {"dynamic_resources": {"cds_config": {}}}},
            {
                "@type": "x.ClustersConfigDump",
                "dynamic_active_clusters": [{"cluster": cluster} for cluster in static["clusters"]],
            },
            {
                "@type": "x.ListenersConfigDump",
                "dynamic_listeners": [{"active_state": {"listener": source.listener}}],
            },
            {"@type": "x.RoutesConfigDump", "dynamic_route_configs": [{"route_config": routes}]},
        ]
    }, source


ENOUGH = {"per_connection_buffer_limit_bytes": 10 * 2**20}


def test_a_dump_of_envoy_gateway_has_no_false_alarms():
    document, _ = of_envoy_gateway(**ENOUGH)
    assert found(document, hosts=AWS, counted=COUNTED, shows_answers=True) == []


def test_in_a_dump_of_envoy_gateway_a_route_without_the_policy_is_found():
    document, source = of_envoy_gateway(**ENOUGH)
    bare = {key: value for key, value in source.route.items() if key != "typed_per_filter_config"}
    source.host["routes"].append({**bare, "name": "second"})
    (line,) = found(document)
    assert "http_filters[0].disabled: the filter may not run" in line
    assert "routes[1] does not enable it" in line


@each_case(
    ("change", "fault"),
    [
        (lambda ours, _: ours.update(failure_mode_allow=True), "fails open"),
        (lambda ours, _: ours.update(allow_mode_override=False), "request_trailer_mode: SKIP: must be SEND"),
        (lambda ours, _: ours.pop("message_timeout"), "missing, so 200 ms"),
        (lambda _, listener: listener.update(per_connection_buffer_limit_bytes=32768), "32768 is less than"),
    ],
)
def test_the_traps_of_envoy_gateway_are_found_in_its_dump(change, fault):
    document, source = of_envoy_gateway(**ENOUGH)
    change(source.manager["http_filters"][0]["typed_config"], source.listener)
    (line,) = found(document)
    assert fault in line
