"""What somebody else made is neither taken nor deleted, and what was made stays with its source."""

import asyncio

import pytest

from extproc.controller.kinds import (
    PROXY,
    SERVER,
    SOURCE_MAP,
    WRITTEN_MAP,
)
from support.kube_bundles import (
    GOOD,
    accepted,
    conditions,
    config_map,
    matchers,
    proxy,
    running,
    there,
    until,
)


async def test_an_object_of_somebody_else_is_neither_taken_nor_deleted(api):
    api.put(WRITTEN_MAP, config_map("aws-extproc", {"mine": "1"}))
    api.put(PROXY, proxy())
    async with running(api):
        await until(lambda: conditions(api).get("Programmed") == ("False", "Conflict"))
        api.remove(PROXY, "mcp", "aws")
        await asyncio.sleep(0.1)
    assert there(api, WRITTEN_MAP, "aws-extproc")["data"] == {"mine": "1"}


async def test_a_copy_of_a_written_object_is_not_deleted(api):
    api.put(PROXY, proxy(gateway="mcp"))
    async with running(api):
        await accepted(api)
        copied = there(api, WRITTEN_MAP, "aws-extproc")["metadata"]
        metadata = {"labels": copied["labels"], "annotations": copied["annotations"]}
        api.put(WRITTEN_MAP, config_map("copy", {}, **metadata))
        api.remove(PROXY, "mcp", "aws")
        await until(lambda: not there(api, WRITTEN_MAP, "aws-extproc"))
    assert there(api, WRITTEN_MAP, "copy")


async def test_of_two_sources_with_one_name_the_first_keeps_it_even_if_its_object_was_not_seen_yet(api):
    api.put(PROXY, proxy())
    async with running(api):
        await until(lambda: matchers(api) == [GOOD])
        api.hide(WRITTEN_MAP, "mcp", "aws-extproc")
        api.put(SERVER, proxy(kind=SERVER))
        await until(lambda: conditions(api, SERVER).get("Programmed") == ("False", "Conflict"))
    written = there(api, WRITTEN_MAP, "aws-extproc")
    assert written["metadata"]["annotations"]["extproc/source"] == "MCPRemoteProxy/aws"


async def test_a_label_that_was_taken_off_comes_back(api):
    api.put(PROXY, proxy())
    async with running(api):
        await until(lambda: conditions(api).get("Programmed") == ("True", "Programmed"))
        found = there(api, WRITTEN_MAP, "aws-extproc")
        api.hide(WRITTEN_MAP, "mcp", "aws-extproc")
        api.put(WRITTEN_MAP, {**found, "metadata": {**found["metadata"], "labels": {}}})
        await until(lambda: there(api, WRITTEN_MAP, "aws-extproc")["metadata"]["labels"])


async def test_conditions_of_a_configmap_that_has_gone_do_not_make_it_anew(api):
    api.put(SOURCE_MAP, config_map("own", {}, labels={"extproc/config": "true"}))
    api.vanishing = ("configmaps", "mcp", "own")
    async with running(api):
        await until(lambda: api.vanishing is None)
        await asyncio.sleep(0.05)
    assert not there(api, SOURCE_MAP, "own")


@pytest.mark.parametrize("text", ["[" * 100_000, '[{"type": []}]', '{"type": 1}', "1", "}"])
async def test_whatever_stands_in_the_annotation_of_conditions_is_replaced(api, text):
    annotations = {"extproc/conditions": text}
    api.put(SOURCE_MAP, config_map("own", {}, labels={"extproc/config": "true"}, annotations=annotations))
    async with running(api):
        await until(
            lambda: (
                "Accepted" in there(api, SOURCE_MAP, "own")["metadata"]["annotations"]["extproc/conditions"]
            )
        )
