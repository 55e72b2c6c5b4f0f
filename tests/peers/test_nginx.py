"""A real nginx in front of a real server, with the file that `deploy nginx` wrote: every wire, every kind of name.

The clients reach names that only the tests' proxy knows, over TLS, as clients out in the world would.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.peers import nginx as nginx_program
from tests.peers.nginx import checked, free_ports, nginx
from tests.peers.programs import console_script, running
from tests.support.certificates import authority
from tests.support.connect_proxy import ConnectProxy
from tests.support.host import clean_environment, launch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform == "win32", reason="nginx is a program of POSIX systems here"),
]

CHILDREN = Path(__file__).parent.parent / "support" / "children"
SERVERS = {name: {"command": sys.executable, "args": [str(CHILDREN / "slow.py")]} for name in ("slow", "Two Words")}
TOKEN = "a-token-of-this-test-only"
DOMAIN = "example.test"


class Site(NamedTuple):
    """What runs: the ports of nginx, and the proxy that knows its names."""

    tls: int
    plain: int
    upstream: int
    proxy: str
    bundle: Path

    def environment(self) -> dict[str, str]:
        return clean_environment(MCP_AUTH_TOKEN=TOKEN, HTTPS_PROXY=self.proxy, HTTP_PROXY=self.proxy)

    def client(self) -> httpx.AsyncClient:
        context = ssl.create_default_context(cafile=str(self.bundle))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.AsyncClient(proxy=self.proxy, verify=context, headers=headers, trust_env=False)


def deployed(folder: Path, config: Path, *words: str) -> Path:
    """Write the file, as an operator would."""
    line = [console_script("mcp-remote-server"), "deploy", "nginx", "--config", str(config), "--out", str(folder)]
    done = subprocess.run([*line, *words], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "mcp-remote-server.conf"


@contextlib.asynccontextmanager
async def serving(
    folder: Path, *words: str, per_server: bool = False, to_nginx: Sequence[str] = (), silence: str = "1h"
) -> AsyncIterator[Site]:
    """Run the server, nginx in front of it, and the proxy. `words` are told to the server and to `deploy`, `to_nginx`
    to `deploy` alone; `silence` is how long nginx lets a stream be quiet."""
    config, bundle = folder / "servers.json", folder / "root.pem"
    config.write_text(json.dumps({"mcpServers": SERVERS}))
    authority().cert_pem.write_to_path(str(bundle))
    issued = authority().issue_cert(f"*.mcp.{DOMAIN}", f"mcp.{DOMAIN}")
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    first = free_ports(3 + len(SERVERS))
    plain, tls, upstream = first, first + 1, first + 2
    shared = ["--domain", DOMAIN, "--port", str(upstream), *words]
    if per_server:
        shared += ["--port-per-server", str(upstream + 1)]
    listen = ["--listen", f"127.0.0.1:{plain}", "--tls-listen", f"127.0.0.1:{tls}"]
    certificate = ["--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")]
    file = deployed(folder, config, *shared, *listen, *certificate, *to_nginx)
    text = file.read_text()
    assert text.count("proxy_read_timeout 1h;") == text.count(" ssl;")  # in each block that leads to the server
    file.write_text(text.replace("proxy_read_timeout 1h;", f"proxy_read_timeout {silence};"))
    checked(folder, file)
    line = [console_script("mcp-remote-server"), "--config", str(config), "--auth-token-env", "TOKEN", *shared]
    async with running(line, env={"TOKEN": TOKEN}) as server, ConnectProxy() as proxy:
        await server.logged(re.compile("listening on"))
        async with nginx(folder, file, tls):
            yield Site(tls, plain, upstream, proxy.url(), bundle)


async def converses(site: Site, url: str, *, tool: str = "t") -> None:
    """A whole session of the bridge: what is said during a call arrives while the call is still running."""
    words = ["--ca-bundle", str(site.bundle)]
    kind = "sse" if url.endswith("/sse") else "ws" if url.endswith("/ws") else "http"
    async with launch(url, *words, "--transport", f"{kind}-only", env=site.environment()) as host:
        assert "result" in await host.greet(), host.log.decode()
        params = {"name": tool, "arguments": {}, "wait": 5, "_meta": {"progressToken": "p"}}
        call = host.ask("tools/call", params)
        progress = await host.line()
        assert progress["method"] == "notifications/progress"
        assert not call.done(), "it came together with the answer: something buffers"
        async with asyncio.timeout(20):
            assert "result" in await call
        assert await host.end() == 0


WIRES = {"http": ("https", "/mcp"), "sse": ("https", "/sse"), "ws": ("wss", "/ws")}


@pytest.mark.parametrize("wire", list(WIRES))
async def test_every_wire_by_host_name_and_by_path(wire: str, tmp_path: Path) -> None:
    scheme, path = WIRES[wire]
    async with serving(tmp_path) as site:
        by_host = f"{scheme}://two-words.mcp.{DOMAIN}:{site.tls}{path}"
        by_path = f"{scheme}://mcp.{DOMAIN}:{site.tls}/slow{path}"
        async with asyncio.TaskGroup() as group:
            for url in (by_host, by_path):
                group.create_task(converses(site, url))


async def test_ports_of_their_own(tmp_path: Path) -> None:
    async with serving(tmp_path, per_server=True) as site, asyncio.TaskGroup() as group:
        for wire, host in (("http", "slow"), ("ws", "two-words"), ("sse", "two-words")):
            scheme, path = WIRES[wire]
            group.create_task(converses(site, f"{scheme}://{host}.mcp.{DOMAIN}:{site.tls}{path}"))


@pytest.mark.parametrize("wire", list(WIRES))
async def test_the_merged_server(wire: str, tmp_path: Path) -> None:
    scheme, path = WIRES[wire]
    async with serving(tmp_path, "--aggregate", to_nginx=["--rate-limit", "10r/s"]) as site:
        words = ["--ca-bundle", str(site.bundle), "--transport", f"{wire}-only"]
        url = f"{scheme}://mcp.{DOMAIN}:{site.tls}{path}"
        async with launch(url, *words, env=site.environment()) as host:
            assert "result" in await host.greet(), host.log.decode()
            assert "result" in await host.request("tools/list")


async def test_how_long_a_stream_may_be_quiet_is_what_the_file_says(tmp_path: Path) -> None:
    # An hour would be long to wait for, and so would the minute of nginx's own default.
    async with (
        serving(tmp_path, silence="1s") as site,
        site.client() as client,
        client.stream("GET", f"https://slow.mcp.{DOMAIN}:{site.tls}/sse") as stream,
    ):
        assert stream.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            await stream.aread()


async def test_what_operators_ask_is_not_answered_through_nginx(tmp_path: Path) -> None:
    async with serving(tmp_path, "--aggregate") as site, site.client() as client:
        front, own = f"https://mcp.{DOMAIN}:{site.tls}", f"https://slow.mcp.{DOMAIN}:{site.tls}"
        assert (await client.get(f"{front}/health")).json()["status"] == "healthy"
        assert (await client.get(f"{own}/health")).status_code == 200
        asked = ["/listmcp", "/listtools/slow", "/health/servers", "/health/resources", "/readyz", "/restart/slow"]
        changed = ["/cleanup", "/listmcp/", "//listmcp", "/x/../listmcp", "/%6cistmcp", "/slow/../cleanup"]
        for path in (*asked, *changed):
            for origin in (front, own):
                for method in ("GET", "POST"):
                    answer = await client.request(method, f"{origin}{path}")
                    assert answer.status_code == 404, (method, path)
        hidden = (b"/x/../listmcp", b"/cleanup/../slow/mcp", b"/listtools/%2E./slow/mcp", b"/listtools/..%2fslow/mcp")
        for target in hidden:
            for method in ("GET", "POST"):  # as they are; above, this client takes the dots for what they mean
                answer = await client.request(method, f"{front}/", extensions={"target": target})
                assert (answer.status_code, "nginx" in answer.text) == (404, True), (method, target)
        assert (await client.post(f"{front}/slow", content=b"x")).status_code == 415  # Streamable HTTP, as /slow/ is
        for url in (f"{front}/slow/mcp", f"{front}/Two%20Words/mcp?x=../%2f"):
            assert (await client.get(url, headers={"Authorization": "Bearer wrong"})).status_code == 401


async def test_a_body_is_limited_and_plain_http_is_sent_to_tls(tmp_path: Path) -> None:
    async with serving(tmp_path, "--max-body", "64KiB") as site, site.client() as client:
        url = f"https://slow.mcp.{DOMAIN}:{site.tls}/mcp"
        assert (await client.post(url, content=b" " * 70_000)).status_code == 413
        moved = await client.post(f"http://slow.mcp.{DOMAIN}:{site.plain}/mcp?a=b")
        assert moved.status_code == 308
        assert moved.headers["Location"] == f"https://slow.mcp.{DOMAIN}/mcp?a=b"


async def test_a_rate_limit_answers_429(tmp_path: Path) -> None:
    config = tmp_path / "servers.json"
    config.write_text(json.dumps({"mcpServers": SERVERS}))
    port = free_ports(1)
    words = ["--domain", DOMAIN, "--rate-limit", "1r/m", "--listen", f"127.0.0.1:{port}", "--port", "9"]
    async with (
        nginx(tmp_path, deployed(tmp_path, config, *words), port),
        httpx.AsyncClient(trust_env=False) as client,
    ):
        headers = {"Host": f"slow.mcp.{DOMAIN}"}
        answers = [await client.get(f"http://127.0.0.1:{port}/mcp", headers=headers) for _ in range(25)]
    assert {answer.status_code for answer in answers} == {502, 429}


NAMES = [
    "a;b",
    "x\n}; evil {",
    'quo"te',
    "$host",
    "a b",
    "ünï",
    "日本",
    "-",
    "_",
    "a" * 200,
    "servers",
    "mcp",
    "%41",
    "{{7*7}}",
]


@pytest.mark.parametrize("words", [[], ["--aggregate", "--rate-limit", "10r/s"], ["--port-per-server", "7001"]])
def test_nginx_accepts_the_file_whatever_servers_are_called(words: list[str], tmp_path: Path) -> None:
    config = tmp_path / "servers.json"
    config.write_text(json.dumps({"mcpServers": dict.fromkeys(NAMES, SERVERS["slow"])}))
    listen = ["--listen", f"127.0.0.1:{free_ports(1)}"]
    for domain in (DOMAIN, f"a-domain-of-a-length-that-few-have.{'b' * 60}.example.test"):
        file = deployed(tmp_path, config, "--domain", domain, *listen, *words)
        assert "[warn]" not in checked(tmp_path, file)
        assert "evil {" not in file.read_text()


def test_nginx_accepts_the_default_addresses(tmp_path: Path) -> None:
    config = tmp_path / "servers.json"
    config.write_text(json.dumps({"mcpServers": SERVERS}))
    file = deployed(tmp_path, config, "--domain", DOMAIN)
    # whether this user may bind port 80 is not the question, so it is another port of the same form
    port = free_ports(1)
    text = file.read_text()
    assert "listen 80;\n    listen [::]:80;" in text
    file.write_text(text.replace("listen 80;", f"listen {port};").replace("listen [::]:80;", ""))
    checked(tmp_path, file)


def test_the_program_is_looked_for_where_root_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert nginx_program.system_program("nginx")


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_program_that_is_missing_fails_where_everything_has_to_be_there(
    ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no-such-program"):
        nginx_program.system_program("no-such-program")
