"""The browser is opened with real programs, by an argument list, and for web pages alone."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from mcp_remote_py.auth import browser

URL = "https://auth.example.com/authorize?client_id=a%20b&state=xyz&scope=a+b"
HOSTILE = [
    "javascript:alert(1)",
    "file:///etc/passwd",
    "data:text/html,x",
    "ftp://auth.example.com/",
    "http://auth.example.com/authorize",
    "https://user@auth.example.com/",
    "https://user:pass@auth.example.com/",
    "https://auth.example.com/a b",
    "https://auth.example.com/a\tb",
    "https://auth.example.com/a\nb",
    "https://auth.example.com/\x00",
    'https://auth.example.com/"x',
    "https://auth.example.com/'x",
    "https://auth.example.com/`id`",
    "https://auth.example.com/$(id)",
    "https://auth.example.com/|x",
    "https://auth.example.com/\\x",
    "https://auth.example.com/<x>",
    "https:///x",
    "--version",
    "",
]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the made-up browsers are scripts")


class Programs:
    """A folder of made-up browsers that write down what they are given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen = folder / "seen"
        self.environ = {"PATH": f"{folder}", "MCP_SECRET": "Bearer hush-hush", "PIN": "12", "KEPT": "yes 12"}

    def add(self, name: str, code: int = 0, after: str = "") -> Path:
        program = self.folder / name
        program.write_text(
            f"#!{sys.executable}\nimport os, sys, time\n"
            f"lines = [{name!r}, *sys.argv[1:], str(os.getpgrp() == os.getpid()), str(sorted(os.environ)), "
            "str([os.path.samestat(os.fstat(n), os.stat(os.devnull)) for n in range(3)])]\n"
            f"open({str(self.seen)!r}, 'a').write('\\n'.join(lines) + '\\n')\n"
            f"{after}\nsys.exit({code})\n"
        )
        program.chmod(0o755)
        return program

    def lines(self) -> list[str]:
        return self.seen.read_text().splitlines() if self.seen.exists() else []


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(browser, "_is_wsl", lambda: False)
    return Programs(tmp_path)


def test_the_system_browser_is_opened_with_the_url_as_one_argument(programs: Programs) -> None:
    programs.add("xdg-open")
    assert browser.open_url(URL, ["hush-hush", "12", ""], programs.environ)
    name, url, leads, environ, quiet = programs.lines()
    assert (name, url) == ("xdg-open", URL)
    assert leads == "True"
    assert "KEPT" in environ
    assert "MCP_SECRET" not in environ
    assert "PIN" not in environ
    assert quiet == "[True, True, True]"


@pytest.mark.parametrize("url", HOSTILE)
def test_what_is_no_web_page_is_never_opened(url: str, programs: Programs, caplog: pytest.LogCaptureFixture) -> None:
    programs.add("xdg-open")
    programs.add("mine")
    assert not browser.open_url(url, environ={**programs.environ, "BROWSER": "mine %s"})
    assert not browser.open_url(url, environ=programs.environ)
    assert programs.lines() == []
    assert url == "" or url not in caplog.text


def test_plain_http_is_opened_for_this_machine_alone(programs: Programs) -> None:
    programs.add("xdg-open")
    assert browser.open_url("http://127.0.0.1:8080/authorize?a=1", environ=programs.environ)
    assert browser.open_url("http://localhost:8080/authorize", environ=programs.environ)
    assert not browser.open_url("http://10.0.0.1/authorize", environ=programs.environ)


def test_what_a_shell_further_on_would_read_is_percent_encoded(programs: Programs) -> None:
    programs.add("xdg-open")
    assert browser.open_url("https://a.example/x;y?q=$env:PATH&r=(1)*!&s=a%2Bb", environ=programs.environ)
    assert programs.lines()[1] == "https://a.example/x%3By?q=%24env:PATH&r=%281%29%2A%21&s=a%2Bb"


def test_without_a_program_there_is_no_browser(programs: Programs) -> None:
    assert not browser.open_url(URL, environ=programs.environ)


def test_a_program_that_fails_is_no_browser(programs: Programs, tmp_path: Path) -> None:
    programs.add("xdg-open", code=3)
    assert not browser.open_url(URL, environ=programs.environ)
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    assert not browser.open_url(URL, environ={**programs.environ, "BROWSER": "broken"})


def test_the_variable_browser_is_honoured_and_nothing_else_is_tried_then(programs: Programs) -> None:
    programs.add("xdg-open")
    programs.add("bad", code=1)
    programs.add("mine")
    environ = {**programs.environ, "BROWSER": "absent:bad --x:'mine' --new 'a b' &:'unclosed"}
    assert browser.open_url(URL, environ=environ)
    lines = programs.lines()
    assert lines[:3] == ["bad", "--x", URL]
    assert lines[-7:-3] == ["mine", "--new", "a b", URL]
    programs.seen.unlink()
    assert not browser.open_url(URL, environ={**programs.environ, "BROWSER": "none"})
    assert programs.lines() == []


def test_the_place_of_the_url_can_be_named(programs: Programs) -> None:
    programs.add("mine")
    assert browser.open_url(URL, environ={**programs.environ, "BROWSER": "mine --url=%s --last"})
    assert programs.lines()[:3] == ["mine", f"--url={URL}", "--last"]


def test_no_shell_ever_sees_the_url_or_the_setting(programs: Programs, tmp_path: Path) -> None:
    programs.add("mine")
    environ = {**programs.environ, "BROWSER": f"mine ; touch {tmp_path}/ran; $(touch {tmp_path}/ran2)"}
    browser.open_url("https://a.example/?x=1;touch&y=2", environ=environ)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "ran2").exists()


def test_a_browser_that_stays_in_the_foreground_blocks_nobody_and_is_reaped(programs: Programs) -> None:
    programs.add("xdg-open", after=f"open({str(programs.seen)!r} + '.pid', 'w').write(str(os.getpid()))\ntime.sleep(2)")
    begin = time.monotonic()
    assert browser.open_url(URL, environ=programs.environ)
    assert time.monotonic() - begin < browser.VERDICT_SECONDS + 1
    child = int((programs.folder / "seen.pid").read_text())
    assert _wait_until_gone(child)


def _wait_until_gone(pid: int) -> bool:
    """A zombie would be there until we end."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid):
            return True
        time.sleep(0.05)
    return False


def test_our_own_environment_is_what_is_handed_on_by_default(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.add("mine")
    monkeypatch.setenv("PATH", f"{programs.folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("BROWSER", "mine")
    for name in ("MCP_AUTH_TOKEN", "MCP_REMOTE_PY_CLIENT_SECRET", "KEPT"):
        monkeypatch.setenv(name, "hush-hush")
    assert browser.open_url(URL)
    environ = programs.lines()[3]
    assert "KEPT" in environ
    assert "MCP_AUTH_TOKEN" not in environ
    assert "MCP_REMOTE_PY_CLIENT_SECRET" not in environ


def test_nothing_of_the_url_is_logged(programs: Programs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    browser.open_url(URL, environ=programs.environ)
    assert "xyz" not in caplog.text


@pytest.mark.parametrize(
    ("platform", "is_wsl", "expected"),
    [
        ("darwin", False, [["/usr/bin/open", URL]]),
        ("linux", False, [["xdg-open", URL]]),
        (
            "linux",
            True,
            [["rundll32.exe", "url.dll,FileProtocolHandler", URL], ["wslview", URL], ["xdg-open", URL]],
        ),
        ("win32", False, []),
    ],
)
def test_each_system_has_its_own_way(platform: str, is_wsl: bool, expected: list[list[str]]) -> None:
    assert browser.commands(URL, {}, platform, is_wsl=is_wsl) == expected


def test_on_windows_the_variable_has_backslashes_and_semicolons() -> None:
    environ = {"BROWSER": r'"C:\Program Files\x\x.exe" --new;C:\y.exe %s'}
    expected = [[r"C:\Program Files\x\x.exe", "--new", URL], [r"C:\y.exe", URL]]
    assert browser.commands(URL, environ, "win32") == expected
