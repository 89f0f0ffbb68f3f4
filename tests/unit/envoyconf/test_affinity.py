"""Which instance of extproc Envoy chooses for a request."""

import functools
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from extproc import config
from extproc.envoyconf.bootstrap import render
from extproc.envoyconf.options import EnvoyOptions
from support.tables import each_case

SETTINGS = config.load(Path(__file__).parents[3] / "envoy" / "aws-mcp" / "extproc.yaml")
TWO = ("127.0.0.1:1", "127.0.0.1:2")


def parts(**options):
    """The filters of the listener, the ext_proc filter wherever it is, and extproc's cluster."""
    text = render(SETTINGS, EnvoyOptions(**options))
    resources = yaml.load(text, yaml.CSafeLoader)["static_resources"]
    chain = resources["listeners"][0]["filter_chains"][0]
    filters = chain["filters"][0]["typed_config"]["http_filters"]
    clusters = {cluster["name"]: cluster for cluster in resources["clusters"]}
    (ours,) = re.findall(
        r"ext_proc\.v3\.ExternalProcessor\n *grpc_service:\n(?:.*\n)*?(?= *message_timeout)", text
    )
    return filters, ours, clusters["extproc"]


@pytest.mark.parametrize("placement", ["http", "upstream"])
def test_of_several_addresses_the_token_chooses_one(placement):
    filters, ours, cluster = parts(extproc_addresses=TWO, placement=placement)
    names = [entry["name"].rpartition(".")[2] for entry in filters]
    assert names == ["cors", "header_to_metadata", *(["ext_proc"] if placement == "http" else []), "router"]
    assert "key: x-extproc-affinity\n" in ours
    assert "value: '%DYNAMIC_METADATA(extproc.affinity:token)%'\n" in ours
    (policy,) = cluster["load_balancing_policy"]["policies"]
    hashed = policy["typed_extension_config"]["typed_config"]["consistent_hashing_lb_config"]
    assert hashed == {"hash_policy": [{"header": {"header_name": "x-extproc-affinity"}}]}
    assert "lb_policy" not in cluster


@pytest.mark.parametrize(
    "options", [{}, {"extproc_addresses": TWO, "affinity": False}, {"extproc_addresses": TWO[:1]}]
)
def test_without_affinity_no_part_of_a_token_is_copied(options):
    filters, ours, cluster = parts(**options)
    assert "header_to_metadata" not in str(filters)
    assert "affinity" not in ours
    assert "load_balancing_policy" not in cluster
    assert cluster.get("lb_policy") == ("LEAST_REQUEST" if "affinity" in options else None)


def test_one_name_with_several_addresses_behind_it_can_have_affinity():
    _, ours, cluster = parts(extproc_addresses=("extproc.internal:50051",), affinity=True)
    assert "x-extproc-affinity" in ours
    assert {"load_balancing_policy", "outlier_detection", "common_lb_config"} <= cluster.keys()


@functools.cache
def rule():
    """The rule of Envoy's filter."""
    filters, _, _ = parts(extproc_addresses=TWO)
    (only,) = filters[1]["typed_config"]["request_rules"]
    return only


def hashed(value):
    """What Envoy's filter makes of a header: RE2 replaces as Python does, here."""
    rewrite = rule()["on_header_present"]["regex_value_rewrite"]
    return re.sub(rewrite["pattern"]["regex"], rewrite["substitution"], value)


def test_the_header_itself_stays_as_it_is():
    assert rule().keys() == {"header", "on_header_present"}
    assert rule()["header"] == "authorization"


def test_the_last_characters_of_the_signature_are_hashed_whatever_the_scheme_is_called():
    signature = "A" * 40 + "0123456789abcdef"
    for scheme in ("Bearer ", "bearer  ", "DPoP "):
        assert hashed(f"{scheme}eyJhbGciOiJFUzI1NiJ9.e30.{signature}") == "0123456789abcdef"


@each_case(
    "value",
    [
        "", "Bearer", "Bearer opaque", "Basic dXNlcjpwYXNzd29yZA==", "Bearer a.b.", "Bearer a.b.short",
        "Bearer " + "x" * 100, "Bearer a.b.c.d.e" + "x" * 100, "Bearer a.b." + "x" * 39,
    ],
)  # fmt: skip
def test_of_what_is_no_signed_token_nothing_is_taken(value):
    assert hashed(value) == ""


@given(st.text(st.characters(codec="latin-1", exclude_categories=("Cc",))))
def test_never_more_than_sixteen_characters_are_taken(value):
    taken = hashed(value)
    assert len(taken) in (0, 16)
    assert value.endswith(taken)
