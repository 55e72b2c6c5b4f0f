"""Sessions at the most talkative level, and then every artefact searched for every secret in every spelling.

The far end repeats whatever it hears. What it sends as an answer passes to the host unchanged, so on stdout only the
bridge's own errors are searched. A new way to give a secret is a new row: of `AUTHORIZATIONS` where it makes that
header, of `everywhere` otherwise.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
from collections.abc import Callable, Iterable
from functools import reduce
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.gossip import COOKIE, LOST, SESSION, Gossip, gossip_over, gossiping_proxy
from tests.support.host import Host, clean_environment, launch
from tests.support.scripted_server import closed_port
from tests.support.spellings import written

HEADER = r"""h34der"with\all/kinds+of=signs"""
FILED = "f1led-Header~Value!9"
QUERY = 'qu3ry /+"value%41=='
TOKEN = "t0ken-in-a-Variable.9/8+7=="
PASSWORD = 'p4ss:w"ord/+\\'
PROXY_PASSWORD = "pr0xy/pass+word"
SIGNING_KEY = "a-signing-key-0f-thirty-two-bytes-or-more"
OUR_ERRORS = range(-31099, -30999)


class Given(NamedTuple):
    """Arguments and variables that give secrets, and the secrets.

    Tokens that are made later are heard at the far end.
    """

    arguments: list[str]
    variables: dict[str, str]
    secrets: list[str]


Source = Callable[[Path], Given]


def _variable(folder: Path) -> Given:
    del folder
    return Given([], {"MCP_AUTH_TOKEN": TOKEN}, [TOKEN])


def _header(folder: Path) -> Given:
    del folder
    return Given(["--header", f"Authorization: Bearer {TOKEN}"], {}, [TOKEN])


def _bearer_file(folder: Path) -> Given:
    path = folder / "token"
    path.write_text(TOKEN + "\n")
    return Given(["--bearer-file", str(path)], {}, [TOKEN])


def _bearer_command(folder: Path) -> Given:
    """Prints another token each time, on stderr as well."""
    path = folder / "token.py"
    path.write_text(
        "import os, sys\n"
        "token = 'c0mmand-' + os.urandom(16).hex()\n"
        "sys.stderr.write(f'the token is {token}\\n')\n"
        "print(token)\n"
    )
    return Given(["--bearer-command", f"'{sys.executable}' '{path}'"], {}, [])


def _basic(folder: Path) -> Given:
    path = folder / "password"
    path.write_text(PASSWORD + "\n")
    pair = f"somebody:{PASSWORD}"
    encoded = base64.b64encode(pair.encode()).decode()
    return Given(["--basic", "somebody", "--basic-password-file", str(path)], {}, [PASSWORD, pair, encoded])


def _jwt(folder: Path) -> Given:
    del folder
    return Given(["--jwt-key-env", "OUR_KEY", "--jwt-subject", "me"], {"OUR_KEY": SIGNING_KEY}, [SIGNING_KEY])


AUTHORIZATIONS: dict[str, Source] = {
    "MCP_AUTH_TOKEN": _variable,
    "--header": _header,
    "--bearer-file": _bearer_file,
    "--bearer-command": _bearer_command,
    "--basic": _basic,
    "--jwt-key-env": _jwt,
}


def everywhere(folder: Path) -> Given:
    """Secrets in all the other places at once. The short ones are too short to be looked for everywhere."""
    path = folder / "headers"
    path.write_text(f"X-Filed: {FILED}\nX-Filed-Pin: 9731\n")
    arguments = ["--header", f"X-Api-Key: {HEADER}", "--header", "X-Pin: 4719", "--header-file", str(path)]
    return Given(arguments, {}, [HEADER, FILED, QUERY, COOKIE, SESSION])


SHORT = [
    re.compile(rf"\b{name}\\*[\"']?: ?\\*[\"']?{value}", re.IGNORECASE)
    for name, value in (("x-pin", "4719"), ("x-filed-pin", "9731"))
] + [re.compile(r"\b(room|token)=(8642|13)\b")]


def query_of(url: str) -> str:
    """The URL with secrets in its query, as a person might copy it."""
    signs = (("%", "%25"), (" ", "%20"), ("+", "%2B"), ('"', "%22"))
    query = reduce(lambda text, pair: text.replace(*pair), signs, QUERY)
    return f"{url}?key={query}&room=8642"


# --- Searching -------------------------------------------------------------------------------------------------------


def own_errors(host: Host) -> str:
    """What the bridge itself said to the host."""
    docs: list[dict[str, Any]] = [json.loads(line) for line in host.heard]
    return "\n".join(json.dumps(doc, ensure_ascii=False) for doc in docs if code_of(doc) in OUR_ERRORS)


def code_of(doc: dict[str, Any]) -> int:
    return int(doc.get("error", {}).get("code", 0))


FILLER = "x" * 1023 + "\n"


def logged(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8").replace(FILLER, "") for path in folder.glob("bridge.log*")}


def leaks(artefacts: dict[str, str], secrets: Iterable[str]) -> list[str]:
    """Every secret that was found, where, how it was spelled, and what stood around it."""
    found = []
    for secret in secrets:
        for spelled in written(secret):
            for name, text in artefacts.items():
                at = text.find(spelled)
                if at >= 0:
                    found.append(
                        f"{name}: {secret!r} as {spelled!r} in {text[max(0, at - 60) : at + len(spelled) + 20]!r}"
                    )
    for pattern in SHORT:
        found += [f"{name}: {hit.group()!r}" for name, text in artefacts.items() for hit in pattern.finditer(text)]
    return found


def test_the_search_itself_finds_what_is_there() -> None:
    text = base64.b64encode(f"xy{TOKEN}".encode()).decode()
    assert leaks({"a": f"Bearer {TOKEN}"}, [TOKEN])
    assert leaks({"a": text}, [TOKEN])
    assert leaks({"a": r"{\"X-Pin\": \"4719\"}"}, [])
    assert leaks({"a": "https://example.com/?room=8642"}, [])
    assert leaks({"a": "the room 8642 and 4719"}, [TOKEN]) == []


# --- Sessions --------------------------------------------------------------------------------------------------------


async def talk(host: Host, wire: str, secrets: list[str]) -> None:
    """A session in which everything is repeated, in results, in notifications and in every kind of failure."""
    await host.greet()
    answer = await host.request(
        "tools/call", {"name": "repeat", "arguments": {"note": secrets, "data": "häßlich \u2028"}}
    )
    assert "result" in answer
    for tool in LOST[wire]:
        answer = await host.request("tools/call", {"name": tool, "arguments": {}})
        assert code_of(answer) in OUR_ERRORS, answer
    host.write(b"no JSON at all: " + TOKEN.encode() + b"\n")
    if wire == "ws":
        answer = await host.request("tools/call", {"name": "goodbye", "arguments": {}})
        assert code_of(answer) in OUR_ERRORS
    await host.end()


@pytest.mark.parametrize("wire", ["http", "sse", "ws"])
@pytest.mark.parametrize("source", AUTHORIZATIONS)
async def test_no_secret_is_in_any_log_or_error_of_the_most_talkative_session(
    wire: str, source: str, tmp_path: Path
) -> None:
    authorization, others, gossip = (
        AUTHORIZATIONS[source](tmp_path),
        everywhere(tmp_path),
        Gossip(COOKIE if wire == "ws" else SESSION),
    )
    style = "json" if wire == "sse" or source == "--basic" else "text"
    log = tmp_path / "bridge.log"
    if source == "--header":
        log.write_text(FILLER * (10 * 1024 - 4))  # it is rotated in the middle of the session
    arguments = [
        "--debug",
        "--log-bodies",
        "--log-file",
        str(log),
        "--log-format",
        style,
        "--transport",
        f"{wire}-only",
    ]
    environment = clean_environment(PYTHONASYNCIODEBUG="1", **authorization.variables, **others.variables)
    secrets = [*authorization.secrets, *others.secrets]
    if wire == "ws":
        secrets.remove(SESSION)  # the socket is the session
    async with gossip_over(wire, gossip) as url:
        every = [query_of(url), *arguments, *authorization.arguments, *others.arguments]
        async with launch(*every, env=environment) as host:
            await talk(host, wire, secrets)
    assert gossip.credentials(), "a token was sent"
    artefacts = {"stderr": host.log.decode(), "stdout": own_errors(host), **logged(tmp_path)}
    assert leaks(artefacts, {*secrets, *gossip.credentials()}) == []
    for name in ("stderr", "bridge.log"):
        assert artefacts[name].count("[secret]") > 5, "it was written down, and masked"
    assert "notifications/message" in artefacts["stderr"]
    assert ("bridge.log.1" in artefacts) == (source == "--header")
    if style == "json":
        entries = [json.loads(line) for line in artefacts["bridge.log"].splitlines()]
        assert "debug" in {entry["level"] for entry in entries}
    if source == "--bearer-command":
        assert artefacts["stderr"].count("the token is [secret]") >= 1
        assert len(gossip.credentials()) > (1 if wire == "http" else 0), "a 401 makes another token"


@pytest.mark.parametrize("scheme", ["http", "https", "wss"])
@pytest.mark.parametrize("status", [HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, HTTPStatus.BAD_GATEWAY])
@pytest.mark.parametrize("place", ["--proxy", "variable"])
async def test_no_secret_of_a_proxy_is_in_any_log_or_error(
    scheme: str, status: HTTPStatus, place: str, tmp_path: Path
) -> None:
    quoted = PROXY_PASSWORD.replace("/", "%2F").replace("+", "%2B")
    pair = f"us3r-of-proxy:{PROXY_PASSWORD}"
    async with gossiping_proxy(status) as (address, gossip):
        proxy = f"http://us3r-of-proxy:{quoted}@{address}"
        url = f"{scheme}://mcp.example.test/mcp?token=13"
        given = ["--proxy", proxy] if place == "--proxy" else []
        variables = {} if given else {"ALL_PROXY": proxy}
        log = tmp_path / "bridge.log"
        arguments = ["--allow-http", "--debug", "--log-bodies", "--log-file", str(log), *given]
        environment = clean_environment(MCP_AUTH_TOKEN=TOKEN, MCP_REMOTE_PY_GREET_AFTER="off", **variables)
        async with launch(url, *arguments, env=environment) as host:
            answer = await host.greet()
            await host.end()
    assert code_of(answer) in OUR_ERRORS
    assert gossip.heard, "the proxy was asked"
    sent = [value for headers in gossip.heard for name, value in headers if name.lower() == "proxy-authorization"]
    assert {value.partition(" ")[2] for value in sent} == {base64.b64encode(pair.encode()).decode()}
    artefacts = {"stderr": host.log.decode(), "stdout": own_errors(host), **logged(tmp_path)}
    assert leaks(artefacts, [TOKEN, PROXY_PASSWORD, quoted, pair]) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["http://127.0.0.1:{port}/mcp?key={secret}", "--transport", "http-only"],
        ["http://127.0.0.1:{port}/mcp?key={secret}", "--transport", "sse-only"],
        ["ws://127.0.0.1:{port}/mcp?key={secret}"],
        ["http://127.0.0.1:{port}/mcp", "--header", "X-Key: {secret}"],
    ],
)
async def test_no_secret_is_in_the_error_for_a_server_that_is_not_there(arguments: list[str]) -> None:
    words = [word.format(port=closed_port(), secret=TOKEN) for word in arguments]
    async with launch(*words, "--debug", "--log-bodies", "--greet-after", "off") as host:
        answer = await host.greet()
        await host.end()
    assert code_of(answer) in OUR_ERRORS
    assert leaks({"stderr": host.log.decode(), "stdout": own_errors(host)}, [TOKEN]) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["https://user:{secret}@example.com/mcp"],
        ["example.com/mcp?token={secret}"],
        ["https://example.com:99999/mcp?token={secret}"],
        ["htps://example.com/mcp?api_key={secret}"],
        ["https://example.com/mcp?a=1 2&token={secret}"],
        ["http://example.com/mcp?token={secret}"],
        ["https://example.com/mcp", "--proxy", "http://user:{secret}@:x"],
        ["https://example.com/mcp", "--header", "Authorization: Bearer {secret}\nX: y"],
        ["https://example.com/mcp", "--header", "Authorization:Bearer", "{secret}"],
        ["https://example.com/mcp", "--header", "Authorization:", "Bearer", "{secret}"],
        ["https://example.com/mcp", "--header", "A: {secret}", "--header", "A: {secret}"],
        ["https://example.com/mcp", "--headers", "Authorization: Bearer {secret}"],
        ["https://example.com/mcp", "--heeder=Authorization: Bearer {secret}"],
        ["https://example.com/mcp", "--oauth2Bearer", "{secret} and more"],
        ["https://example.com/mcp", "--log-file", "/proc/nothing/x.log", "--header", "X-Key: {secret}"],
    ],
    ids=lambda words: " ".join(words)[:60].replace("{secret}", "S"),
)
async def test_no_secret_is_in_the_error_for_a_configuration_that_cannot_work(arguments: list[str]) -> None:
    words = [word.replace("{secret}", "pl4inly-a-secret-Q7vX2") for word in arguments]
    async with launch(*words) as host:
        assert await asyncio.wait_for(host.process.wait(), 20) == 2
    assert host.log
    assert leaks({"stderr": host.log.decode()}, ["pl4inly-a-secret-Q7vX2"]) == []
