"""The shape of the source: imports point downwards, the pure rings are pure, each library has one home.

The lists here are the architecture (docs/explanation/architecture.md says why); `tests/support/source_rules.py` has
the rules that read them. Where a list turns out wrong, change the list, and say why in docs/decisions/.
The second half of this file tries every rule on made-up source: a rule that cannot fail proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.support import source_rules as rules
from tests.support.source_rules import Source, Violation, parse

ROOT = Path(__file__).resolve().parent.parent
CLIENT = "mcp_remote_py"
SERVER = "server_stub"

PURE_STDLIB = frozenset(
    [
        "base64",
        "binascii",
        "bisect",
        "collections",
        "dataclasses",
        "difflib",
        "enum",
        "functools",
        "hashlib",
        "hmac",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "re",
        "shlex",
        "types",
        "typing",
        "urllib.parse",
    ]
)
"""What the pure rings may import besides themselves: nothing that waits, reads, writes, counts time or rolls dice."""

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"mcp_remote_py"}),  # __init__: the version, nothing else
    frozenset({"mcp_remote_py.core"}),
    frozenset(
        {
            "mcp_remote_py.settings",
            "mcp_remote_py.option_row",
            "mcp_remote_py.option_table",
            "mcp_remote_py.sign_in_options",
            "mcp_remote_py.sign_in_settings",
            "mcp_remote_py.credential_settings",
            "mcp_remote_py.configuration",
            "mcp_remote_py.surroundings",
            "mcp_remote_py.compat",
            "mcp_remote_py.config_file",
            "mcp_remote_py.peer_flags",
            "mcp_remote_py.print_config",
            "mcp_remote_py.serve_line",
            "mcp_remote_py.arguments",
        }
    ),
    frozenset({"mcp_remote_py.net"}),
    frozenset({"mcp_remote_py.credentials"}),
    frozenset({"mcp_remote_py.transports"}),
    frozenset(
        {
            "mcp_remote_py.file_lock",
            "mcp_remote_py.log",
            "mcp_remote_py.log_file",
            "mcp_remote_py.stdio",
            "mcp_remote_py.lifetime",
        }
    ),
    frozenset({"mcp_remote_py.state", "mcp_remote_py.server_cache"}),
    frozenset({"mcp_remote_py.auth"}),
    frozenset({"mcp_remote_py.pin_store", "mcp_remote_py.shaping", "mcp_remote_py.trace", "mcp_remote_py.snapshot"}),
    frozenset({"mcp_remote_py.mishaps"}),
    frozenset({"mcp_remote_py.connection", "mcp_remote_py.passage", "mcp_remote_py.recollection"}),
    frozenset({"mcp_remote_py.bridge"}),
    frozenset({"mcp_remote_py.cli", "mcp_remote_py.demo", "mcp_remote_py.replay"}),
    frozenset({"mcp_remote_py.__main__"}),
)
"""From the bottom to the top. A module imports from its own layer and from those before it."""

SERVER_USES = frozenset(
    {
        "mcp_remote_py.core",
        "mcp_remote_py.log",
        "mcp_remote_py.log_file",
        "mcp_remote_py.file_lock",
        "mcp_remote_py.arguments",
        "mcp_remote_py:__version__",
        # other programs' command lines: each of our two programs knows when the other one was meant
        "mcp_remote_py.peer_flags",
        "mcp_remote_py.serve_line",
        "mcp_remote_py.compat",
    }
)
"""All that the server may know of the client's package."""
REMOTE_MEMBERS = "server_stub/backends/remote.py"
REMOTE_USES = frozenset(
    {
        "mcp_remote_py.credentials",
        "mcp_remote_py.net.bundles",
        "mcp_remote_py.settings",
        "mcp_remote_py.surroundings",
        "mcp_remote_py.transports",
    }
)
"""What the one file may use besides, in which a member is a remote server itself: the wires, and what they are told."""

LIBRARY_HOMES: dict[str, tuple[str, ...]] = {
    "h11": ("mcp_remote_py/net/by_h11.py", "mcp_remote_py/auth/callback.py"),
    "httpcore": ("mcp_remote_py/net/by_httpcore.py",),
    "segno": ("mcp_remote_py/auth/device_prompt.py",),
    "socksio": ("mcp_remote_py/net/tunnel.py",),
    "websockets": ("mcp_remote_py/transports/websocket.py", "mcp_remote_py/transports/upgrade.py"),
    "truststore": ("mcp_remote_py/net/system_store.py",),
    "cryptography": (
        "mcp_remote_py/net/client_certificate.py",
        "mcp_remote_py/credentials/minted_jwt.py",
        "mcp_remote_py/auth/signing.py",
    ),
    "jwt": ("mcp_remote_py/credentials/minted_jwt.py", "mcp_remote_py/auth/signing.py", "server_stub/verifiers/jwt.py"),
    "dotenv": ("server_stub/config_file.py", "server_stub/wanted_variables.py"),
    "psutil": ("server_stub/resources.py",),
    "keyring": ("mcp_remote_py/auth/keyring_store.py",),
    "aiohttp": (
        "server_stub/app.py",
        "server_stub/connections.py",
        "server_stub/hosted_app.py",
        "server_stub/front.py",
        "server_stub/running.py",
        "server_stub/endpoints/*.py",
        "server_stub/guards/*.py",
    ),
    "watchfiles": ("server_stub/watching.py",),
    "jinja2": ("server_stub/deploy/rendering.py",),
    "httpx": ("server_stub/running_server.py",),
    "tabulate": ("server_stub/commands/list.py",),
}
"""One third-party library, one place; docs/decisions/dependencies.md says why each is there."""

JSON_USERS: dict[str, str] = {
    "mcp_remote_py/core/credentials.py": "reads the claims of tokens, and what commands print",
    "mcp_remote_py/core/message.py": "decodes and encodes every message",
    "mcp_remote_py/log.py": "writes log lines as JSON, where that is asked for",
    "mcp_remote_py/demo.py": "plays a host, which makes messages of its own",
    "server_stub/core/access.py": "reads the first message of a WebSocket client, a token, which is no JSON-RPC",
    "server_stub/core/json_text.py": "writes members into configuration files, which are edited as text",
}
"""The files that may import json, with the reason. A relay that decodes elsewhere rebuilds what it should carry."""

ENVIRONMENT_READERS: dict[str, str] = {
    "mcp_remote_py/cli.py": "reads the settings, once",
    "mcp_remote_py/credentials/bearer_command.py": "hands it on to the command, but for our own secrets",
    "mcp_remote_py/auth/browser.py": "hands it on to the browser, but for our own secrets, and reads BROWSER",
    "server_stub/cli.py": "reads the settings, once",
    "mcp_remote_py/demo.py": "hands it on to the two programs that it starts",
    "server_stub/serving.py": "RemoteMCPServer takes its token from there, as the programs written for it expect",
    REMOTE_MEMBERS: "reads the proxies and certificates on the way to members that are remote servers",
    "server_stub/reaper.py": "hands on what an interpreter may need to start",
    "server_stub/children.py": "hands the SDK's default set on to the children",
}
"""The files that may read the environment, with the reason."""

BANNED_NAMES = frozenset({"util", "helper", "common", "misc", "base", "manager"})


@cache
def _everything() -> tuple[Source, ...]:
    return (*rules.read_package(ROOT, CLIENT), *rules.read_package(ROOT, SERVER))


@cache
def _client() -> tuple[Source, ...]:
    return tuple(rules.read_package(ROOT, CLIENT))


def _assert_none(violations: Sequence[Violation]) -> None:
    assert not violations, "\n" + "\n".join(sorted(str(violation) for violation in violations))


# --- The source as it stands -----------------------------------------------------------------------------------------


def test_the_packages_are_found() -> None:
    names = {source.name for source in _everything()}
    assert {"mcp_remote_py", "mcp_remote_py.core.message", "server_stub"} <= names


@pytest.mark.parametrize("ring", ["mcp_remote_py.core", "server_stub.core"])
def test_the_pure_rings_import_no_io_and_never_await(ring: str) -> None:
    _assert_none(
        rules.pure(_everything(), ring, "mcp_remote_py.core", PURE_STDLIB, async_in="mcp_remote_py/core/link.py")
    )


def test_imports_of_the_bridge_point_downwards() -> None:
    _assert_none(rules.layered(_client(), LAYERS))


def test_no_modules_import_each_other() -> None:
    _assert_none(rules.acyclic(_everything()))


def test_nothing_imports_the_relay_but_its_drivers() -> None:
    inside = [source for source in _everything() if rules.is_within(source.name, "mcp_remote_py.core")]
    _assert_none(rules.never(inside, "mcp_remote_py.core", "mcp_remote_py.core.relay"))


def test_the_bridge_never_imports_the_server() -> None:
    _assert_none(rules.never(_everything(), CLIENT, SERVER))


def test_the_server_uses_the_core_the_log_and_the_arguments_of_the_bridge_alone() -> None:
    found = rules.never(_everything(), SERVER, CLIENT, but=SERVER_USES)
    _assert_none([violation for violation in found if violation.path != REMOTE_MEMBERS])
    _assert_none(
        rules.never(_everything(), REMOTE_MEMBERS[:-3].replace("/", "."), CLIENT, but=SERVER_USES | REMOTE_USES)
    )


def test_each_library_has_one_home() -> None:
    _assert_none(rules.at_home(_everything(), LIBRARY_HOMES, own={CLIENT, SERVER}))


@pytest.mark.parametrize("start", ["mcp_remote_py.cli", "mcp_remote_py.__main__", "server_stub.cli"])
def test_no_library_is_loaded_before_it_is_needed(start: str) -> None:
    _assert_none(rules.cold(_everything(), start, LIBRARY_HOMES))


def test_json_is_imported_in_the_listed_files_alone() -> None:
    _assert_none(rules.unlisted_import(_everything(), "json", JSON_USERS))


def test_the_environment_is_read_in_the_listed_files_alone() -> None:
    _assert_none(rules.reads_environment(_everything(), ENVIRONMENT_READERS))


def test_nothing_prints() -> None:
    _assert_none(rules.prints(_everything()))


def test_every_module_says_what_lives_in_it() -> None:
    _assert_none(rules.undocumented(_everything()))


def test_no_name_says_nothing() -> None:
    _assert_none(rules.badly_named(_everything(), BANNED_NAMES))


def test_the_lists_name_no_file_that_is_gone() -> None:
    homes = [pattern for patterns in LIBRARY_HOMES.values() for pattern in patterns]
    named = [*homes, *JSON_USERS, *ENVIRONMENT_READERS]
    assert [pattern for pattern in named if not list(ROOT.glob(pattern))] == []


# --- The rules themselves, on made-up source -------------------------------------------------------------------------

MADE_UP = (
    parse("top/__init__.py", '"""Top."""\n'),
    parse("top/core/__init__.py", '"""Core."""\n'),
    parse("top/core/a.py", '"""A."""\nimport json\n'),
    parse("top/core/link.py", '"""Link."""\nasync def send(): ...\n'),
    parse("top/net.py", '"""Net."""\nimport httpx\n'),
    parse("top/cli.py", '"""Cli."""\nimport os\nhome = os.environ\n'),
)
LAYERS_MADE_UP = (
    frozenset({"top"}),
    frozenset({"top.core"}),
    frozenset({"top.net"}),
    frozenset({"top.bridge"}),
    frozenset({"top.cli"}),
)
HOMES_MADE_UP = {"httpx": ("top/net.py",)}


def _pure(sources: Sequence[Source]) -> list[Violation]:
    return rules.pure(sources, "top.core", "top.core", PURE_STDLIB, async_in="top/core/link.py")


def _layered(sources: Sequence[Source]) -> list[Violation]:
    return rules.layered(sources, LAYERS_MADE_UP)


def _apart(sources: Sequence[Source]) -> list[Violation]:
    return rules.never(sources, "top", "other", but={"other.core", "other:__version__"})


def _at_home(sources: Sequence[Source]) -> list[Violation]:
    return rules.at_home(sources, HOMES_MADE_UP, own={"top", "other"})


def _cold(sources: Sequence[Source]) -> list[Violation]:
    return rules.cold(sources, "top.cli", HOMES_MADE_UP)


def _json(sources: Sequence[Source]) -> list[Violation]:
    return rules.unlisted_import(sources, "json", {"top/core/a.py": "reason"})


def _environment(sources: Sequence[Source]) -> list[Violation]:
    return rules.reads_environment(sources, {"top/cli.py": "reason"})


def _named(sources: Sequence[Source]) -> list[Violation]:
    return rules.badly_named(sources, BANNED_NAMES)


Rule = Callable[[Sequence[Source]], list[Violation]]
EVERY_RULE: tuple[Rule, ...] = (
    _pure,
    _layered,
    _apart,
    _at_home,
    _cold,
    _json,
    _environment,
    _named,
    rules.acyclic,
    rules.prints,
    rules.undocumented,
)


@pytest.mark.parametrize("rule", EVERY_RULE, ids=lambda rule: rule.__name__)
def test_a_rule_accepts_source_that_keeps_it(rule: Rule) -> None:
    assert rule(MADE_UP) == []


BROKEN: list[tuple[Rule, str, str, int]] = [
    (_pure, "top/core/b.py", "'''B.'''\nimport asyncio\n", 2),
    (_pure, "top/core/b.py", "'''B.'''\ndef f():\n    import time\n", 3),
    (_pure, "top/core/b.py", "'''B.'''\nfrom urllib import request\n", 2),
    (_pure, "top/core/b.py", "'''B.'''\nimport top.net\n", 2),
    (_pure, "top/core/b.py", "'''B.'''\nfrom .. import net\n", 2),
    (_pure, "top/core/b.py", "'''B.'''\nasync def f(): ...\n", 2),
    (_pure, "top/core/deep/b.py", "'''B.'''\nclass C:\n    async def f(self): ...\n", 3),
    (_layered, "top/core/b.py", "'''B.'''\nfrom top import net\n", 2),
    (_layered, "top/core/b.py", "'''B.'''\nfrom ..net import thing\n", 2),
    (_layered, "top/bridge.py", "'''B.'''\ndef f():\n    from top.cli import main\n", 3),
    (_layered, "top/bridge.py", "'''B.'''\nimport importlib\ncli = importlib.import_module('top.cli')\n", 3),
    (_apart, "top/b.py", "'''B.'''\nimport other\n", 2),
    (_apart, "top/b.py", "'''B.'''\nfrom other.net import http\n", 2),
    (_apart, "top/b.py", "'''B.'''\nfrom other import cli\n", 2),
    (_at_home, "top/b.py", "'''B.'''\ndef f():\n    import httpx\n", 3),
    (_at_home, "top/b.py", "'''B.'''\nfrom httpx._client import Client\n", 2),
    (_at_home, "top/b.py", "'''B.'''\nimport requests\n", 2),
    (_cold, "top/cli.py", "'''B.'''\nimport top.net\n", 2),
    (_json, "top/b.py", "'''B.'''\nimport json\n", 2),
    (_json, "top/b.py", "'''B.'''\nfrom json import loads\n", 2),
    (_environment, "top/b.py", "'''B.'''\nimport os\nx = os.environ['A']\n", 3),
    (_environment, "top/b.py", "'''B.'''\nimport os\nx = os.getenv('A')\n", 3),
    (_environment, "top/b.py", "'''B.'''\nfrom os import environ\n", 2),
    (_named, "top/util.py", "'''B.'''\n", 1),
    (_named, "top/b.py", "'''B.'''\nclass LinkManager: ...\n", 2),
    (_named, "top/b.py", "'''B.'''\ndef helpers(): ...\n", 2),
    (rules.prints, "top/b.py", "'''B.'''\nprint('hello')\n", 2),
    (rules.undocumented, "top/b.py", "x = 1\n", 1),
]


@pytest.mark.parametrize(("rule", "path", "text", "line"), BROKEN)
def test_a_rule_finds_the_line_that_breaks_it(rule: Rule, path: str, text: str, line: int) -> None:
    sources = [source for source in MADE_UP if source.path != path] + [parse(path, text)]
    found = rule(sources)
    if rule is _cold:
        assert [(violation.path, violation.line) for violation in found] == [("top/net.py", 2)]
        assert "top.cli -> top.net" in found[0].rule
    else:
        assert {(violation.path, violation.line) for violation in found} == {(path, line)}
        assert str(found[0]).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    import top.net\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import top.net\n",
    ],
)
def test_a_lazy_or_typing_import_costs_nothing_at_start(text: str) -> None:
    sources = [source for source in MADE_UP if source.path != "top/cli.py"] + [parse("top/cli.py", text)]
    assert _cold(sources) == []


def test_a_package_on_the_way_is_loaded_too() -> None:
    sources = (
        parse("top/__init__.py", "import httpx\n"),
        parse("top/deep/__init__.py", ""),
        parse("top/deep/thing.py", ""),
        parse("other/cli.py", "import top.deep.thing\n"),
    )
    assert [str(violation)[:18] for violation in rules.cold(sources, "other.cli", {"httpx"})] == ["top/__init__.py:1:"]


def test_the_listed_members_of_another_package_may_be_used() -> None:
    text = "from other import __version__\nfrom other.core.message import Message\nimport other.core\n"
    assert _apart([parse("top/b.py", text)]) == []


def test_modules_that_import_each_other_lazily_are_found() -> None:
    sources = (
        parse("top/a.py", "from top import b\n"),
        parse("top/b.py", "def f():\n    from top import c\n"),
        parse("top/c.py", "import top.a\n"),
    )
    found = rules.acyclic(sources)
    assert [(violation.path, violation.line) for violation in found] == [("top/c.py", 1)]
    assert "top.a -> top.b -> top.c -> top.a" in found[0].rule


def test_a_module_in_no_layer_is_found() -> None:
    sources = [parse("top/__init__.py", ""), parse("top/core/a.py", ""), parse("top/new.py", "")]
    found = rules.layered(sources, [{"top"}, {"top.core"}])
    assert [violation.path for violation in found] == ["top/new.py"]
