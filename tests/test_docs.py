"""The texts for people: generated pages are fresh, links lead somewhere, README's commands can be found."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from mcp_remote_py.option_table import OPTIONS
from server_stub.commands import COMMANDS
from server_stub.option_table import OPTIONS as SERVER_OPTIONS
from tests.support.reference_pages import DOCS, PAGES

ROOT = DOCS.parent
TEXTS = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
_LINK = re.compile(r"\[[^\]]*\]\((?!https?://)([^)#\s]+)?(?:#([^)\s]+))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _prose(path: Path) -> str:
    return _CODE.sub("", path.read_text(encoding="utf-8"))


def _anchors(path: Path) -> set[str]:
    """Return the anchors that headings get when the page is rendered."""
    headings = _HEADING.findall(_prose(path))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_says_what_the_code_says(page: str) -> None:
    assert (DOCS / page).read_text(encoding="utf-8") == PAGES[page](), "run: python -m tests.support.reference_pages"


@pytest.mark.parametrize("text", TEXTS)
def test_every_link_of_a_page_leads_somewhere(text: str) -> None:
    path = ROOT / text
    broken = []
    for target, anchor in _LINK.findall(_prose(path)):
        file = path.parent / target if target else path
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(f"{target}#{anchor}")
    assert broken == []


@pytest.mark.parametrize("page", [text for text in TEXTS if text.startswith("docs/") and text != "docs/index.md"])
def test_the_index_leads_to_every_page(page: str) -> None:
    index = DOCS / "index.md"
    linked = {(DOCS / target).resolve() for target, _ in _LINK.findall(_prose(index))}
    assert (ROOT / page).resolve() in linked


_FLAG = re.compile(r"(?<![\w-])--[a-zA-Z][\w-]*\w(?![\w*-])")
_OF_OTHERS = frozenset(
    {
        "--prefix",  # npm
        "--rounds",  # tests.bench
        "--only",
        "--wrappers",
        "--all",  # logout
        "--json",  # auth status, too
        "--no-deps",
        "--force",
        "--dist",
        "--minutes",
        "--audience",
        "--session",
        "--rm",  # docker
        "--build",
        "--scope",  # claude
        "--mcp-config",
        "--strict-mcp-config",
        "--now",  # systemctl
        "--system",  # useradd
        "--home-dir",
        "--nginx",  # certbot
        "--cert-name",
        "--deploy-hook",
    }
)
"""Flags of npm, pip, pipx, pytest, of bench and soak, of a command that prints tokens, of `replay`, and of the programs
that deployment takes: the texts name them, too."""


@cache
def _of_commands() -> frozenset[str]:
    """The flags that the help of each command of `mcp-remote-server` names."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for words in (*([command] for command in COMMANDS), ["deploy", "systemd"], ["deploy", "nginx"]):
            importlib.import_module(COMMANDS[words[0]]).run([*words, "--help"], {})
    return frozenset(_FLAG.findall(said.getvalue()))


@pytest.mark.parametrize("text", TEXTS)
def test_every_flag_that_a_page_names_exists(text: str) -> None:
    ours = {flag for option in (*OPTIONS, *SERVER_OPTIONS) for flag in option.flags} | {"--help", "--version"}
    ours |= _of_commands()
    peers = tomllib.loads((ROOT / "tests" / "support" / "peer_lines.toml").read_text(encoding="utf-8"))["flags"]
    theirs = {flag for flags in peers.values() for flag in flags} if "coming-from" in text else set()
    code = re.findall(r"```.*?```|`[^`]+`", (ROOT / text).read_text(encoding="utf-8"), re.DOTALL)
    named = {flag for piece in code if "curl" not in piece for flag in _FLAG.findall(piece)}
    assert named - ours - theirs - _OF_OTHERS == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_page_tells_of_every_command(command: str) -> None:
    assert re.search(rf"`{command}[` ]", (DOCS / "reference" / "options.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["demo", "test"])
def test_the_readme_marks_its_command(name: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    match = re.search(rf"^<!-- command: {name} -->\n```sh\n([^`]+)\n```$", readme, re.MULTILINE)
    assert match is not None
    assert "\n" not in match.group(1), "one command is one line"


def test_the_readme_is_one_screen() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 80
