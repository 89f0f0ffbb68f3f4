"""What Istio makes of an EnvoyFilter: the patches that extproc's has, applied to a gateway's configuration."""

ENVOY = "type.googleapis.com/envoy.extensions.filters"


def gateway(host):
    """The bootstrap of a gateway with one host, as Istio gives it to Envoy by xDS."""
    manager = {
        "@type": f"{ENVOY}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "outbound_0.0.0.0_8443",
        "use_remote_address": True,
        "normalize_path": True,
        "http_filters": [
            {"name": "istio.alpn", "typed_config": {"@type": f"{ENVOY}.http.cors.v3.Cors"}},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{ENVOY}.http.router.v3.Router"},
            },
        ],
        "route_config": {
            "name": "https.443",
            "virtual_hosts": [{"name": host, "domains": ["*"], "routes": []}],
        },
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 8443}}
    listener = {"name": "0.0.0.0_8443", "address": address, "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": []}}


def patched(document, patches):
    """Apply the kinds of patches that are used, in their order."""
    resources = document["static_resources"]
    (network,) = resources["listeners"][0]["filter_chains"][0]["filters"]
    filters = network["typed_config"]["http_filters"]
    for each in patches:
        kind, match = each["applyTo"], each["match"]
        operation, value = each["patch"]["operation"], each["patch"]["value"]
        assert match["context"] == "GATEWAY"
        if (kind, operation) == ("CLUSTER", "ADD"):
            resources["clusters"].append(value)
        elif kind == "HTTP_ROUTE":
            assert operation == "INSERT_FIRST"
            name = match["routeConfiguration"]["vhost"]["name"]
            for host in network["typed_config"]["route_config"]["virtual_hosts"]:
                if host["name"] == name:
                    host["routes"].insert(0, value)
        else:
            matched = match["listener"]["filterChain"]["filter"]
            assert matched["name"] == network["name"]
            if kind == "NETWORK_FILTER":
                assert operation == "MERGE"
                _merge(network, value)
                continue
            assert kind == "HTTP_FILTER"
            (position,) = [
                at for at, entry in enumerate(filters) if entry["name"] == matched["subFilter"]["name"]
            ]
            if operation == "INSERT_BEFORE":
                filters.insert(position, value)
            else:
                assert operation == "MERGE"
                _merge(filters[position], value)
    return document


def _merge(into, value):
    for key, child in value.items():
        if isinstance(child, dict) and isinstance(into.get(key), dict):
            _merge(into[key], child)
        else:
            into[key] = child
