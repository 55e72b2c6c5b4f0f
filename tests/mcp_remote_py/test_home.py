"""Where it is remembered, on each operating system."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mcp_remote_py.cli import read_settings

WINDOWS = {"LOCALAPPDATA": "C:\\Users\\ada\\AppData\\Local", "APPDATA": "C:\\Users\\ada\\AppData\\Roaming"}


@pytest.mark.parametrize(
    ("platform", "environ", "folder"),
    [
        ("linux", {}, ".local/state/mcp-remote-py"),
        ("linux", {"XDG_STATE_HOME": "/elsewhere"}, "/elsewhere/mcp-remote-py"),
        ("darwin", {}, "Library/Application Support/mcp-remote-py"),
        ("win32", WINDOWS, ".mcp-remote-py"),
    ],
)
def test_the_usual_place_is_that_of_the_operating_system_and_on_windows_not_a_virtual_one(
    platform: str, environ: dict[str, str], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    settings = read_settings(["https://mcp.example/mcp"], environ)
    assert settings is not None
    assert Path(settings.home) == tmp_path / folder
    assert "AppData" not in settings.home


def test_a_folder_that_is_named_wins() -> None:
    settings = read_settings(["https://mcp.example/mcp", "--home", "/here"], {})
    assert settings is not None
    assert settings.home == "/here"
