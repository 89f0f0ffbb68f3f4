"""The allow list of client names against what gRPC says of a certificate."""

from hypothesis import given
from hypothesis import strategies as st

from extproc.grpc_server.clients import AllowedClients
from support.tables import each_case

ENVOY = "spiffe://example.org/ns/edge/sa/envoy"


def peer(*, uris=(), dns=(), common_name=None):
    """The parts of an auth context that carry names."""
    context = {"peer_uri": [uri.encode() for uri in uris], "peer_dns": [name.encode() for name in dns]}
    if common_name:
        context["x509_common_name"] = [common_name.encode()]
    context["x509_subject_alternative_name"] = context["peer_uri"] + context["peer_dns"]
    return {kind: names for kind, names in context.items() if names}


@each_case(
    "client",
    [
        peer(uris=[ENVOY]),
        peer(uris=["spiffe://example.org/other", ENVOY]),
        peer(dns=["envoy.example.org"]),
        peer(dns=["ENVOY.example.org"]),
        peer(dns=["edge-1.envoys.example.org"]),
    ],
)
def test_a_listed_name_admits(client):
    assert AllowedClients([ENVOY, "envoy.example.org", "*.envoys.example.org"]).admit(client)


@each_case(
    "client",
    [
        {},
        peer(common_name=ENVOY),
        peer(common_name="envoy.example.org"),
        peer(dns=[ENVOY]),  # a name of the wrong kind
        peer(uris=["envoy.example.org"]),
        peer(uris=[ENVOY + "/x"]),
        peer(uris=[ENVOY[:-1]]),
        peer(uris=[ENVOY.upper()]),
        peer(dns=["xenvoy.example.org"]),
        peer(dns=["envoy.example.org.evil.example"]),
        peer(dns=["envoyxexample.org"]),
        peer(dns=["envoys.example.org"]),
        peer(dns=["a.b.envoys.example.org"]),
        peer(dns=["*.envoys.example.org"]),  # a certificate for many is not one of them
        peer(dns=[".envoys.example.org"]),
        peer(dns=["edge-1.envoys.example.org\n"]),
        peer(dns=["envoy.example.org\x00.evil.example"]),
    ],
)
def test_any_other_name_does_not(client):
    assert not AllowedClients([ENVOY, "envoy.example.org", "*.envoys.example.org"]).admit(client)


@given(st.lists(st.binary()), st.lists(st.binary()))
def test_an_empty_list_admits_no_client_and_no_name_breaks_it(uris, dns):
    names = {"peer_uri": uris, "peer_dns": dns}
    assert not AllowedClients([]).admit(names)
    listed = AllowedClients([ENVOY, "*.envoys.example.org"])
    assert listed.admit(names) == (ENVOY.encode() in uris or any(_matches_by_hand(name) for name in dns))


def _matches_by_hand(name):
    label, dot, rest = name.lower().partition(b".")
    characters = b"abcdefghijklmnopqrstuvwxyz0123456789_-"
    return (
        dot == b"."
        and rest == b"envoys.example.org"
        and bool(label)
        and all(byte in characters for byte in label)
        and label[:1] != b"-"
        and label[-1:] != b"-"
    )
