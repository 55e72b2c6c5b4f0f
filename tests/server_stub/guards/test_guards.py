"""The guards over real sockets: Host, Origin, CORS, tokens, on every wire; and what probes ask. (W 46, 47, 148)"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import jwt
import pytest

from mcp_remote_py import __version__
from server_stub.core.access import Doors
from server_stub.settings import Auth, Jwt, Limits, ServeSettings
from tests.server_stub.links import Backends, initialize, request, serving, within
from tests.server_stub.mcp_client import BOTH, JSON, McpClient, new_http

SECRET = "a secret of more than thirty-two bytes"
TOKENS = Auth(tokens=("alice's token", "bob's token"))
WIRES = [("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("GET", "/sse"), ("POST", "/messages"), ("GET", "/ws")]


@asynccontextmanager
async def server(
    settings: ServeSettings | None = None, backends: Backends | None = None
) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    async with serving(backends or Backends(), settings) as url, new_http() as http:
        yield http, url


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# --- Host and Origin -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "file://", "http://localhost.evil.example"])
async def test_a_foreign_origin_is_403_on_every_wire(origin: str) -> None:
    backends = Backends()
    async with server(backends=backends) as (http, url):
        for method, path in WIRES:
            response = await http.request(method, url + path, headers={"Origin": origin, **JSON})
            assert response.status_code == 403, (method, path)
            assert response.json()["id"] is None
    assert backends.links == []


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8080", "[::2]", "10.0.0.1", "a b", ""])
async def test_a_foreign_host_is_421_on_every_wire(host: str) -> None:
    async with server() as (http, url):
        for method, path in WIRES:
            response = await http.request(method, url + path, headers={"Host": host, **JSON})
            assert response.status_code == 421, (method, path)


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:80", "LOCALHOST.", "127.1.2.3:9"])
@pytest.mark.parametrize("origin", [None, "http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443"])
async def test_loopback_hosts_and_origins_pass_with_any_port(host: str, origin: str | None) -> None:
    async with server() as (http, url):
        headers = {"Host": host, **JSON, **({"Origin": origin} if origin else {})}
        assert (await http.post(f"{url}/mcp", json=initialize(), headers=headers)).status_code == 200


async def test_listed_hosts_and_origins_and_the_public_url_pass() -> None:
    doors = Doors(
        hosts=("mcp.example.com", "other.example:8443"),
        origins=("https://app.example.com", "null", "vscode-webview://panel"),
        public_url="https://public.example/tools",
    )
    async with server(ServeSettings(doors=doors)) as (http, url):

        async def status(name: str, value: str) -> int:
            response = await http.post(f"{url}/mcp", json=initialize(), headers={**JSON, name: value})
            return response.status_code

        for host in ("mcp.example.com", "MCP.example.com:1", "other.example:8443", "public.example:443"):
            assert await status("Host", host) == 200, host
        assert await status("Host", "other.example:1") == 421
        for origin in (*doors.origins, "https://APP.example.com", "https://public.example"):
            assert await status("Origin", origin) == 200, origin
        for origin in ("http://app.example.com", "https://app.example.com:8443", "https://public.example:1"):
            assert await status("Origin", origin) == 403, origin


async def test_an_unknown_path_is_404_for_everyone_and_a_wrong_method_is_405_before_the_token_is_asked() -> None:
    async with server(ServeSettings(auth=TOKENS)) as (http, url):
        headers = {"Host": "evil.example", "Origin": "https://evil.example"}
        assert (await http.get(f"{url}/nowhere", headers=headers)).status_code == 404
        assert (await http.put(f"{url}/mcp")).status_code == 405
        assert (await http.put(f"{url}/mcp", headers=headers)).status_code == 421


# --- CORS ------------------------------------------------------------------------------------------------------------

PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type, Mcp-Param-A, x"}


async def test_cors_is_off_until_an_origin_is_named() -> None:
    async with server() as (http, url):
        headers = {"Origin": "http://localhost:3000"}
        response = await http.post(f"{url}/mcp", json=initialize(), headers={**JSON, **headers})
        assert response.status_code == 200
        assert not [name for name in response.headers if name.lower().startswith("access-control")]
        assert (await http.options(f"{url}/mcp", headers={**headers, **PREFLIGHT})).status_code == 405


async def test_a_named_origin_may_read_answers_errors_and_streams() -> None:
    origin = "https://app.example.com"
    settings = ServeSettings(doors=Doors(cors_origins=(origin,)), auth=TOKENS)
    async with server(settings) as (http, url):
        mine = {"Origin": origin}
        preflight = await http.options(f"{url}/mcp", headers={**mine, **PREFLIGHT})
        assert preflight.status_code == 204
        allowed = preflight.headers["Access-Control-Allow-Headers"].split(", ")
        assert {"Authorization", "Content-Type", "Accept", "Last-Event-ID", "Mcp-Session-Id"} < set(allowed)
        assert {"MCP-Protocol-Version", "Mcp-Method", "Mcp-Name", "Mcp-Param-A"} < set(allowed)
        assert "x" not in allowed
        assert "DELETE" in preflight.headers["Access-Control-Allow-Methods"]
        refused = await http.post(f"{url}/mcp", json=initialize(), headers={**JSON, **mine})
        answered = await http.post(
            f"{url}/mcp", json=initialize(), headers={**JSON, **mine, **bearer(TOKENS.tokens[0])}
        )
        assert (refused.status_code, answered.status_code) == (401, 200)
        lost = await http.get(f"{url}/nowhere", headers=mine)
        async with http.stream("GET", f"{url}/sse", headers={**mine, **bearer(TOKENS.tokens[0])}) as stream:
            for response in (preflight, refused, answered, lost, stream):
                assert response.headers["Access-Control-Allow-Origin"] == origin
                assert response.headers["Access-Control-Expose-Headers"] == "Mcp-Session-Id, WWW-Authenticate"
                assert "Origin" in response.headers["Vary"]
                assert "Access-Control-Allow-Credentials" not in response.headers
        other = await http.options(f"{url}/mcp", headers={"Origin": "https://other.example", **PREFLIGHT})
        assert (other.status_code, "Access-Control-Allow-Origin" in other.headers) == (403, False)
        assert (await http.options(f"{url}/nowhere", headers={**mine, **PREFLIGHT})).status_code == 404


async def test_any_origin_is_never_combined_with_credentials(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with server(ServeSettings(doors=Doors(cors_origins=("*",)))) as (http, url):
            headers = {"Origin": "https://anyone.example"}
            response = await http.post(f"{url}/mcp", json=initialize(), headers={**JSON, **headers})
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in response.headers
            null = await http.post(f"{url}/mcp", json=initialize(), headers={**JSON, "Origin": "null"})
            assert null.status_code == 403
    assert "any web page may use this server" in caplog.text


# --- tokens ----------------------------------------------------------------------------------------------------------


async def test_without_a_token_401_with_a_challenge_and_with_a_wrong_one_the_reason() -> None:
    async with server(ServeSettings(auth=TOKENS)) as (http, url):
        for method, path in WIRES:
            if path == "/ws":
                continue  # whose first message may be the token
            missing = await http.request(method, url + path)
            assert (missing.status_code, missing.json()) == (401, {"error": "Unauthorized"}), (method, path)
            assert missing.headers["WWW-Authenticate"] == 'Bearer realm="mcp"'
            wrong = await http.request(method, url + path, headers=bearer("mallory's token"))
            assert (wrong.status_code, wrong.json()) == (401, {"error": "Invalid token"}), (method, path)
            assert 'error="invalid_token"' in wrong.headers["WWW-Authenticate"]
        basic = await http.post(f"{url}/mcp", headers={"Authorization": "Basic YTpi"})
        assert (basic.status_code, basic.json()) == (401, {"error": "Unauthorized"})
        assert "error=" not in basic.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "headers", [{"authorization": "bearer  alice's token"}, {"X-API-Key": "alice's token"}, bearer("bob's token")]
)
async def test_a_token_or_an_api_key_lets_in(headers: dict[str, str]) -> None:
    async with server(ServeSettings(auth=TOKENS)) as (http, url):
        assert (await http.post(f"{url}/mcp", json=initialize(), headers={**JSON, **headers})).status_code == 200


async def test_a_session_belongs_to_who_opened_it_and_another_sees_the_404_of_an_unknown_one() -> None:
    backends = Backends()
    async with server(ServeSettings(auth=TOKENS), backends) as (http, url):
        alice = McpClient(http, f"{url}/mcp", bearer("alice's token"))
        await alice.start()
        bob = McpClient(http, f"{url}/mcp", bearer("bob's token"))
        bob.headers["Mcp-Session-Id"] = alice.headers["Mcp-Session-Id"]
        theirs = await bob.post(request(1, "ping"))
        assert theirs.status_code == 404
        assert (await bob.get(Accept="text/event-stream")).status_code == 404
        assert (await bob.delete()).status_code == 404
        bob.headers["Mcp-Session-Id"] = "unknown"
        assert (await bob.post(request(1, "ping"))).content == theirs.content
        assert (await alice.post(request(1, "ping"))).status_code == 200
        stranger = await http.post(
            f"{url}/mcp", json=request(1, "ping"), headers={**alice.headers, "Authorization": ""}
        )
        assert stranger.status_code == 401  # a session is no authentication
        assert [link.peer.principal for link in backends.links] == [backends.links[0].peer.principal]
        assert "alice" not in str(backends.links[0].peer.principal)


async def test_an_sse_session_belongs_to_who_opened_it() -> None:
    async with (
        server(ServeSettings(auth=TOKENS)) as (http, url),
        http.stream("GET", f"{url}/sse", headers=bearer("alice's token")) as response,
    ):
        lines = response.aiter_lines()
        while not (line := await within(anext(lines))).startswith("data: "):
            pass
        where = url + line.removeprefix("data: ")
        assert (await http.post(where, json=request(1, "ping"), headers=bearer("bob's token"))).status_code == 404
        mine = await http.post(where, json=request(1, "ping"), headers=bearer("alice's token"))
        assert mine.status_code == 202


async def test_a_json_web_token_lets_in_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ServeSettings(auth=Auth(jwt=Jwt(secret=SECRET)))
    backends = Backends()
    async with server(settings, backends) as (http, url):
        now = 4_000_000_000
        good = jwt.encode({"exp": now, "iss": "https://issuer", "sub": "alice"}, SECRET)
        renewed = jwt.encode({"exp": now + 1, "iss": "https://issuer", "sub": "alice"}, SECRET)
        old = jwt.encode({"exp": 1_000_000_000, "sub": "alice"}, SECRET)
        client = McpClient(http, f"{url}/mcp", bearer(good))
        await client.start()
        client.headers.update(bearer(renewed))
        assert (await client.post(request(1, "ping"))).status_code == 200  # the same principal
        client.headers.update(bearer(old))
        assert (await client.post(request(1, "ping"))).json() == {"error": "Invalid token"}
        as_key = await http.post(f"{url}/mcp", json=initialize(), headers={**JSON, "X-API-Key": good})
        assert as_key.status_code == 401


async def test_no_token_and_no_session_id_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with server(ServeSettings(auth=TOKENS)) as (http, url):
            alice = McpClient(http, f"{url}/mcp", bearer("alice's token"))
            await alice.start()
            await alice.post(request(1, "ping"), Authorization="Bearer mallory's token")
            async with http.stream("GET", f"{url}/sse", headers=bearer("bob's token")) as response:
                lines = response.aiter_lines()
                while not (line := await within(anext(lines))).startswith("data: "):
                    pass
                await http.post(url + line[6:], json=request(1, "ping"), headers=bearer("bob's token"))
            session = alice.headers["Mcp-Session-Id"]
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith(("server_stub", "aio")))
    assert "POST /messages -> 202" in ours
    for secret in (*TOKENS.tokens, "mallory", session, line.partition("session_id=")[2]):
        assert secret not in ours


# --- probes, errors, raw HTTP ----------------------------------------------------------------------------------------


async def test_probes_pass_by_address_and_without_a_token() -> None:
    settings = ServeSettings(auth=TOKENS, service_name="whitelist-mcp")
    async with server(settings) as (http, url):
        health = await http.get(f"{url}/health", headers={"Host": "10.1.2.3:8080"})
        assert health.json() == {"status": "healthy", "service": "whitelist-mcp", "version": __version__}
        ready = await http.get(f"{url}/readyz", headers={"Host": "10.1.2.3:8080"})
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
        assert (await http.head(f"{url}/health")).status_code == 200


async def test_a_bug_is_500_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def broken(peer: object) -> object:
        raise RuntimeError("the secret of the bug")

    async with server(backends=broken) as (http, url):  # type: ignore[arg-type]
        response = await http.post(f"{url}/mcp", json=initialize(), headers=JSON)
        assert (response.status_code, response.json()) == (500, {"error": "Internal error"})
        assert "the secret of the bug" in caplog.text


@pytest.mark.parametrize(
    "sent",
    [b"GET /\x00 HTTP/1.1\r\n\r\n", b"NONSENSE\r\n\r\n", b"GET /mcp HTTP/1.1\r\nX: " + b"x" * 20000 + b"\r\n\r\n"],
)
async def test_what_is_no_http_is_a_4xx_without_a_traceback(sent: bytes) -> None:
    async with server() as (http, url):
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        answer = await within(reader.read())
        writer.close()
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
        assert b"Traceback" not in answer
        assert (await http.get(f"{url}/health")).status_code == 200


async def test_a_request_without_host_is_refused() -> None:
    async with server() as (_, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"POST /mcp HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        answer = await within(reader.read())
        writer.close()
        assert answer.split()[1] in (b"400", b"421")


async def test_a_host_in_the_request_line_counts_before_the_header() -> None:
    async with server() as (_, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"POST http://evil.example/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}")
        answer = await within(reader.readline())
        writer.close()
        assert answer.split()[1] == b"421"


async def test_a_stranger_with_a_large_body_learns_that_he_is_a_stranger() -> None:
    settings = ServeSettings(auth=TOKENS, limits=Limits(body=100))
    async with server(settings) as (http, url):
        big = json.dumps(request(1, "echo", text="x" * 1000))
        foreign = await http.post(f"{url}/mcp", content=big, headers={**JSON, "Origin": "https://evil.example"})
        unknown = await http.post(f"{url}/mcp", content=big, headers=JSON)
        known = await http.post(f"{url}/mcp", content=big, headers={**JSON, "Accept": BOTH, **bearer("bob's token")})
        assert [one.status_code for one in (foreign, unknown, known)] == [403, 401, 413]
