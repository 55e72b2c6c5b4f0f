"""Hosting members: what one part of the server has to tell another."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from server_stub import hosting
from server_stub.backends.group import Group
from server_stub.config_file import read_roster
from server_stub.settings import Hosting, ServeSettings
from tests.server_stub.backends.merged import client_of
from tests.server_stub.links import SECONDS
from tests.support.hosted import NAMED


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
async def test_a_member_that_an_operator_restarts_is_merged_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[Group] = []

    class Patient(Group):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, pause=10 * SECONDS, **options)
            groups.append(self)

    monkeypatch.setattr(hosting, "Group", Patient)
    mended, file = tmp_path / "mended", tmp_path / "servers.json"
    shell = f"test -e '{mended}' && exec '{sys.executable}' -I -S '{NAMED}' c"
    file.write_text(json.dumps({"mcpServers": {"c": {"command": "sh", "args": ["-c", shell], "maxRestarts": 1}}}))
    roster = read_roster(str(file), {})
    settings = ServeSettings(hosting=Hosting(str(file), roster, aggregate=True))
    assert settings.hosting is not None
    members = hosting.Hosted(settings, settings.hosting, roster, lambda _: None)
    async with members.alive(lambda _: "/messages"), client_of(groups[0]) as client:
        await client.greet()
        assert await client.names() == []
        mended.touch()
        await members.members()[0].restart()
        await client.heard("notifications/tools/list_changed")
        assert await client.names() == ["c__whoami"]
