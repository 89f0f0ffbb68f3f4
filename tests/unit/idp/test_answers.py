"""Answers become values; values become YAML that says the same, whatever characters they have."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc import config
from extproc.idp.answers import AnswerError, filled
from extproc.idp.configuration import configuration
from extproc.idp.page import EXAMPLE
from extproc.idp.recipe import recipes
from support.tables import each_case

GENERIC = recipes()["generic"]
ANSWERS = {**EXAMPLE, "issuer": "https://idp.example.com"}
TEXT = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40)


@settings(max_examples=25)
@given(
    audience=TEXT,
    group=TEXT,
    clients=st.lists(TEXT.map(lambda text: text.replace(",", ";")), min_size=1, unique=True),
)
def test_an_answer_is_in_the_configuration_as_it_was_given(audience, group, clients):
    way = GENERIC.way("known-clients")
    answers = {**ANSWERS, "audience": audience, "group": group, "clients": ", ".join(clients)}
    written = config.parse(configuration(GENERIC, way, GENERIC.values(way, answers)))
    (issuer,) = written.issuers
    assert issuer.audiences == [audience]
    assert issuer.required_claims == {"azp": clients}
    assert written.role_mappings[0].claim == group


@settings(max_examples=25)
@given(jwks_uri=TEXT)
def test_what_a_provider_says_of_its_keys_stays_a_comment(jwks_uri):
    way = GENERIC.way()
    text = configuration(GENERIC, way, GENERIC.values(way, ANSWERS), jwks_uri=jwks_uri)
    assert config.parse(text).issuers[0].jwks_uri is None


@each_case(
    ("change", "message"),
    [
        ({"issuer": None}, "--issuer is required: the issuer"),
        ({"issuer": "idp.example.com"}, "--issuer: 'idp.example.com' is not usable"),
        ({"region": "us east"}, "--region: 'us east' is not usable"),
        ({"audience": "a\nb"}, r"--audience: 'a\nb' is not usable"),
        ({"tenant": "t"}, "--tenant has no effect with generic, way direct"),
        ({"clients": "c"}, "--clients has no effect with generic, way direct"),
    ],
)
def test_an_unusable_answer_is_refused_by_the_name_of_its_option(change, message):
    answers = {name: value for name, value in {**ANSWERS, **change}.items() if value is not None}
    with pytest.raises(AnswerError) as caught:
        GENERIC.values(GENERIC.way(), answers)
    assert message in str(caught.value)


def test_without_a_group_every_user_gets_the_role():
    way = GENERIC.way()
    written = config.parse(configuration(GENERIC, way, GENERIC.values(way, ANSWERS)))
    assert (written.fallback_role_arn, written.role_mappings) == (EXAMPLE["role"], [])


def test_a_list_takes_the_place_of_its_placeholder():
    assert filled({"a": ["{x}", "b-{y}"], "c": "{x}", "d": 1}, {"x": ["1", "2"], "y": "z"}) == {
        "a": ["1", "2", "b-z"],
        "c": ["1", "2"],
        "d": 1,
    }


@each_case("recipe", recipes().values(), ids=lambda recipe: recipe.name)
def test_a_recipe_says_what_its_names_refer_to(recipe):
    names = [way.name for way in recipe.ways]
    assert len(set(names)) == len(names)
    for way in recipe.ways:
        assert {way.bearer, way.for_sts} <= recipe.tokens.keys()
        assert way.comments.keys() <= way.issuer.keys()
        assert (way.refused is None) == bool(way.provider)
    assert recipe.ways[0].refused is None
