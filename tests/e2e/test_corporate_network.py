"""docs/how-to/corporate-network.md: each command and each entry of the page is run, in a network as the page says.

The network: nothing leads out but one proxy (the system's names do not even know the server), TLS is opened by a
gateway with an authority of its own, tokens come from a command. Only the names of folders and of the proxy differ.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from tests.support.certificates import CLIENTS, issue, root
from tests.support.connect_proxy import ConnectProxy, Tunnel
from tests.support.every_wire import EveryWire, every_wire
from tests.support.host import Host, clean_environment, launch, script
from tests.support.interceptor import Interceptor, intercepting
from tests.support.reference_pages import DOCS

PAGE = (DOCS / "how-to" / "corporate-network.md").read_text(encoding="utf-8")
GATEWAY = root("Gateway Root CA", "Zscaler Inc.")
HOST = "mcp.example.com"
TOKEN = "token-that-lives-for-minutes"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the page's commands are those of a POSIX shell")


def blocks(language: str) -> list[str]:
    """The page's blocks of this language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def entries() -> list[dict[str, Any]]:
    """All entries of the page."""
    return [entry for block in blocks("json") for entry in json.loads(block)["mcpServers"].values()]


def entry_with(word: str) -> dict[str, Any]:
    (found,) = [entry for entry in entries() if word in json.dumps(entry)]
    return found


class Company(NamedTuple):
    """The network, and what lies on the laptop's disk."""

    server: EveryWire
    gateway: Interceptor
    folder: Path
    environ: dict[str, str]
    """What a shell on the laptop has: the folder of `company-token` in PATH, and the proxy."""

    def here(self, text: str) -> str:
        """The page's text with the names that hold in this network."""
        return text.replace("http://proxy.example.com:8080", self.gateway.url).replace("/etc/company", str(self.folder))

    def command(self, entry: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
        """The arguments and the additional variables of an entry."""
        given = json.loads(self.here(json.dumps(entry)))
        assert given["command"] == "mcp-remote-py"
        return given["args"], given.get("env", {})

    @property
    def trusting(self) -> dict[str, str]:
        """The environment of a laptop whose system trusts the gateway."""
        return {**self.environ, "SSL_CERT_FILE": str(self.folder / "gateway root.pem")}


@pytest.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    folder = tmp_path / "etc" / "company"
    folder.mkdir(parents=True)
    (folder / "gateway root.pem").write_bytes(GATEWAY.pem)
    for block in blocks("toml"):
        name = re.match(r"# /etc/company/(\S+)", block)
        assert name is not None
        (folder / name.group(1)).write_text(block, encoding="utf-8")
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "company-token"
    command.write_text(f"#!{sys.executable}\nimport sys\nassert sys.argv[1] == 'print'\nprint({TOKEN!r})\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    real = issue(HOST, by=root("Example Server CA")).server()
    async with every_wire(real) as server, intercepting(GATEWAY, server.ports["https"]) as gateway:
        path = os.pathsep.join([str(programs), str(Path(script("mcp-remote-py")).parent), os.environ["PATH"]])
        environ = {**clean_environment(), "PATH": path, "HTTPS_PROXY": gateway.url}
        config = (folder / "mcp.toml").read_text(encoding="utf-8")
        (folder / "mcp.toml").write_text(config.replace("http://proxy.example.com:8080", gateway.url))
        yield Company(server, gateway, folder, environ)


async def shell(command: str, environ: dict[str, str]) -> tuple[str, str, int]:
    """Run a line in a shell; returns what it printed on stdout and stderr, and its exit code."""
    process = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environ
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return out.decode(), err.decode(), process.returncode or 0


async def works(host: Host, company: Company) -> None:
    """The whole way: the host's greeting is answered by the server, through the gateway."""
    answer = await host.greet()
    assert answer.get("result", {}).get("serverInfo", {}).get("name") == "every wire", f"{answer} {host.log.decode()}"
    assert set(company.gateway.targets) == {f"{HOST}:443"}
    await host.end()


def test_the_page_has_what_this_file_runs() -> None:
    assert len(blocks("sh")) == 2
    assert len(entries()) == 6
    assert [tomllib.loads(block)["proxy"] for block in blocks("toml")] == ["http://proxy.example.com:8080"]


async def test_print_config_names_the_proxy_and_the_certificates(company: Company) -> None:
    out, err, code = await shell(blocks("sh")[0], company.trusting)
    assert code == 0, err
    assert f"https://{HOST}/mcp" in out
    assert "HTTPS_PROXY" in out
    assert "SSL_CERT_FILE" in out
    assert company.gateway.targets == []


async def test_by_hand_one_line_comes_back(company: Company) -> None:
    out, err, _ = await shell(blocks("sh")[1], company.trusting)
    assert json.loads(out)["result"]["serverInfo"]["name"] == "every wire", err
    refused, _, _ = await shell(blocks("sh")[1], company.environ)
    error = json.loads(refused)["error"]
    told = f"{error['message']} {error['data']['hint']}"
    assert HOST in told
    assert "Zscaler" in told
    assert "--ca-bundle" in told


async def test_the_entry_that_names_the_gateways_root(company: Company) -> None:
    arguments, more = company.command(entry_with("--ca-bundle"))
    async with launch(*arguments, env={**company.environ, **more}) as host:
        await works(host, company)


@pytest.mark.parametrize("variable", ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
async def test_an_old_entry_names_it_in_a_variable(company: Company, variable: str) -> None:
    assert variable in PAGE
    environ = {**company.environ, variable: str(company.folder / "gateway root.pem")}
    async with launch(f"https://{HOST}/mcp", env=environ) as host:
        await works(host, company)


@pytest.mark.parametrize("word", ["HTTPS_PROXY", '"--proxy"'])
async def test_the_entries_that_name_the_proxy(company: Company, word: str) -> None:
    arguments, more = company.command(entry_with(word))
    environ = company.trusting
    del environ["HTTPS_PROXY"]
    async with launch(*arguments, env={**environ, **more}) as host:
        await works(host, company)


async def test_the_entry_with_a_command_for_the_token(company: Company) -> None:
    arguments, more = company.command(entry_with('"--bearer-command"'))
    async with launch(*arguments, env={**company.trusting, **more}) as host:
        await works(host, company)
    assert set(company.server.headers("authorization")) == {f"Bearer {TOKEN}"}
    assert TOKEN not in host.log.decode()


async def test_the_entry_of_four_lines_with_its_file(company: Company) -> None:
    arguments, more = company.command(entry_with("--profile"))
    environ = dict(company.environ)
    del environ["HTTPS_PROXY"]
    async with launch(*arguments, env={**environ, **more}) as host:
        await works(host, company)
    assert set(company.server.headers("authorization")) == {f"Bearer {TOKEN}"}


async def test_the_entry_that_shows_a_certificate(company: Company) -> None:
    clients = root("Example Client CA")
    laptop = issue(by=clients, name="laptop", use=CLIENTS)
    (company.folder / "laptop.pem").write_bytes(laptop.pem)
    arguments, more = company.command(entry_with("--client-key"))
    password = BestAvailableEncryption(more["LAPTOP_KEY_PASSWORD"].encode())
    (company.folder / "laptop.key").write_bytes(laptop.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, password))
    context = issue(HOST, by=GATEWAY).server(asks=clients)
    async with every_wire(context) as server, _Passing(server.ports["https"]) as proxy:
        environ = {**company.trusting, **more, "HTTPS_PROXY": proxy.url()}
        async with launch(*arguments, env=environ) as host:
            answer = await host.greet()
            assert "result" in answer, f"{answer} {host.log.decode()}"
            await host.end()
        async with launch(arguments[0], env=environ) as host:
            error = (await host.greet())["error"]
            assert "client certificate" in f"{error['message']} {error['data']['hint']}"


class _Passing(ConnectProxy):
    """A proxy that leads everything to one port and opens nothing: mutual TLS cannot be intercepted."""

    def __init__(self, upstream: int) -> None:
        super().__init__()
        self._upstream = upstream

    async def _pump(
        self, tunnel: Tunnel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, first: bytes = b""
    ) -> None:
        del port
        await super()._pump(tunnel, reader, writer, self._upstream, first)


async def test_what_the_page_warns_of(company: Company) -> None:
    environ = {**company.environ, "NODE_TLS_REJECT_UNAUTHORIZED": "0"}
    async with launch(f"https://{HOST}/mcp", env=environ) as host:
        assert "error" in await host.greet(), "the variable has no effect"
    async with launch(f"https://{HOST}/mcp", "--insecure", HOST, env=environ) as host:
        await works(host, company)
    assert b"--insecure" in host.log
