"""Options as a host gives them: a real bridge, a real far end, and what the two make of an old or a short entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_remote import fake_remote
from tests.support.host import clean_environment, launch

_FILE = Path(__file__).resolve().parent.parent / "support" / "company_entries.json"
ENTRIES: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))


async def test_an_entry_of_four_lines_with_a_profile_reaches_the_server(tmp_path: Path) -> None:
    config = tmp_path / "bridge.toml"
    (tmp_path / "token.txt").write_text("from-the-file\n", encoding="utf-8")
    async with fake_remote() as remote:
        config.write_text(
            'url = "https://elsewhere.example/mcp"\nconnect-timeout = 3\n[profiles.work]\nurl = "' + remote.url + '"\n'
            'bearer-file = "token.txt"\n[profiles.work.headers]\nX-Key = "${WORK_KEY}"\n',
            encoding="utf-8",
        )
        async with launch("--config", str(config), "--profile", "work", env=clean_environment(WORK_KEY="k 1")) as host:
            assert "result" in await host.greet()
            assert await host.end() == 0
            assert b"from-the-file" not in host.log
        headers = remote.posts()[0].headers
        assert headers["Authorization"] == "Bearer from-the-file"
        assert headers["X-Key"] == "k 1"


@pytest.mark.parametrize(
    "line",
    [
        ("--streamableHttp", "{url}", "--oauth2Bearer", "old-token-1", "--header", "X-Key: k 1"),
        (
            "-H",
            "Authorization",
            "Bearer old-token-1",
            "--headers",
            "X-Key",
            "k 1",
            "{url}",
            "--transport",
            "streamablehttp",
        ),
        ("{url}", "3334", "--header", "Authorization:Bearer old-token-1", "--header", "X-Key:k 1", "--allow-http"),
    ],
)
async def test_an_old_line_reaches_the_server_with_the_same_headers(line: tuple[str, ...]) -> None:
    async with fake_remote() as remote:
        async with launch(*(word.replace("{url}", remote.url) for word in line)) as host:
            assert "result" in await host.greet()
            assert await host.end() == 0
        headers = remote.posts()[0].headers
        assert headers["X-Key"] == "k 1"
        assert headers["Authorization"] == "Bearer old-token-1"


async def test_an_entry_of_the_company_survives_its_stale_certificate_file() -> None:
    entry = ENTRIES["mcpServers"]["time"]
    async with fake_remote() as remote:
        arguments = [remote.url, *entry["args"][2:]]
        async with launch(*arguments, env=clean_environment(**entry["env"])) as host:
            assert "result" in await host.greet()
            assert await host.end() == 0
            assert b"NODE_EXTRA_CA_CERTS" in host.log
            assert b"100000" not in host.log
            assert b"is read as milliseconds" in host.log
