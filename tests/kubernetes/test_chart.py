"""What the chart renders, as the API server itself reads it."""

import pytest
import yaml

from support.kube_cluster import GOLDEN

# Kinds of operators that are not installed here.
FOREIGN = ("Certificate", "ServiceMonitor", "PrometheusRule")
RENDERED = [*sorted(GOLDEN.parent.glob("*.yaml")), GOLDEN.parents[1] / "kustomize" / "extproc.yaml"]


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.stem)
def test_the_api_server_accepts_every_object_and_knows_every_field(cluster, path):
    found = [each for each in yaml.safe_load_all(path.read_text()) if each and each["kind"] not in FOREIGN]
    assert len(found) > 5
    cluster.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-n", "mcp", "-f", "-",
        text=yaml.safe_dump_all(found),
    )  # fmt: skip
