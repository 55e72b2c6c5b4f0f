"""The console script `mcp-remote-server`: argument vector in, exit code out. No policy; the server is imported on use.

Exit codes: 0 stopped in order; 2 the configuration cannot work; 128 + n ended at once by a second signal.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from mcp_remote_py.arguments import LISTED, Parser, read_text, speak_utf8
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import INSTALL_SERVER, ConfigError
from mcp_remote_py.core.options import Given
from server_stub import configuration, option_table, settings
from server_stub.commands import COMMANDS

if TYPE_CHECKING:
    from mcp_remote_py.core.redact import Redactor
    from server_stub.backends import Connect

PROGRAM = "mcp-remote-server"
_SHARED_GRACE = 4.0
PATHS = "(/mcp /sse /ws /health)"
HOSTED_PATHS = "(/{name}/mcp /{name}/sse /{name}/ws /health)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the console script."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    speak_utf8(sys.stderr)
    try:
        if arguments and arguments[0] in COMMANDS:
            return _command(arguments)
        arguments = ["--help"] if arguments == ["help"] else arguments
        if arguments and not arguments[0].startswith("-"):
            _refuse_a_wrong_word(arguments)
        configured = _configured(arguments)
        if configured is None:
            return 0
        for library in ("aiohttp", *(("jwt",) if configured.auth.jwt else ())):  # what `read_settings` did not need
            if importlib.util.find_spec(library) is None:
                raise ConfigError(f"{library} is not installed. {INSTALL_SERVER}")
        return _serve(configured)
    except ConfigError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return ConfigError.exit_code


def _configured(arguments: list[str]) -> settings.ServeSettings | None:
    try:
        return read_settings(arguments, os.environ)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed. {INSTALL_SERVER}") from None


def _command(arguments: list[str]) -> int:
    """Run one of the commands. Raises `ConfigError`."""
    speak_utf8(sys.stdout)
    try:
        module: Any = importlib.import_module(COMMANDS[arguments[0]])
        code: int = module.run(arguments, os.environ)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed. {INSTALL_SERVER}") from None
    return code


def _refuse_a_wrong_word(arguments: list[str]) -> None:
    from server_stub.commands.first_word import mistake

    sentence = mistake(arguments)
    if sentence is not None:
        raise ConfigError(sentence)


def _serve(configured: settings.ServeSettings) -> int:
    import asyncio
    import logging

    from mcp_remote_py import log
    from mcp_remote_py.core.redact import Redactor
    from server_stub import connections, process_groups, reaper

    redactor = Redactor()
    for secret in configured.secrets:
        redactor.add(secret)
    handler = log.set_up(PROGRAM, configured.log_level, redactor, file=configured.log_file, style=configured.log_format)
    log.catch_all(handler)
    for note in configured.notes:
        logging.getLogger("server_stub").warning("%s", note)
    process_groups.wait_without_threads()
    connections.raise_limit()
    try:
        with reaper.watching():
            if configured.hosting is not None:
                _host(configured, configured.hosting, redactor)
            else:
                asyncio.run(_run(configured))
    finally:
        handler.drain(0.5)
    return 0


def _host(configured: settings.ServeSettings, hosting: settings.Hosting, redactor: Redactor) -> None:
    """Serve every server of a file. Raises `ConfigError`."""
    import asyncio
    import logging

    from server_stub.config_file import read_roster
    from server_stub.hosted_app import HostedServer
    from server_stub.logbook import open_logbook
    from server_stub.programs import all_missing

    environ, roster = dict(os.environ), hosting.roster
    book, kept = hosting.logbook, None
    if book.directory is not None:
        kept = open_logbook(
            book.directory,
            book.system_level,
            book.member_level,
            book.system_retention,
            book.member_retention,
            redactor,
            configured.log_format,
        )
    log = logging.getLogger("server_stub")
    for finding in roster.findings:
        log.log(logging.ERROR if finding.severity == "error" else logging.WARNING, "%s", finding)

    async def run() -> None:
        server = HostedServer(configured, hosting, roster, lambda: read_roster(hosting.file, environ), redactor)

        def ready(url: str) -> None:
            _announce(url, HOSTED_PATHS if not hosting.aggregate else f"(/mcp /sse /ws {HOSTED_PATHS[1:]}")
            log.info("servers of %s: %s", os.path.abspath(hosting.file), ", ".join(server.introduced()) or "none")
            for text in all_missing(roster, environ):  # they may come later, so this stops nobody
                log.warning("%s", text)

        await server.run(ready)

    try:
        asyncio.run(run())
    finally:
        if kept is not None:
            kept.close()


async def _run(configured: settings.ServeSettings) -> None:
    from server_stub.app import run
    from server_stub.backends.handler import connect_handler

    if configured.child is None:
        await run(configured, _renamed(connect_handler(_handler(configured)), configured), _announce)
        return
    from server_stub.backends.process import ProcessLink, connect_process
    from server_stub.backends.shared import shared_connect

    spec = _spec(configured.child, configured.limits.body)
    if not configured.stateless:
        await run(configured, _renamed(connect_process(spec), configured), _announce)
        return
    # A shared child is stopped after the server: together they must keep to what a stop may take.
    timing = configured.timing._replace(grace=min(configured.timing.grace, _SHARED_GRACE))
    async with shared_connect(lambda: ProcessLink(spec)) as connect:
        await run(configured._replace(timing=timing), _renamed(connect, configured), _announce)


def _renamed(connect: Connect, configured: settings.ServeSettings) -> Connect:
    """Return what gives links whose tools and prompts have the names that `--normalize-names` asks for."""
    if configured.names == "off":
        return connect
    from server_stub.backends.shaped import shaped
    from server_stub.core.roster import Manners

    return shaped(connect, Manners(names=configured.names))


def _spec(child: settings.Child, message_limit: int) -> Any:
    from server_stub.children import ServerSpec

    return ServerSpec(
        command=child.command,
        shell=child.shell,
        env=child.env,
        cwd=child.cwd,
        pass_environment=child.pass_environment,
        hidden_variables=frozenset(child.hidden_variables),
        message_limit=message_limit,
    )


def _handler(configured: settings.ServeSettings) -> Any:
    """Return the Python function that answers. Raises `ConfigError` where it cannot be found."""
    if configured.demo:
        from server_stub.demo import make_demo

        return make_demo()
    name, colon, attribute = (configured.handler or "").partition(":")
    if not colon or not name or not attribute:
        raise ConfigError(f"--handler: {configured.handler!r} is not package.module:callable.")
    sys.path.insert(0, os.getcwd())  # a console script does not look there by itself, and `python -m` does
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"--handler: there is no module {error.name!r} here or among the installed ones.") from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"--handler: {name} has no {attribute}.{options.did_you_mean(part, dir(found))}")
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f"--handler: {configured.handler} is a {type(found).__name__}, which cannot be called.")
    return found


def _announce(url: str, paths: str = PATHS) -> None:
    """Say where the server listens. Not a log line: whoever starts the server waits for it, at any --log-level."""
    sys.stderr.write(f"{PROGRAM}: listening on {url} {paths}\n")
    sys.stderr.flush()


# --- Arguments -------------------------------------------------------------------------------------------------------


def read_settings(arguments: list[str], environ: Mapping[str, str]) -> settings.ServeSettings | None:
    """Parse the command line and the environment. None: `--help` or `--version` was asked for, and answered.

    Raises `ConfigError`.
    """
    line = _read_line(arguments)
    if line is None:
        return None
    stored, stored_notes = _of_other_programs(environ)
    environ = {**environ, **line.tokens}  # a token from the command line has its flag for the name of its variable
    given = configuration.with_lists(line.given, environ)
    given.setdefault("auth_token_env", []).extend((flag, flag) for flag in line.tokens)
    if line.command is not None and not any(name in given for name in option_table.WHAT_TO_SERVE):
        given["stdio"] = [("--", "1")]
    resolved = options.resolve(option_table.OPTIONS, given, environ, stored)
    roster = None
    if configuration.is_hosting(resolved):
        from server_stub.config_file import read_roster

        roster = read_roster(resolved.values["config"], environ)
        resolved = options.resolve(option_table.OPTIONS, given, environ, {**configuration.of_front(roster), **stored})
    configured = configuration.build(line.command, resolved, configuration.Inputs(environ, read_text, roster))
    named = [resolved.values[name] for name in ("jwt_secret_env",) if resolved.values[name]]
    misspelt = options.misspelt(
        option_table.OPTIONS, option_table.PREFIX, environ, (*named, *resolved.values["auth_token_env"])
    )
    return configured._replace(notes=(*line.notes, *stored_notes, *misspelt))


class _Line(NamedTuple):
    """The command line, split, in our own words. `command` is what stood behind `--`, None where there was no `--`."""

    given: Given
    command: tuple[str, ...] | None
    tokens: Mapping[str, str] = MappingProxyType({})
    notes: tuple[str, ...] = ()


def _read_line(arguments: list[str]) -> _Line | None:
    """Split the command line. None: it was a question, and is answered. Raises `ConfigError`."""
    try:
        return _read_ours(arguments)
    except ConfigError:
        from server_stub import compat

        translated = compat.translate(arguments)
        if translated is None:
            raise
        return _Line(translated.given, translated.command, translated.tokens, translated.notes)


def _read_ours(arguments: list[str]) -> _Line | None:
    command: tuple[str, ...] | None = None
    if "--" in arguments:
        at = arguments.index("--")
        arguments, command = arguments[:at], tuple(arguments[at + 1 :])
    parser = _parser()
    parsed, unknown = parser.parse_known_args(arguments)
    if parser.answered(parsed):
        return None
    given: Given = parsed.given or {}
    if unknown:
        raise ConfigError(_unexpected(parser, unknown, is_stdio="stdio" in given and command is None))
    return _Line(given, command)


def _of_other_programs(environ: Mapping[str, str]) -> tuple[Given, tuple[str, ...]]:
    """Return what variables of npm's mcp-proxy give. Ours win over them."""
    if not any(name.startswith("MCP_PROXY_") for name in environ):
        return {}, ()
    from server_stub import compat

    return compat.variables(environ)


def _unexpected(parser: Parser, words: list[str], *, is_stdio: bool) -> str:
    if is_stdio and not words[0].startswith("-"):
        return f"The command of --stdio stands behind `--`. Type for example:\n  {configuration.EXAMPLE}"
    flag = next((word.partition("=")[0] for word in words if word.startswith("-")), None)
    if flag is None:
        return f"{words[0]!r} was not expected here. {LISTED}"
    return parser.unknown(flag)


def _parser() -> Parser:
    return Parser(
        option_table.OPTIONS,
        prog=PROGRAM,
        usage=f"{PROGRAM} --stdio [options] -- CMD ARGS...\n       {PROGRAM} --config FILE [options]\n"
        f"       {PROGRAM} --handler MODULE:NAME [options]\n       {PROGRAM} --demo [options]\n"
        f"       {PROGRAM} COMMAND ...\n\ncommands (each has its --help):\n  {', '.join(COMMANDS)}",
        description="Serves MCP servers over Streamable HTTP (/mcp), HTTP+SSE (/sse) and WebSocket (/ws).",
        epilog="Environment: PORT, CORS_ORIGINS (comma-separated), and MCP_REMOTE_SERVER_<FLAG> for most flags; "
        "a flag wins over a variable. Exit codes: 0 stopped in order, 2 the configuration cannot work.",
    )
