"""`config_file`: what becomes of a configuration file, in each of its forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from server_stub.config_file import examine, inspect, read_roster
from server_stub.core.roster import Care, Command, Manners, Remote, Roster
from tests.support.config_folder import CONFIGS, ENVIRON, FILES, Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def _said(roster: Roster) -> list[tuple[str, int | None, str]]:
    return [(found.severity, found.line, found.key) for found in roster.findings]


# --- Forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_the_examples_are_good(name: str) -> None:
    roster = read_roster(str(CONFIGS / name), ENVIRON)
    assert roster.findings == ()
    assert roster.members


def test_claude_desktop() -> None:
    roster = read_roster(str(CONFIGS / "seed001_production.json"), {})
    assert [member.name for member in roster.members] == ["notion-mcp", "memory-mcp", "sequential-thinking"]
    assert roster.members[0].what == Command(
        ("npx", "-y", "@anthropic-ai/mcp-server-notion"), env=(("NOTION_TOKEN", "your_notion_token_here"),)
    )
    assert roster.secrets == ("your_notion_token_here",)


def test_the_central_proxy_of_seed_002() -> None:
    roster = read_roster(str(CONFIGS / "seed002_central.json"), ENVIRON)
    front = roster.front
    assert (front.base_url, front.host, front.port) == ("http://linuxserver.lan:9090", None, 9090)
    assert (front.name, front.tokens) == ("Central MCP Proxy", ("changeme-token",))
    assert [member.what for member in roster.members][:1] == [Remote("http://mcp-postgres:8686/sse")]
    assert {member.manners.tokens for member in roster.members} == {None}
    assert "changeme-token" in roster.secrets


@pytest.mark.parametrize("name", ["seed002_vs_code.json", "seed002_claude_code.json"])
def test_members_that_are_remote(name: str) -> None:
    roster = read_roster(str(CONFIGS / name), {})
    headers = (("Authorization", "Bearer changeme-token"),)
    assert roster.members[0].what == Remote("http://linuxserver.lan:9090/postgres/sse", "sse", headers)
    assert "changeme-token" in roster.secrets


def test_vs_code_with_inputs() -> None:
    path = str(CONFIGS / "vs_code_mcp.json")
    roster = read_roster(path, ENVIRON)
    assert roster.members[0].what == Command(
        ("npx", "-y", "server-perplexity-ask"), env=(("PERPLEXITY_API_KEY", "pplx-12345"),)
    )
    asking = examine(path, {})
    assert asking.wanted == ("perplexity-key",)
    assert "setup-env" in str(asking.roster.members[0].invalid)
    assert asking.roster.members[1].invalid is None


def test_vs_code_settings(folder: Folder) -> None:
    roster = folder.read({"editor.fontSize": 12, "mcp": {"inputs": [], "servers": {"a": {"command": "x"}}}})
    assert (_said(roster), [member.name for member in roster.members]) == ([], ["a"])


def test_version_1_adds_the_global_tokens_to_those_of_a_server() -> None:
    roster = read_roster(str(CONFIGS / "version1.json"), {})
    fetch, amap = roster.members
    assert fetch.what == Command(("uvx", "mcp-server-fetch"), env=(("PORT", "9090"),))
    assert fetch.manners.tokens == ("HelloWorld", "GlobalToken")
    assert fetch.manners.panic_if_invalid
    assert amap.what == Remote("https://mcp.example.net/sse?key=abcdefgh", "sse")
    assert (amap.manners.tokens, roster.front.tokens) == (None, ("GlobalToken",))


def test_docker_and_shell_lines_of_seed_000() -> None:
    members = {
        member.name: member.what for member in read_roster(str(CONFIGS / "seed000_docker.json"), ENVIRON).members
    }
    assert members["time"] == Command(shell="/usr/bin/docker run -i --rm mcp/time")  # noqa: S604
    assert members["sequential-thinking"] == Command((), "/usr/bin/docker run -i --rm mcp/sequentialthinking")
    personal, work = members["github-personal"], members["github-work"]
    assert isinstance(personal, Command)
    assert "GITHUB_PERSONAL_ACCESS_TOKEN=ghp_personal" in personal.words
    assert isinstance(work, Command)
    assert work.env == (("GITHUB_PERSONAL_ACCESS_TOKEN", "ghp_work"),)


def test_every_key_of_ours() -> None:
    roster = read_roster(str(CONFIGS / "every_key.jsonc"), {})
    local, line, few, socket = roster.members
    assert local.what == Command(
        ("npx", "-y", "some-server"), env=(("LEVEL", "info"), ("PRICE", "${5}")), pass_environment=True
    )
    care = Care(45.0, 10.0, 5, 0, 600.0, None, 500 * 1024 * 1024)
    assert local.manners == Manners(
        tokens=("own-token",),
        allow=("read_*",),
        block=("shout",),
        names="snake",
        share="shared",
        start="eager",
        care=care,
    )
    assert (line.enabled, line.what) == (False, Command((), "cat | cat"))
    assert line.manners == Manners(block=("delete_*",), share="principal", care=Care(ping_every=None))
    assert few.manners == Manners(
        log=False,
        tokens=("few-token",),
        allow=("read_*",),
        block=("delete_*",),
        cors_origins=("https://few.example.com",),
        share="principal",
        care=Care(ping_every=None),
    )
    assert socket.what == Remote("wss://mcp.example.com/ws", "ws", (("X-Key", "abcdefgh"),))
    front = roster.front
    assert (front.host, front.port, front.kind, front.version) == ("127.0.0.1", 9090, "streamable-http", "1.2.3")
    assert front.cors_origins == ("https://app.example.com", "*")


@pytest.mark.parametrize(
    ("entry", "wire"),
    [
        ({"url": "https://x/mcp"}, "auto"),
        ({"url": "https://x/sse"}, "auto"),
        ({"url": "https://x/", "type": "http"}, "http"),
        ({"url": "https://x/", "type": "streamableHttp"}, "http"),
        ({"url": "https://x/", "transportType": "streamable-http"}, "http"),
        ({"url": "https://x/", "transport": "SSE"}, "sse"),
        ({"url": "https://x/", "type": "websocket"}, "ws"),
        ({"url": "ws://x/"}, "ws"),
        ({"httpUrl": "https://x/"}, "http"),
        ({"serverUrl": "https://x/"}, "auto"),
    ],
    ids=str,
)
def test_wires(folder: Folder, entry: dict[str, str], wire: str) -> None:
    what = folder.member(entry).what
    assert isinstance(what, Remote)
    assert what.wire == wire


def test_utf_16_and_a_byte_order_mark_are_read(folder: Folder) -> None:
    path = folder.path / "config.json"
    for encoding in ("utf-16", "utf-8-sig"):
        path.write_text('{"mcpServers": {"ä": {"command": "x"}}}', encoding=encoding)
        assert [member.name for member in inspect(str(path), {}).members] == ["ä"]


# --- Inheritance ------------------------------------------------------------------------------------------------------


def test_the_options_of_a_server_win_key_by_key(folder: Folder) -> None:
    head = {
        "logEnabled": False,
        "panicIfInvalid": True,
        "toolFilter": {"mode": "allow", "list": ["a"]},
        "share": "shared",
    }
    roster = folder.read(
        {
            "mcpProxy": {"options": head},
            "mcpServers": {
                "all": {"command": "x"},
                "some": {"command": "x", "options": {"logEnabled": True, "toolFilter": {"mode": "block", "list": []}}},
                "near": {"command": "x", "share": "session", "options": {"share": "principal"}},
            },
        }
    )
    every, some, near = (member.manners for member in roster.members)
    assert every == Manners(log=False, panic_if_invalid=True, allow=("a",), share="shared")
    assert some == Manners(log=True, panic_if_invalid=True, share="shared")
    assert near.share == "session"


def test_options_may_stand_directly_in_the_head(folder: Folder) -> None:
    head = {"authTokens": ["t1"], "share": "shared", "options": {"share": "session", "start": "eager"}}
    roster = folder.read({"mcpProxy": head, "mcpServers": {"a": {"command": "x"}}})
    assert roster.front.tokens == ("t1",)
    assert roster.members[0].manners == Manners(share="shared", start="eager")


def test_a_filter_may_say_allow_and_block_without_a_mode(folder: Folder) -> None:
    manners = folder.member({"command": "x", "toolFilter": {"allow": ["read_*"], "block": ["read_all"]}}).manners
    assert (manners.allow, manners.block) == (("read_*",), ("read_all",))
