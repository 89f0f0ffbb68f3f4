"""Each way of each recipe: those that work end with credentials of the strict STS, the others as documented."""

import asyncio
import json
import time

import pytest

from extproc import config
from extproc.explain.facts import facts
from extproc.explain.run import environment_of, explain_token
from extproc.idp.answers import filled
from extproc.idp.configuration import configuration
from extproc.idp.page import EXAMPLE, example_values
from extproc.idp.recipe import recipes
from extproc.sts.errors import denied
from support.emulated_account import account, present, refusal
from support.tokens import KID, key_set, mint, public_jwk, rsa_key

WAYS = [
    pytest.param(recipe, way, id=f"{recipe.name} {way.name}")
    for recipe in recipes().values()
    for way in recipe.ways
]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    path.write_bytes(key_set(public_jwk(rsa_key(), kid=KID)))
    return path


def settings_of(recipe, way, keys):
    """The settings of a way, with the provider's keys in a file."""
    settings = config.parse(configuration(recipe, way, example_values(recipe, way)))
    issuers = [entry.model_copy(update={"jwks_file": str(keys)}) for entry in settings.issuers]
    return settings.model_copy(update={"issuers": issuers})


def token_of(recipe, way, name):
    """A token of this shape that is valid now."""
    shape = recipe.tokens[name]
    if shape.claims is None:
        return shape.text
    now = int(time.time())
    claims = filled(shape.claims, example_values(recipe, way))
    moved = {"iat": now - 10, "nbf": now - 10, "auth_time": now - 20, "exp": now + 3600}
    header = {"alg": "RS256", "kid": KID, **shape.header}
    return mint({**claims, **{name: moved[name] for name in moved.keys() & claims.keys()}}, header)


def explained(settings, bearer, other):
    """What the server would do with a request that has these tokens; an exchange at the provider is left out."""
    issuer = settings.issuers[0]
    headers = [
        ["accept", "application/json"],
        *([[issuer.sts_token_header, other]] if issuer.sts_token_header else []),
    ]
    request = json.dumps({"method": "GET", "path": "/mcp", "headers": headers}).encode()

    async def explain():
        environment = environment_of(settings, time.time)
        return await explain_token(environment, bearer, None if issuer.token_exchange else request)

    return asyncio.run(explain())


@pytest.mark.parametrize(("recipe", "way"), WAYS)
def test_a_way_ends_as_its_recipe_says(recipe, way, keys):
    settings = settings_of(recipe, way, keys)
    bearer, other = token_of(recipe, way, way.bearer), token_of(recipe, way, way.for_sts)
    explanation = explained(settings, bearer, other)
    found = facts(explanation)
    if way.refused is not None and way.refused.by == "extproc":
        assert (found["outcome"], found["reason"]) == ("deny", way.refused.reason)
        assert way.refused.message in found["detail"]
        return
    assert (found["outcome"], found["role_arn"]) == ("allow", EXAMPLE["role"])
    with account(settings, settings.issuers[0].issuer) as sts:
        code, message = refusal(present(sts, other, EXAMPLE["role"]))
    if way.refused is None:
        assert (code, message) == ("", "")
        assert not [note for note in found.get("notes", []) if "docs/idp" in note]  # no objection
        return
    if way.bearer == way.for_sts:
        assert any("STS compares" in note for note in found["notes"])
    assert message == way.refused.sts
    said = denied(400, code, message)
    assert said.reason == way.refused.reason
    assert way.refused.message in said.detail


EXCHANGES = [entry for entry in WAYS if "token_exchange" in entry.values[1].issuer]


@pytest.mark.parametrize(("recipe", "way"), EXCHANGES)
def test_an_exchanged_token_is_what_the_settings_ask_for(recipe, way, keys):
    exchange = settings_of(recipe, way, keys).issuers[0].token_exchange
    values = example_values(recipe, way)
    before, after = (filled(recipe.tokens[name].claims, values) for name in (way.bearer, way.for_sts))
    assert after["aud"] in exchange.token_audiences
    assert after.items() >= exchange.token_required_claims.items()
    assert after[exchange.subject_claim] == before[exchange.subject_claim]
