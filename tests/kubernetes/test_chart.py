"""What the chart renders, as the API server itself reads it."""

import pytest
import yaml

from support import kube_crds
from support.kube_cluster import GOLDEN, eventually

RENDERED = [*sorted(GOLDEN.parent.glob("*.yaml")), GOLDEN.parents[1] / "kustomize" / "extproc.yaml"]


@pytest.fixture(scope="module")
def with_operators(cluster):
    """The cluster with the kinds of cert-manager and the Prometheus operator."""
    for path in kube_crds.operator_files():
        cluster.kubectl("apply", "--server-side", "-f", path)
    kinds = ("get", "certificates,servicemonitors,prometheusrules", "-A")
    eventually(lambda: cluster.kubectl(*kinds, check=False).returncode == 0)
    return cluster


def test_all_eight_sets_of_values_are_rendered():
    assert len(RENDERED) == 8 + 1


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.stem)
def test_the_api_server_accepts_every_object_and_knows_every_field(with_operators, path):
    found = [each for each in yaml.safe_load_all(path.read_text()) if each]
    assert len(found) > 5
    with_operators.apply(*found, "--dry-run=server", "--validate=strict", "-n", "mcp")
