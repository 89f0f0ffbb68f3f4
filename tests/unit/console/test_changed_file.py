"""What a changed file does to a console whose pages are open."""

import asyncio

import pytest

from extproc import config
from extproc.console import process
from support.admin import SETTINGS
from support.console import OIDC, Site

BASE = f"{OIDC}\naudit: {{output: null}}\n"


async def follow(tmp_path, monkeypatch, changed):
    """Have the file changed once; return whether the process is to end, and its parts."""
    site = Site(tmp_path)
    at_start = config.parse(SETTINGS + BASE)
    stopped = asyncio.Event()

    async def once(_files):
        yield

    monkeypatch.setattr(process, "changes", once)
    await process._follow_file(
        site.web.parts, at_start, lambda: config.parse(changed(SETTINGS + BASE)), [], stopped
    )
    return stopped.is_set(), site.web.parts


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('matcher: \'"operators" in', 'matcher: \'"nobody" in'),
        ('act_matcher: \'"admins" in', 'act_matcher: \'"nobody" in'),
        ('claims_matcher: \'"auditors" in', 'claims_matcher: \'"nobody" in'),
        ("oidc: {client_id: console}", "oidc: {client_id: another}"),
        ("issuer: https://idp.example,", "issuer: https://idp.other,"),
        ("audit: {output: null}", "audit: {output: '-'}"),
    ],
)
async def test_whoever_may_look_by_other_rules_has_no_session_any_more(tmp_path, monkeypatch, before, after):
    def changed(text):
        assert before in text
        return text.replace(before, after)

    stopped, _ = await follow(tmp_path, monkeypatch, changed)
    assert stopped


async def test_other_changes_are_shown_and_log_nobody_out(tmp_path, monkeypatch):
    stopped, parts = await follow(
        tmp_path, monkeypatch, lambda text: text.replace("role/Admin", "role/Other")
    )
    assert not stopped
    assert [rule.role_arn for rule in parts.policy.rules] == ["arn:aws:iam::123456789012:role/Other"]


async def test_a_file_that_is_not_valid_changes_nothing(tmp_path, monkeypatch):
    stopped, parts = await follow(tmp_path, monkeypatch, lambda text: text.replace("targets:", "tragets:"))
    assert not stopped
    assert [rule.role_arn for rule in parts.policy.rules] == ["arn:aws:iam::123456789012:role/Admin"]
