"""The console script `mcp-remote-py`: argument vector in, exit code out. No policy; sub-commands are imported on use.

Exit codes: 0 done; 2 the configuration cannot work; 1 `demo` failed; 128 + n ended at once by a second signal.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TextIO

from mcp_remote_py import __version__, settings
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.redact import Redactor

PROGRAM = "mcp-remote-py"
COMMANDS = {"demo": "start a server and carry real calls to it over all three transports"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the console script. In bridge mode the process ends inside; the code is for everything else."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _speak_utf8(sys.stderr)
    try:
        if arguments and arguments[0] in COMMANDS:
            return _command(arguments[0], arguments[1:])
        configured = read_settings(arguments, os.environ)
        if configured is None:
            return 0
        _check_bundles(configured)
    except ConfigError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return ConfigError.exit_code
    return run_bridge(configured)


def _command(name: str, arguments: list[str]) -> int:
    if name == "demo":
        from mcp_remote_py import demo

        return demo.main(arguments)
    raise ConfigError(f"no such command: {name}")


def run_bridge(configured: settings.Settings) -> int:
    """Guard stdout, then carry messages until there is a reason to go."""
    from mcp_remote_py.stdio import take_stdout

    try:
        stdout = take_stdout()
        os.fstat(0)
    except OSError:
        raise_text = "stdin or stdout is closed. A host starts this program with pipes on both."
        sys.stderr.write(f"{PROGRAM}: {raise_text}\n")
        return ConfigError.exit_code
    import asyncio
    import logging

    from mcp_remote_py import log
    from mcp_remote_py.bridge import Bridge

    redactor = Redactor()
    for secret in configured.secrets:
        redactor.add(secret)
    handler = log.set_up(PROGRAM, configured.log_level, redactor)
    for note in configured.notes:
        logging.getLogger("mcp_remote_py").warning("%s", note)
    if sys.stdin is not None and sys.stdin.isatty():
        logging.getLogger("mcp_remote_py").warning(
            "this is a bridge for an MCP host, and waits for JSON-RPC on stdin; --help says more, `demo` shows it"
        )

    async def carry() -> None:
        await Bridge(configured, redactor, handler).run(0, stdout)

    asyncio.run(carry())
    return 0


def _check_bundles(configured: settings.Settings) -> None:
    if configured.tls.ca_bundles:
        from mcp_remote_py.net import tls

        for path in configured.tls.ca_bundles:
            tls.check_bundle(path)


def read_settings(arguments: list[str], environ: Mapping[str, str]) -> settings.Settings | None:
    """Parse the command line and the environment. None: `--help` or `--version` was asked for, and answered.

    Raises `ConfigError`.
    """
    parser = _parser()
    parsed, unknown = parser.parse_known_intermixed_args(arguments)
    if parsed.help:
        _speak_utf8(sys.stdout)
        parser.print_help(sys.stdout)
        return None
    if parsed.version:
        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        return None
    for word in unknown:
        if word.startswith("-"):
            raise ConfigError(_unknown(word.partition("=")[0]))
    words: list[str] = [*parsed.words, *unknown]
    given: dict[str, list[tuple[str, str]]] = parsed.given or {}
    inputs = settings.Inputs(environ, _read_text)
    configured = settings.build(words[0] if words else None, options.resolve(settings.OPTIONS, given, environ), inputs)
    if len(words) > 1:
        return configured._replace(notes=(*configured.notes, _second_word(words)))
    return configured


def _second_word(words: list[str]) -> str:
    if len(words) == 2 and words[1].isdecimal():
        return (
            f"The second argument ({words[1]}) is the port for a browser's answer in mcp-remote; nothing here needs it."
        )
    raise ConfigError(f"{words[1]!r}: one URL is enough.{options.did_you_mean(words[0], COMMANDS)}")


def _unknown(flag: str) -> str:
    from mcp_remote_py import compat

    known = [spelling for option in settings.OPTIONS for spelling in option.flags]
    explained = compat.explain(flag)
    if explained is not None:
        return explained
    return f"unknown flag {flag}.{options.did_you_mean(flag, [*known, '--help', '--version'])} (--help lists all)"


class _Collect(argparse.Action):
    """Notes (flag, text) under the option's name, so that the table, not argparse, decides what it means."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        del parser  # argparse hands it over; there is no use for it
        given: dict[str, list[tuple[str, str]]] = namespace.given or {}
        given.setdefault(self.dest, []).append((option_string or self.dest, values if isinstance(values, str) else "1"))
        namespace.given = given


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (--help lists all flags)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} URL [options]\n       {PROGRAM} demo",
        description="Carries MCP messages between a host on stdin and stdout and a remote MCP server.",
        epilog="commands: "
        + "; ".join(f"{name}: {text}" for name, text in COMMANDS.items())
        + ". Environment: MCP_REMOTE_URL (the URL), MCP_AUTH_TOKEN (a bearer token), MCP_MODE (http, remote or "
        "websocket), NODE_EXTRA_CA_CERTS (one more certificate file), and MCP_REMOTE_PY_<FLAG> for most flags. "
        "Exit codes: 0 done, 2 the configuration cannot work.",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        "words", nargs="*", metavar="URL", help="the server's endpoint: https://, http://, wss:// or ws://"
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in settings.OPTIONS:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        text = argparse.SUPPRESS if option.hidden else option.help.replace("%", "%%")
        if option.sets is None:
            groups[option.group].add_argument(
                *option.flags, dest=option.name, action=_Collect, metavar=option.metavar, help=text
            )
        else:
            groups[option.group].add_argument(*option.flags, dest=option.name, action=_Collect, nargs=0, help=text)
    about = parser.add_argument_group("about")
    about.add_argument("--help", "-h", action="store_true", help="show this text")
    about.add_argument("--version", "-V", action="store_true", help="show the version")
    parser.set_defaults(given=None)
    return parser


def _read_text(path: str) -> str:
    with open(os.path.expanduser(path), encoding="utf-8-sig") as file:
        return file.read()


def _speak_utf8(stream: TextIO | None) -> None:
    """Messages for people may name any host or file: no code page may turn them into an exception."""
    if stream is not None and hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
