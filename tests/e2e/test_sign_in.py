"""Signing in with the real console script, against the zoo: what a person and a host see of it, and what the servers.

The person is `children/browser.py`, which stands in `$BROWSER`. The dialects of the providers and everything that an
authorization server may do wrong are in `test_sign_in_zoo`, the races of several bridges in `test_sign_in_races`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.authorization_server import Handler
from tests.support.host import Host, launch, script
from tests.support.spellings import written
from tests.support.zoo import Browser, Zoo, agree, open_zoo, sends

WIRES = ("http", pytest.param("sse", marks=pytest.mark.slow), pytest.param("ws", marks=pytest.mark.slow))
"""The fast tier goes over one wire."""
NEEDED = -31005
CALL = {"name": "tool", "arguments": {}}
SECONDS = 25.0


@contextlib.asynccontextmanager
async def bridge(
    zoo: Zoo, folder: Path, *arguments: str, wire: str = "http", browser: Browser, **variables: str
) -> AsyncIterator[Host]:
    """A bridge that keeps its things in `folder`."""
    words = [zoo.url(wire), "--transport", f"{wire}-only", "--debug", *arguments]
    async with launch(*words, env=browser.environment(folder / "home", **variables)) as host:
        yield host


async def answered(host: Host, tool: str = "tool") -> dict[str, Any]:
    """Greet, call a tool, and return what it was answered with."""
    await host.greet()
    return await called(host, tool)


async def called(host: Host, tool: str = "tool") -> dict[str, Any]:
    async with asyncio.timeout(SECONDS):
        return await host.ask("tools/call", {"name": tool, "arguments": {}})


async def command(*words: str, browser: Browser, home: Path, given: bytes = b"", **extra: str) -> tuple[int, str, str]:
    """Run one of the commands to its end; returns its exit code, what it printed and what it logged."""
    process = await asyncio.create_subprocess_exec(
        script("mcp-remote-py"),
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=browser.environment(home, **extra),
    )
    async with asyncio.timeout(SECONDS):
        out, log = await process.communicate(given)
    assert process.returncode is not None
    return process.returncode, out.decode(), log.decode()


def text_of(answer: dict[str, Any]) -> str:
    """All that an error says."""
    assert "error" in answer, answer
    return json.dumps(answer["error"], ensure_ascii=False)


# --- The first sign-in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
async def test_a_call_is_held_while_a_person_signs_in_in_one_tab(wire: str, tmp_path: Path) -> None:
    agreed = tmp_path / "agreed"
    browser = Browser(tmp_path, f"hold={agreed}")
    async with open_zoo() as zoo, bridge(zoo, tmp_path, wire=wire, browser=browser) as host:
        greeting = await host.greet()
        assert "result" in greeting, "nobody has to wait for a person to be greeted"
        calls = [host.ask("tools/call", CALL) for _ in range(5)]
        await asyncio.to_thread(_wait_for_tab, browser)
        assert not any(call.done() for call in calls)
        assert zoo.asked[0].what == "mcp", "nothing is looked up before the server asks for a sign-in"
        agreed.touch()
        async with asyncio.timeout(SECONDS):
            answers = [await call for call in calls]
        assert [answer["result"]["content"][0]["text"] for answer in answers] == ["done"] * 5
        counts = zoo.counts()
        assert [counts[what] for what in ("resource-metadata", "metadata", "register", "authorize", "token")] == [1] * 5
        assert counts["other"] == 0
        assert browser.tabs() == 1
        assert "Signed in to 127.0.0.1" in browser.pages()[0]["text"]
        assert len(set(zoo.tokens_shown())) == 1
        assert zoo.troubles == []
        log = host.log.decode()
    assert zoo.issuer in log
    assert zoo.url(wire).partition("://")[2] in log
    assert log.index(zoo.issuer) < log.index("/authorize?"), "who asks is said before the browser opens"


def _wait_for_tab(browser: Browser) -> None:
    end = time.monotonic() + SECONDS
    while browser.tabs() == 0:
        assert time.monotonic() < end, "no tab was opened"
        time.sleep(0.02)


async def test_nothing_is_looked_up_or_imported_for_a_server_that_asks_for_no_sign_in(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        zoo.open = frozenset(["initialize", "notifications/initialized", "tools/call"])
        async with bridge(zoo, tmp_path, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
        assert set(zoo.counts()) == {"mcp"}
    assert browser.tabs() == 0


async def test_what_is_registered_and_asked_for_is_what_the_specification_says(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        zoo.challenge_scope = "tools:call"
        zoo.resource_scopes = ("much", "more")
        async with bridge(zoo, tmp_path, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
        registered = json.loads(zoo.of("register")[0].body)
        asked, (token,) = zoo.of("authorize")[0].query, zoo.of("token")
    assert registered["application_type"] == "native"
    assert "refresh_token" in registered["grant_types"]
    assert registered["redirect_uris"] == [asked["redirect_uri"]]
    assert re.fullmatch(r"http://localhost:\d+/oauth/callback", asked["redirect_uri"])
    assert asked["scope"] == "tools:call"
    assert asked["resource"] == token.form["resource"] == zoo.url()
    assert len(asked["state"]) >= 43
    verifier = token.form["code_verifier"].encode()
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier).digest()).rstrip(b"=").decode()
    assert (asked["code_challenge"], asked["code_challenge_method"]) == (challenge, "S256")


async def test_two_callers_with_one_server_are_signed_in_once(tmp_path: Path) -> None:
    browser = Browser(tmp_path, "slow=1")
    async with (
        open_zoo() as zoo,
        bridge(zoo, tmp_path, browser=browser) as one,
        bridge(zoo, tmp_path, browser=browser) as other,
    ):
        answers = await asyncio.gather(answered(one), answered(other))
        assert all("result" in answer for answer in answers), answers
        assert (browser.tabs(), zoo.counts()["register"], zoo.counts()["token"]) == (1, 1, 1)
        assert "result" in await called(one)


# --- Later ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
async def test_a_later_start_uses_the_kept_token_and_asks_for_nothing(wire: str, tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        async with bridge(zoo, tmp_path, wire=wire, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
            await host.end()
        before = len(zoo.asked)
        async with bridge(zoo, tmp_path, wire=wire, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
            await host.end()
        assert {asked.what for asked in zoo.asked[before:]} == {"mcp"}
        assert all(asked.header("Authorization") for asked in zoo.asked[before:])
    assert browser.tabs() == 1


@pytest.mark.parametrize("wire", WIRES)
async def test_a_token_that_is_taken_no_longer_is_renewed_without_a_person(wire: str, tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        async with bridge(zoo, tmp_path, wire=wire, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
            zoo.expire_access()
            if wire == "http":
                assert "result" in await called(host), host.log.decode()
                zoo.expire_access()
            await host.end()
        async with bridge(zoo, tmp_path, wire=wire, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
        renewals = zoo.grants("refresh_token")
        assert len(renewals) == (2 if wire == "http" else 1)
        assert len({renewal.form["refresh_token"] for renewal in renewals}) == len(renewals), "each was new"
        assert zoo.troubles == []
        assert {renewal.form["resource"] for renewal in renewals} == {zoo.origins["mcp"] + zoo.of("mcp")[0].path}
    assert browser.tabs() == 1


@pytest.mark.slow
async def test_a_token_that_is_about_to_expire_is_renewed_before_it_is_refused(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        zoo.lifetime = 3.0
        async with bridge(zoo, tmp_path, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
            refused = zoo.tokens_shown()
            await asyncio.sleep(2.5)  # past four fifths of its life: the clock of the process is the thing under test
            assert "result" in await called(host), host.log.decode()
        assert len(zoo.grants("refresh_token")) == 1
        assert len(set(zoo.tokens_shown()) - set(refused)) == 1
        assert zoo.of("mcp")[-1].header("Authorization") not in refused


@pytest.mark.slow
async def test_two_bridges_never_show_a_refresh_token_twice(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with (
        open_zoo() as zoo,
        bridge(zoo, tmp_path, browser=browser) as one,
        bridge(zoo, tmp_path, browser=browser) as other,
    ):
        assert "result" in await answered(one)
        assert "result" in await answered(other)
        for _ in range(3):
            zoo.expire_access()
            answers = await asyncio.gather(called(one), called(other))
            assert all("result" in answer for answer in answers), answers
        assert zoo.troubles == [], "the family would be revoked"
        assert len(zoo.grants("refresh_token")) == 3
    assert browser.tabs() == 1


@pytest.mark.slow
async def test_refresh_tokens_that_are_revoked_lead_to_a_new_sign_in(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo, bridge(zoo, tmp_path, browser=browser) as host:
        assert "result" in await answered(host), host.log.decode()
        zoo.revoke_everything()
        assert "result" in await called(host), host.log.decode()
        assert (browser.tabs(), zoo.counts()["register"]) == (2, 1)


@pytest.mark.slow
async def test_a_registration_that_the_server_has_forgotten_is_made_anew(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo, bridge(zoo, tmp_path, browser=browser) as host:
        assert "result" in await answered(host), host.log.decode()
        zoo.revoke_everything()
        zoo.clients.clear()
        assert "result" in await called(host), host.log.decode()
        assert zoo.counts()["register"] == 2


@pytest.mark.slow
async def test_a_token_server_that_is_down_costs_no_sign_in(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo, bridge(zoo, tmp_path, browser=browser) as host:
        assert "result" in await answered(host), host.log.decode()
        zoo.expire_access()
        zoo.instead["token"] = sends(503)
        assert "503" in text_of(await called(host))
        del zoo.instead["token"]
        assert "result" in await called(host), host.log.decode()
        assert zoo.troubles == []
    assert browser.tabs() == 1


@pytest.mark.parametrize("wire", WIRES[:2])
async def test_more_scopes_are_asked_for_where_a_tool_needs_them(wire: str, tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        zoo.challenge_scope, zoo.needs = "read", {"writer": "write"}
        async with bridge(zoo, tmp_path, wire=wire, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
            assert "result" in await called(host, "writer")
            assert "result" in await called(host), host.log.decode()
        asked = [set(request.query["scope"].split()) for request in zoo.of("authorize")]
        assert asked == [{"read"}, {"read", "write"}]
    assert browser.tabs() == 2


# --- What goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("what", ["metadata", pytest.param("resource-metadata", marks=pytest.mark.slow)])
async def test_a_discovery_that_fails_answers_the_held_call_at_once(wire: str, what: str, tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        zoo.instead[what] = sends(503)
        async with bridge(zoo, tmp_path, wire=wire, browser=browser) as host:
            await host.greet()
            begun = time.monotonic()
            answer = await called(host)
            assert time.monotonic() - begun < 8
        assert "503" in text_of(answer)
        assert answer["error"]["code"] == NEEDED
        assert zoo.counts()["register"] == zoo.counts()["authorize"] == 0
    assert browser.tabs() == 0


async def test_a_person_who_says_no_ends_the_call_with_that_reason(tmp_path: Path) -> None:
    browser = Browser(tmp_path, "deny")
    async with open_zoo() as zoo, bridge(zoo, tmp_path, browser=browser) as host:
        answer = await answered(host)
        assert answer["error"]["code"] == NEEDED
        assert "access_denied" in text_of(answer)
        assert zoo.counts()["token"] == 0
    assert browser.pages()[0]["status"] >= 400
    assert "no" not in re.findall(r"the person said (\w+)", browser.pages()[0]["text"]), "nothing is reflected"


@pytest.mark.slow
async def test_nobody_who_signs_in_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    browser = Browser(tmp_path, "never")
    async with open_zoo() as zoo, bridge(zoo, tmp_path, "--auth-timeout", "2s", browser=browser) as host:
        answer = await answered(host)
        assert answer["error"]["code"] == NEEDED
        assert "--auth-timeout" in text_of(answer)


async def test_a_second_401_with_a_fresh_token_is_final(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        zoo.refuses_all = True
        async with bridge(zoo, tmp_path, browser=browser) as host:
            answer = await answered(host)
            assert answer["error"]["code"] == NEEDED
        assert zoo.counts()["authorize"] <= 2
    assert browser.tabs() <= 2


@pytest.mark.slow
async def test_a_server_that_takes_no_token_does_not_open_tab_after_tab(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        zoo.refuses_all = True
        said = []
        for _ in range(4):
            async with bridge(zoo, tmp_path, browser=browser) as host:
                said.append(text_of(await answered(host)))
        assert browser.tabs() <= 3
        assert f"mcp-remote-py logout {zoo.url()}" in said[-1]
        code, _, log = await command("logout", zoo.url(), browser=browser, home=tmp_path / "home")
        assert code == 0, log
        zoo.refuses_all = False
        async with bridge(zoo, tmp_path, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()


@pytest.mark.parametrize("way", ["forge", pytest.param("twice", marks=pytest.mark.slow)])
async def test_what_somebody_else_sends_to_the_callback_changes_nothing(way: str, tmp_path: Path) -> None:
    browser = Browser(tmp_path, way)
    async with open_zoo() as zoo, bridge(zoo, tmp_path, browser=browser) as host:
        assert "result" in await answered(host), host.log.decode()
        assert zoo.counts()["token"] == 1
    assert "f0rged" not in json.dumps(browser.pages())


@pytest.mark.slow
async def test_a_configured_token_switches_all_of_it_off(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        words = ["--header", "Authorization: Bearer not-the-right-one"]
        async with bridge(zoo, tmp_path, *words, browser=browser) as host:
            assert "error" in await host.greet()
        assert set(zoo.counts()) == {"mcp"}
    assert browser.tabs() == 0


# --- Other ways in ---------------------------------------------------------------------------------------------------


_AUTHORIZATION_URL = re.compile(r"http://127\.0\.0\.1:\d+/authorize\?[^\s\"]+")


async def test_login_without_a_browser_takes_the_redirect_url_from_a_pipe(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        process = await asyncio.create_subprocess_exec(
            script("mcp-remote-py"),
            "login",
            zoo.url(),
            "--no-browser",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=browser.environment(tmp_path / "home"),
        )
        try:
            assert process.stderr is not None
            assert process.stdin is not None
            heard = ""
            async with asyncio.timeout(SECONDS):
                while (found := _AUTHORIZATION_URL.search(heard)) is None:
                    chunk = await process.stderr.read(65536)
                    assert chunk, heard
                    heard += chunk.decode()
                process.stdin.write((await agree(found.group())).encode() + b"\n")
                process.stdin.close()
                rest = (await process.stderr.read()).decode()
                assert await process.wait() == 0, heard + rest
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        assert zoo.troubles == []
        async with bridge(zoo, tmp_path, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
        assert zoo.counts()["authorize"] == 1
    assert browser.tabs() == 0


@pytest.mark.slow
async def test_login_status_and_logout(tmp_path: Path) -> None:
    browser, home = Browser(tmp_path), tmp_path / "home"
    async with open_zoo() as zoo:
        zoo.challenge_scope = "read"
        code, _, log = await command("login", zoo.url(), browser=browser, home=home)
        assert code == 0, log
        async with bridge(zoo, tmp_path, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
        code, shown, log = await command("auth", "status", zoo.url(), "--json", browser=browser, home=home)
        assert code == 0, log
        status = json.loads(shown)
        assert zoo.issuer in json.dumps(status)
        assert "read" in json.dumps(status)
        for words in (["auth", "status"], ["auth", "status", zoo.url()]):
            code, text, log = await command(*words, browser=browser, home=home)
            assert (code, zoo.issuer in text) == (0, True), (text, log)
            assert not [secret for secret in zoo.secrets if secret in text + shown + log]
        code, _, log = await command("logout", zoo.url(), browser=browser, home=home)
        assert code == 0, log
        assert zoo.counts()["revoke"] >= 1
        assert zoo.revoked
        kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
        assert not [
            secret for secret in zoo.secrets if secret.startswith(("access", "refresh")) and secret.encode() in kept
        ]
        async with bridge(zoo, tmp_path, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
    assert browser.tabs() == 2


@pytest.mark.slow
async def test_logout_of_everything(tmp_path: Path) -> None:
    browser, home = Browser(tmp_path), tmp_path / "home"
    async with open_zoo() as one, open_zoo("atlassian") as other:
        for zoo in (one, other):
            assert (await command("login", zoo.url(), browser=browser, home=home))[0] == 0
        code, _, log = await command("logout", "--all", browser=browser, home=home)
        assert code == 0, log
        assert one.revoked
        code, text, _ = await command("auth", "status", browser=browser, home=home)
        assert one.issuer not in text + other.issuer


async def test_tokens_of_mcp_remote_are_taken_over(tmp_path: Path) -> None:
    browser, theirs = Browser(tmp_path), tmp_path / "mcp-auth"
    async with open_zoo() as zoo:
        folder = theirs / "mcp-remote-0.15.1"
        folder.mkdir(parents=True)
        digest = hashlib.md5(zoo.url().encode(), usedforsecurity=False).hexdigest()
        client = zoo.register("client-of-mcp-remote", redirect_uris=("http://localhost:3334/oauth/callback",))
        permission = zoo.permit(client.client_id, zoo.url())
        kept = {"client_id": client.client_id, "redirect_uris": list(client.redirect_uris)}
        (folder / f"{digest}_client_info.json").write_text(json.dumps(kept))
        tokens = zoo.tokens_of(permission)
        (folder / f"{digest}_tokens.json").write_text(json.dumps(tokens))
        environment = browser.environment(tmp_path / "home", MCP_REMOTE_CONFIG_DIR=str(theirs))
        async with launch(zoo.url(), "--debug", env=environment) as host:
            assert "result" in await answered(host), host.log.decode()
            zoo.expire_access()
            assert "result" in await called(host), host.log.decode()
        assert zoo.counts()["authorize"] == zoo.counts()["register"] == 0
        assert [renewal.form["client_id"] for renewal in zoo.grants("refresh_token")] == [client.client_id]
    assert browser.tabs() == 0


# --- Secrets ---------------------------------------------------------------------------------------------------------


def found_in(text: str, secrets: set[str]) -> list[str]:
    """The secrets that stand there, in whatever spelling."""
    return [f"{secret} as {spelled}" for secret in secrets for spelled in written(secret) if spelled in text]


def written_files(folder: Path, but: Path) -> dict[str, str]:
    """All files below this folder, the kept tokens and one other excepted."""
    paths = [path for path in folder.rglob("*") if path.is_file() and "auth" not in path.parts and path != but]
    return {path.name: path.read_bytes().decode("utf-8", "replace") for path in paths}


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["plain", "keycloak", "dpop"])
async def test_no_secret_of_a_sign_in_is_in_any_artefact(dialect: str, tmp_path: Path) -> None:
    """Sign-in, renewal, a failure, a second start: all that is written is searched, the kept tokens alone not."""
    browser = Browser(tmp_path, "forge")
    log, trace = tmp_path / "bridge.log", tmp_path / "trace.jsonl"
    words = ["--debug", "--log-bodies", "--log-file", str(log), "--trace", str(trace)]
    said = []
    async with open_zoo(dialect) as zoo:
        for _ in range(2):
            async with bridge(zoo, tmp_path, *words, browser=browser) as host:
                await answered(host)
                zoo.expire_access()
                await called(host)
                zoo.expire_access()
                zoo.instead["token"] = _tells_on(zoo)
                answer = await called(host)
                assert "error" in answer
                said.append(text_of(answer))
                del zoo.instead["token"]
                await host.end()
                said += [host.log.decode(), *(line.decode() for line in host.heard)]
            zoo.revoke_everything()
        for arguments in (["auth", "status"], ["logout", zoo.url()]):
            said += map(str, await command(*arguments, "--debug", browser=browser, home=tmp_path / "home"))
        assert zoo.counts()["authorize"] >= 2
        artefacts = {
            "said": "\n".join(said),
            "browser": json.dumps([entry["url"] for entry in browser.opened() if "url" in entry]),
        }
        artefacts |= written_files(tmp_path, browser.log)
        secrets = {secret for secret in zoo.secrets if len(secret) > 8}
        assert len(secrets) > 8
        assert trace.name in artefacts
        assert {name: found for name, text in artefacts.items() if (found := found_in(text, secrets))} == {}


def _tells_on(zoo: Zoo) -> Handler:
    """A token endpoint that says in its error what it was sent."""

    async def handler(request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        error = {"error": "temporarily_unavailable", "error_description": f"{body} {dict(request.headers)}"}
        return web.json_response(error, status=503)

    del zoo
    return handler
