"""Envoy and extproc over mTLS: who is signed for, and what an Envoy that is not let in does."""

import asyncio

import pytest
import yaml

from extproc.envoyconf.options import EnvoyOptions
from support.certificates import LOCAL, Authority, uri
from support.envoys import further_envoy
from support.http import client
from support.stacks import Stack

ENVOY = "spiffe://example.org/envoy"


class Files:
    """Certificates of both sides, from one authority."""

    def __init__(self, directory):
        self.authority = Authority(directory)
        self.server = self.authority.issue("server", *LOCAL)
        self.envoy = self.authority.issue("envoy", uri(ENVOY))
        self.other = self.authority.issue("other", uri("spiffe://example.org/other"))
        self.stranger = Authority(directory, "stranger").issue("strange-envoy", uri(ENVOY))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def stack(files, tmp_path_factory):
    def adjust(text):
        settings = yaml.safe_load(text)
        settings["listen"]["tls"] = {
            "certificate": str(files.server.certificate),
            "private_key": str(files.server.key),
            "client_ca": str(files.authority.certificate),
            "allowed_clients": [ENVOY],
        }
        return yaml.safe_dump(settings)

    options = EnvoyOptions(
        extproc_ca=str(files.authority.certificate),
        extproc_cert=str(files.envoy.certificate),
        extproc_key=str(files.envoy.key),
    )
    with Stack(tmp_path_factory.mktemp("stack"), adjust=adjust, envoy_options=options) as running:
        yield running


async def post(stack, base=None):
    stack.control("mcp", "reset", {})
    async with client(token=stack.token("demo-admin")) as http:
        answer = await http.post(f"{base or f'http://{stack.addresses.envoy}'}/echo", content=b"{}")
    return answer.status_code, stack.control("mcp", "stats")


async def test_a_request_is_signed(stack):
    status, stats = await post(stack)
    assert (status, stats["verified"], stats["bearer_seen"]) == (200, 1, 0)


@pytest.mark.parametrize("who", ["other", "stranger", "nobody", "clear text"])
async def test_an_envoy_that_is_not_let_in_forwards_nothing(stack, files, tmp_path, who):
    def change(text):
        document = yaml.safe_load(text)
        (ours,) = (c for c in document["static_resources"]["clusters"] if c["name"] == "extproc")
        tls = ours["transport_socket"]["typed_config"]["common_tls_context"]
        if who == "clear text":
            del ours["transport_socket"]
        elif who == "nobody":
            del tls["tls_certificates"]
        else:
            pair = getattr(files, who)
            (shown,) = tls["tls_certificates"]
            shown["certificate_chain"]["filename"] = str(pair.certificate)
            shown["private_key"]["filename"] = str(pair.key)
        return yaml.safe_dump(document)

    with further_envoy(stack, tmp_path, change) as base:
        status, stats = await post(stack, base)
    assert status in (500, 503)
    assert stats["received"] == 0


async def test_certificates_change_under_load_and_no_request_fails(stack, files, tmp_path):
    statuses = []
    stopped = False

    async def load(http):
        while not stopped:
            statuses.append(
                (await http.post(f"http://{stack.addresses.envoy}/echo", content=b"{}")).status_code
            )
            await asyncio.sleep(0.02)

    async with client(token=stack.token("demo-admin")) as http:
        workers = [asyncio.create_task(load(http)) for _ in range(4)]
        for round_ in range(3):
            files.authority.issue(f"server-{round_}", *LOCAL).copy_to(files.server)
            with further_envoy(stack, tmp_path, lambda text: text + "# a new connection\n") as base:
                assert (await http.post(f"{base}/echo", content=b"{}")).status_code == 200
        stopped = True
        await asyncio.gather(*workers)
    assert set(statuses) == {200}
    log = (stack.directory / "extproc.log").read_text()
    assert log.count("certificates_reloaded") == 3
