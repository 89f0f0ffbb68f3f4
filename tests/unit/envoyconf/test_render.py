"""The rendered bootstrap for each option."""

import functools
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from extproc import config
from extproc.cli import main
from extproc.envoyconf.bootstrap import render
from extproc.envoyconf.expectations import expectations_of
from extproc.envoyconf.options import EnvoyOptions, OptionsError

ROOT = Path(__file__).parents[3]
SETTINGS = str(ROOT / "envoy" / "aws-mcp" / "extproc.yaml")


def read(text):
    return yaml.load(text, yaml.CSafeLoader)


@functools.cache
def _text(name, **options):
    return render(config.load(ROOT / "envoy" / name / "extproc.yaml"), EnvoyOptions(**options))


def rendered(name="aws-mcp", **options):
    text = _text(name, **options)
    return read(text), text


def manager(document):
    return document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def test_the_same_settings_give_the_same_bytes():
    assert _text.__wrapped__("aws-mcp") == _text("aws-mcp")


def test_comments_change_nothing_and_stand_before_what_they_explain():
    document, text = rendered()
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert read(bare) == document
    lines = [line.strip() for line in text.splitlines()]
    assert lines[lines.index("failure_mode_allow: false") - 1].startswith("# Without an answer")
    assert sum(line.startswith("#") for line in lines) >= 15


@pytest.mark.parametrize("which", ["first", "every", "never"])
def test_overrides_are_allowed_only_where_responses_are_observed_and_for_responses_only(which):
    settings = config.load(Path(SETTINGS)).model_copy(update={"observe_upstream": which})
    document = read(render(settings, EnvoyOptions()))
    ext_proc = manager(document)["http_filters"][1]["typed_config"]
    configured = ext_proc["processing_mode"]
    assert configured["response_header_mode"] == "SKIP"
    if which == "never":
        assert not {"allow_mode_override", "allowed_override_modes"} & ext_proc.keys()
        return
    assert ext_proc["allow_mode_override"] is True
    # The only target's open requests are counted, as its route says.
    shown = {**configured, "response_header_mode": "SEND", "response_trailer_mode": "SEND"}
    bodies = [mode.pop("response_body_mode", "NONE") for mode in ext_proc["allowed_override_modes"]]
    assert bodies == ["NONE", "BUFFERED", "STREAMED"]
    assert all(mode == shown for mode in ext_proc["allowed_override_modes"])


def test_overrides_are_allowed_where_lists_of_tools_are_filtered_and_the_lint_expects_them():
    settings = config.load(Path(SETTINGS)).model_copy(update={"observe_upstream": "never"})
    target = settings.targets[0].model_copy(update={"filter_tools_list": True})
    settings = settings.model_copy(update={"targets": [target]})
    assert settings.reads_responses
    ext_proc = manager(read(render(settings, EnvoyOptions())))["http_filters"][1]["typed_config"]
    assert ext_proc["allow_mode_override"] is True
    expected = expectations_of(settings)
    assert (expected.shows_answers, expected.filtered) == (True, (target.name,))


def test_internal_headers_stay_from_aws_and_the_request_id_goes_on():
    removed = manager(rendered()[0])["route_config"]["request_headers_to_remove"]
    assert {"x-forwarded-for", "x-forwarded-proto", "forwarded", "via"} <= set(removed)
    assert "x-request-id" not in removed
    assert manager(rendered()[0])["route_config"]["response_headers_to_remove"] == ["www-authenticate"]


def test_the_circuit_breaker_is_the_services_quota_or_the_configured_one():
    clusters = {c["name"]: c for c in rendered("several-targets")[0]["static_resources"]["clusters"]}
    limits = {
        name: cluster["circuit_breakers"]["thresholds"][0]["max_requests"]
        for name, cluster in clusters.items()
        if name.startswith("target_")
    }
    assert limits == {
        "target_aws-mcp": 27, "target_agent-gateway": 1024, "target_function": 100, "target_private-api": 1024,
    }  # fmt: skip


def test_requests_never_wait_for_a_connection_that_another_one_holds():
    cluster = rendered()[0]["static_resources"]["clusters"][1]
    (limits,) = cluster["circuit_breakers"]["thresholds"]
    assert limits["max_connections"] > limits["max_requests"] == limits["max_pending_requests"] == 27


def test_streams_are_kept_to_the_end_of_responses_only_where_open_requests_are_counted():
    routes = manager(rendered("several-targets")[0])["route_config"]["virtual_hosts"][0]["routes"]
    kept = {
        route["name"]: route["typed_per_filter_config"]["envoy.filters.http.ext_proc"]["overrides"]
        .get("processing_mode", {})
        .get("response_trailer_mode", "SKIP")
        for route in routes
        if "typed_per_filter_config" in route
    }
    assert kept == {"aws-mcp": "SEND", "function": "SEND", "agent-gateway": "SKIP", "private-api": "SKIP"}


@pytest.mark.parametrize(
    ("protocol", "key"),
    [("http1", "explicit_http_config"), ("http2", "explicit_http_config"), ("auto", "auto_config")],
)
def test_the_protocol_of_a_target_is_a_setting(protocol, key):
    settings = config.load(Path(SETTINGS))
    target = settings.targets[0].model_copy(update={"protocol": protocol})
    document = read(render(settings.model_copy(update={"targets": [target]}), EnvoyOptions()))
    (options,) = document["static_resources"]["clusters"][1]["typed_extension_protocol_options"].values()
    spoken = {name.removesuffix("_protocol_options") for name in options[key]}
    assert spoken == (
        {"http", "http2"} if protocol == "auto" else {"http2" if protocol == "http2" else "http"}
    )


def test_tls_towards_the_target_checks_its_exact_name_even_behind_another_endpoint():
    clusters = {c["name"]: c for c in rendered("several-targets")[0]["static_resources"]["clusters"]}
    private = clusters["target_private-api"]
    endpoint = private["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
    assert endpoint["socket_address"]["address"].startswith("vpce-")
    tls = private["transport_socket"]["typed_config"]
    assert tls["sni"] == "a1b2c3.execute-api.us-east-1.amazonaws.com"


def test_upstream_placement_puts_the_filter_into_each_cluster_with_its_target():
    document, text = rendered("several-targets", placement="upstream")
    assert [entry["name"] for entry in manager(document)["http_filters"]] == [
        "envoy.filters.http.cors",
        "envoy.filters.http.router",
    ]
    for cluster in document["static_resources"]["clusters"][1:]:
        (options,) = cluster["typed_extension_protocol_options"].values()
        ours, codec = options["http_filters"]
        assert codec["name"] == "envoy.filters.http.upstream_codec"
        (named,) = ours["typed_config"]["grpc_service"]["initial_metadata"]
        assert cluster["name"] == f"target_{named['value']}"
    assert "per_connection_buffer_limit_bytes: 10485760" in text
    routes = manager(document)["route_config"]["virtual_hosts"][0]["routes"]
    assert routes[0]["name"] == "resource-metadata"
    assert text.count("retry_policy:") == text.count("grpc_service:")
    assert text.count("base_interval: 0.025s") == text.count("retry_policy:")
    assert "retry_policy" not in yaml.safe_dump(manager(document)["route_config"])


def test_the_longest_prefix_is_routed_first():
    text = (ROOT / "envoy" / "several-targets" / "extproc.yaml").read_text()
    settings = config.parse(text.replace("prefix: /agent", "prefix: /aws/agent"))
    document = read(render(settings, EnvoyOptions()))
    routes = manager(document)["route_config"]["virtual_hosts"][0]["routes"]
    names = [route["name"] for route in routes]
    assert names.index("agent-gateway") < names.index("aws-mcp")
    assert names[-1] == "no-target"


def test_downstream_tls_needs_certificate_and_key():
    chain = rendered(tls_cert="/c.pem", tls_key="/k.pem")[0]["static_resources"]["listeners"][0][
        "filter_chains"
    ][0]
    tls = chain["transport_socket"]["typed_config"]["common_tls_context"]
    assert tls["tls_params"] == {"tls_minimum_protocol_version": "TLSv1_2"}
    assert tls["alpn_protocols"] == ["h2", "http/1.1"]
    result = CliRunner().invoke(main, ["envoy", "--config", SETTINGS, "--tls-cert", "/c.pem"])
    assert result.exit_code == 2


MUTUAL = {"extproc_cert": "/tls/envoy.pem", "extproc_key": "/tls/envoy-key.pem"}


def with_tls(address, *, client_ca=True, **options):
    text = (ROOT / "envoy" / "aws-mcp" / "extproc.yaml").read_text()
    document = read(text)
    document["listen"].update(grpc=address, tls={"certificate": "/c.pem", "private_key": "/k.pem"})
    if client_ca:
        document["listen"]["tls"]["client_ca"] = "/clients.pem"
    rendered = read(render(config.parse(yaml.safe_dump(document)), EnvoyOptions(**options)))
    return rendered["static_resources"]["clusters"][0]["transport_socket"]["typed_config"]


def test_extproc_is_reached_over_mutual_tls_when_it_requires_client_certificates():
    tls = with_tls("extproc.internal:50051", extproc_ca="/tls/ca.pem", **MUTUAL)
    assert tls == {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": "extproc.internal",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": "/tls/envoy.pem"},
                    "private_key": {"filename": "/tls/envoy-key.pem"},
                }
            ],
            "validation_context": {
                "trusted_ca": {"filename": "/tls/ca.pem"},
                "match_typed_subject_alt_names": [
                    {"san_type": "DNS", "matcher": {"exact": "extproc.internal"}}
                ],
            },
        },
    }


@pytest.mark.parametrize(
    ("address", "name", "san_type", "sni"),
    [
        ("10.0.0.7:50051", None, "IP_ADDRESS", None),
        ("10.0.0.7:50051", "extproc.internal", "DNS", "extproc.internal"),
        ("unix:/run/s", "spiffe://example.org/extproc", "URI", None),
    ],
)
def test_the_name_in_extprocs_certificate_is_checked(address, name, san_type, sni):
    tls = with_tls(address, client_ca=False, extproc_name=name)
    (matcher,) = tls["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert matcher == {"san_type": san_type, "matcher": {"exact": name or "10.0.0.7"}}
    assert tls.get("sni") == sni
    assert "tls_certificates" not in tls["common_tls_context"]


def test_a_ca_for_extproc_means_tls_even_if_a_proxy_terminates_it():
    cluster = rendered(extproc_ca="/tls/ca.pem")[0]["static_resources"]["clusters"][0]
    assert cluster["transport_socket"]["name"] == "envoy.transport_sockets.tls"


@pytest.mark.parametrize(
    ("address", "options", "problem"),
    [
        ("10.0.0.7:50051", {}, "--extproc-cert and --extproc-key"),
        ("10.0.0.7:50051", {"extproc_cert": "/c.pem"}, "belong together"),
        ("unix:/run/s", MUTUAL, "--extproc-name"),
    ],
)
def test_options_that_do_not_fit_the_listener_are_usage_errors(address, options, problem):
    with pytest.raises(OptionsError, match=problem):
        with_tls(address, **options)


def test_a_unix_socket_is_a_pipe():
    cluster = rendered("uds-sidecar")[0]["static_resources"]["clusters"][0]
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint["address"] == {"pipe": {"path": "/run/extproc/extproc.sock"}}


@pytest.mark.parametrize("placement", ["http", "upstream"])
def test_filter_only_has_all_pieces_that_belong_together_and_says_where_each_goes(placement):
    arguments = ["envoy", "--config", SETTINGS, "--filter-only", "--placement", placement]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    pieces = read(result.output)
    whole, _ = rendered(placement=placement)
    own = pieces["http_connection_manager"]
    assert own["http_filters"] == manager(whole)["http_filters"][1:]  # without CORS
    for key in ("request_headers_to_remove", "response_headers_to_remove"):
        assert own["route_config"][key] == manager(whole)["route_config"][key]
    assert pieces["clusters"] == whole["static_resources"]["clusters"]
    assert ("listener" in pieces) == (placement == "upstream")
    assert "# 1. Into the HttpConnectionManager" in result.output
    assert f"# {len(pieces)}. Into static_resources.clusters" in result.output
    assert "failure_mode_allow: false" in result.output


def test_without_a_configuration_there_is_nothing_to_render():
    assert CliRunner().invoke(main, ["envoy"]).exit_code == 2


def test_the_access_log_names_user_role_decision_and_latency():
    line = manager(rendered()[0])["access_log"][0]["typed_config"]["log_format"]["json_format"]
    assert line["user"] == "%DYNAMIC_METADATA(extproc:subject)%"
    assert {"role", "mapping", "access_key_id", "cache", "decision", "reason", "extproc_us"} <= set(line)
    assert {"request_id", "extproc_head_us"} <= set(line)
    namespaces = manager(rendered()[0])["http_filters"][1]["typed_config"]["metadata_options"]
    assert namespaces == {"receiving_namespaces": {"untyped": ["extproc"]}}


def test_admin_is_on_loopback_by_default():
    assert rendered()[0]["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def extproc_cluster_of(document):
    (cluster,) = [c for c in document["static_resources"]["clusters"] if c["name"] == "extproc"]
    endpoints = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    return cluster, [endpoint["endpoint"]["address"] for endpoint in endpoints]


def test_every_workers_address_is_an_endpoint():
    cluster, addresses = extproc_cluster_of(rendered(extproc_addresses=("127.0.0.1:1", "127.0.0.1:2"))[0])
    assert [each["socket_address"]["port_value"] for each in addresses] == [1, 2]
    assert cluster["outlier_detection"]["consecutive_local_origin_failure"] == 1
    assert cluster["outlier_detection"]["split_external_local_origin_errors"] is True
    assert cluster["common_lb_config"]["healthy_panic_threshold"] == {"value": 1.0}
    assert cluster["common_lb_config"]["update_merge_window"] == "0s"
    assert cluster["health_checks"][0]["grpc_health_check"] == {}
    cluster, addresses = extproc_cluster_of(rendered(extproc_addresses=("unix:/a", "unix:/b"))[0])
    assert [each["pipe"]["path"] for each in addresses] == ["/a", "/b"]
    assert "type" not in cluster


def test_the_addresses_come_from_the_settings_or_from_the_command_line(tmp_path):
    text = Path(SETTINGS).read_text()
    path = tmp_path / "extproc.yaml"
    path.write_text(
        "listen:\n  grpc: ['127.0.0.1:1', '127.0.0.1:2']\n"
        + text.partition("resource:")[1]
        + text.partition("resource:")[2]
    )
    for options, ports in (([], [1, 2]), (["--extproc", "a:3", "--extproc", "a:4"], [3, 4])):
        result = CliRunner().invoke(main, ["envoy", "--config", str(path), *options])
        addresses = extproc_cluster_of(read(result.output))[1]
        assert [each["socket_address"]["port_value"] for each in addresses] == ports
