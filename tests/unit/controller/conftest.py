"""An API in memory with what a proxy refers to."""

import pytest

from extproc.controller.kinds import (
    AUTH_CONFIG,
    OIDC_CONFIG,
)
from support.kube_api import FakeApi
from support.kube_bundles import (
    GOOD,
    OIDC,
    auth_config,
)


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setattr("extproc.controller.reconciler.SETTLED", 0.05)
    api = FakeApi()
    api.put(OIDC_CONFIG, OIDC)
    api.put(AUTH_CONFIG, auth_config(GOOD))
    return api
