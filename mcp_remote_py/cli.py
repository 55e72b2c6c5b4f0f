"""The console script `mcp-remote-py`: argument vector in, exit code out. No policy; sub-commands are imported on use.

Exit codes: 0 done; 2 the configuration cannot work; 1 a command failed; 128 + n ended at once by a second signal.
"""

from __future__ import annotations

import os
import sys
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mcp_remote_py.arguments import Parser, read_text, speak_utf8
from mcp_remote_py.configuration import Inputs, build
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.options import Given
from mcp_remote_py.core.redact import Redactor
from mcp_remote_py.credential_settings import BASIC_PASSWORD
from mcp_remote_py.lifetime import leave_quietly
from mcp_remote_py.option_row import PREFIX
from mcp_remote_py.option_table import OPTIONS
from mcp_remote_py.settings import Settings, Tls

if TYPE_CHECKING:
    from mcp_remote_py.trace import Trace

PROGRAM = "mcp-remote-py"
COMMANDS = {
    "demo": "start a server and carry real calls to it over all three transports",
    "replay": "answer a host from a file that --trace wrote",
    "login": "sign in to a server now, instead of at its first call",
    "logout": "revoke and forget the tokens of a server, or of all (--all)",
    "auth": "`auth status` shows who is signed in where; never a token",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the console script. In bridge mode the process ends inside; the code is for everything else."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    speak_utf8(sys.stderr)
    try:
        if arguments[:1] == ["help"]:
            arguments = ["--help"]
        if arguments and arguments[0] in COMMANDS:
            return _command(arguments[0], arguments[1:])
        leave_quietly()
        configured = read_settings(arguments, os.environ)
        if configured is None:
            return 0
        configured = with_usable_files(configured)
    except ConfigError as error:
        sys.stderr.write(f"{PROGRAM}: {Redactor().scrub(str(error))}\n")
        return ConfigError.exit_code
    return run_bridge(configured)


def _command(name: str, arguments: list[str]) -> int:
    if name == "demo":
        from mcp_remote_py import demo

        return demo.main(arguments)
    if name == "replay":
        from mcp_remote_py import replay

        return replay.main(arguments)
    if name in ("login", "logout", "auth"):
        from mcp_remote_py.auth import accounts

        return accounts.main(name, arguments, _read_usable, _redactor)
    raise ConfigError(f"no such command: {name}")


def _read_usable(arguments: list[str]) -> Settings | None:
    """Read the settings of a command that takes the options of the bridge."""
    configured = read_settings(arguments, os.environ)
    return None if configured is None else with_usable_files(configured)


def run_bridge(configured: Settings) -> int:
    """Guard stdout, then carry messages until there is a reason to go."""
    from mcp_remote_py.stdio import take_stdout

    try:
        stdout = take_stdout()
        os.fstat(0)
    except OSError:
        sys.stderr.write(f"{PROGRAM}: stdin or stdout is closed. A host starts this program with pipes on both.\n")
        return ConfigError.exit_code
    import asyncio
    import logging

    from mcp_remote_py import log
    from mcp_remote_py.bridge import Bridge

    redactor, given = _redactor(configured), configured.logging
    try:
        handler = log.set_up(PROGRAM, given.level, redactor, file=given.file, style=given.format, bodies=given.bodies)
        trace = None if given.trace is None else _trace(given.trace, redactor)
    except ConfigError as error:
        sys.stderr.write(f"{PROGRAM}: {redactor.scrub(str(error))}\n")
        return ConfigError.exit_code
    log.catch_all(handler)
    for note in configured.notes:
        # what --insecure gives up is said even to those who asked for silence
        level = logging.ERROR if note.startswith("--insecure ") else logging.WARNING
        logging.getLogger("mcp_remote_py").log(level, "%s", note)
    if sys.stdin is not None and sys.stdin.isatty():
        logging.getLogger("mcp_remote_py").warning(
            "this is a bridge for an MCP host, and waits for JSON-RPC on stdin; --help says more, `demo` shows it"
        )

    async def carry() -> None:
        await Bridge(configured, redactor, handler, trace).run(0, stdout)

    asyncio.run(carry())
    return 0


def _trace(path: str, redactor: Redactor) -> Trace:
    """Raises `ConfigError` where the file cannot be written."""
    from mcp_remote_py.trace import Trace

    return Trace(path, redactor, sys.platform)


def _redactor(configured: Settings) -> Redactor:
    """Return a redactor that knows the secrets that were given, and the places where short ones stand."""
    redactor, given = Redactor(), configured.credentials
    for secret in (*configured.secrets, configured.tls.client_password or ""):
        redactor.add(secret)
    for name, _ in (*given.headers, *(given.header_file.headers if given.header_file else ())):
        redactor.know_header(name)
    for name, _ in urllib.parse.parse_qsl(urllib.parse.urlsplit(configured.target.url).query):
        redactor.know_parameter(name)
    return redactor


def with_usable_files(configured: Settings) -> Settings:
    """Return the settings as far as their certificates and keys can be used, with notes about the rest.

    Raises `ConfigError` for what cannot be used and was asked for by a flag or the configuration file.
    """
    if configured.tls != Tls():
        from mcp_remote_py.net import tls

        configured = tls.checked(configured)
    _check_sign_in(configured)
    if configured.credentials.authorization is None:
        return configured
    from mcp_remote_py import credentials

    return configured._replace(notes=(*configured.notes, *credentials.check(configured.credentials)))


def _check_sign_in(configured: Settings) -> None:
    """Raises `ConfigError` for a keyring that is not there, and for a private key that cannot sign."""
    sign_in = configured.sign_in
    if sign_in.token_store == "keyring":  # noqa: S105  (a place, no secret)
        from mcp_remote_py.auth.store import open_store

        open_store(sign_in.token_store, configured.home, lambda _: None)
    if sign_in.private_key is not None:
        from mcp_remote_py.auth import signing

        signing.check(sign_in.private_key, sign_in.preferences.signing_alg)


class _Line(NamedTuple):
    """The command line, split, in our own words."""

    given: Given
    notes: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    """Flags that switch verification off for the host of the URL, which may stand elsewhere."""


def read_settings(arguments: list[str], environ: Mapping[str, str]) -> Settings | None:
    """Parse the command line, the environment and the configuration file.

    None: `--help`, `--version` or `--print-config` was asked for, and answered. Raises `ConfigError`.
    """
    line = _read_line(arguments)
    if line is None:
        return None
    stored, file_notes, choice = _read_file(line.given, environ)
    resolved = options.resolve(OPTIONS, line.given, environ, stored)
    if line.unverified and resolved.values["url"]:
        from mcp_remote_py import compat

        host = compat.host_of(resolved.values["url"])
        if host is not None:
            line.given.setdefault("insecure", []).extend((flag, host) for flag in line.unverified)
            resolved = options.resolve(OPTIONS, line.given, environ, stored)
    notes = (*line.notes, *file_notes, *_misspelt(resolved, environ))
    inputs = Inputs(environ, read_text, os.pathsep)

    def make() -> Settings:
        if choice and not resolved.values["url"]:
            raise ConfigError(f"No URL was given. {choice}")
        made = build(resolved, inputs)
        return made._replace(notes=(*notes, *made.notes), secrets=(*made.secrets, *line.secrets))

    if resolved.values["print_config"]:
        from mcp_remote_py import print_config

        speak_utf8(sys.stdout)
        print_config.show(sys.stdout, OPTIONS, resolved, lambda: with_usable_files(make()))
        return None
    return make()


def _read_line(arguments: list[str]) -> _Line | None:
    """Split the command line. None: it was a question, and is answered."""
    parser = _parser()
    parsed, unknown = parser.parse_known_intermixed_args(arguments)
    if parser.answered(parsed):
        return None
    line = _Line(parsed.given or {})
    words: list[str] = [*parsed.words, *unknown]
    if "--" in arguments or any(word.startswith("-") for word in words) or len(words) > 1:
        from mcp_remote_py import compat

        carried = compat.carry(arguments)
        if carried.unknown:
            raise ConfigError(parser.unknown(carried.unknown[0]))
        line = _Line(carried.given, tuple(carried.notes), tuple(carried.secrets), tuple(carried.unverified))
        words = carried.words
    _check_words(words)
    if words:
        line.given.setdefault("url", []).append(("the URL", words[0]))
    if len(words) == 2:  # as mcp-remote has it
        line.given.setdefault("callback_port", []).insert(0, ("the port", words[1]))
    urls = line.given.get("url", [])
    if len(urls) > 1:
        raise ConfigError(f"{urls[0][0]} and {urls[1][0]} both name a server: one URL is enough.")
    return line


def _read_file(given: Given, environ: Mapping[str, str]) -> tuple[Given, tuple[str, ...], str]:
    """Return what the configuration file says, what is to be said about it, and which choice it leaves."""
    found = options.resolve([option for option in OPTIONS if option.name in ("config", "profile")], given, environ)
    path, profile = found.values["config"], found.values["profile"]
    where = found.origins["profile"]
    if path is None:
        if profile is not None:
            raise ConfigError(f"{where}: profiles are in a configuration file. Name it with --config FILE.")
        return {}, (), ""
    from mcp_remote_py import config_file

    stored = config_file.read(path, found.origins["config"], profile, where, OPTIONS)
    choice = "" if profile or not stored.profiles else f"Choose a profile: --profile {' or '.join(stored.profiles)}"
    return stored.given, stored.notes, choice


def _misspelt(resolved: options.Resolved, environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable that begins like ours and is none, which nobody would notice otherwise."""
    named = {resolved.values[option.name] for option in OPTIONS if option.metavar == "VAR"}
    for text in resolved.values["header"] or ():
        named.update(options.variables_in(text))
    return options.misspelt(OPTIONS, PREFIX, environ, (BASIC_PASSWORD, *filter(None, named)))


def _check_words(words: list[str]) -> None:
    """Recognise what people who come from `npx mcp-remote` leave in place, or forget to quote."""
    if not words or (len(words) == 1 and "://" in words[0]):
        return
    from mcp_remote_py import compat

    compat.check_words(words)
    guess = options.did_you_mean(words[0], COMMANDS)
    if guess and "://" not in words[0]:
        raise ConfigError(f"{words[0]!r} is no URL.{guess}")
    if len(words) == 1:
        return
    if words[1].lower() in ("bearer", "basic", "token"):
        raise ConfigError(
            f'{words[1]!r} stands alone. Quote the whole header: --header "Authorization: {words[1]} ..."'
        )
    if len(words) == 2 and words[1].isdecimal():
        return
    if "://" in words[1]:
        raise ConfigError(f"{words[1]!r}: one URL is enough.")
    raise ConfigError(  # the word is not shown: it may be a token that lost its quotes
        "There is a word too many behind the URL: one URL is enough. If the word belongs to a header, quote the whole "
        'header: --header "Name: value"'
    )


def _parser() -> Parser:
    parser = Parser(
        OPTIONS,
        prog=PROGRAM,
        usage=f"{PROGRAM} URL [options]\n       {PROGRAM} login URL [options]\n"
        f"       {PROGRAM} logout URL|--all [options]\n       {PROGRAM} auth status [URL] [--json] [options]\n"
        f"       {PROGRAM} demo\n       {PROGRAM} replay FILE",
        description="Carries MCP messages between a host on stdin and stdout and a remote MCP server.",
        epilog="commands: "
        + "; ".join(f"{name}: {text}" for name, text in COMMANDS.items())
        + ". Environment: MCP_REMOTE_URL (the URL), MCP_AUTH_TOKEN (a bearer token), MCP_MODE (http, remote or "
        "websocket), NODE_EXTRA_CA_CERTS (one more certificate file), and MCP_REMOTE_PY_<FLAG> for most flags. A flag "
        "wins over a variable, a variable over the file of --config; --print-config shows what came from where. "
        "Exit codes: 0 done, 2 the configuration cannot work.",
    )
    parser.add_argument(
        "words", nargs="*", metavar="URL", help="the server's endpoint: https://, http://, wss:// or ws://"
    )
    return parser
