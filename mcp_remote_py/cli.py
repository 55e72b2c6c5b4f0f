"""The console script `mcp-remote-py`: argument vector in, exit code out. No policy; sub-commands are imported on use.

Exit codes: 0 done; 2 the configuration cannot work; 1 `demo` failed; 128 + n ended at once by a second signal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from mcp_remote_py.arguments import Parser, read_text, speak_utf8
from mcp_remote_py.configuration import Inputs, build
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.options import Given
from mcp_remote_py.core.redact import Redactor
from mcp_remote_py.lifetime import leave_quietly
from mcp_remote_py.option_table import OPTIONS
from mcp_remote_py.settings import Settings

PROGRAM = "mcp-remote-py"
COMMANDS = {"demo": "start a server and carry real calls to it over all three transports"}


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
        configured = _with_good_bundles(configured)
    except ConfigError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return ConfigError.exit_code
    return run_bridge(configured)


def _command(name: str, arguments: list[str]) -> int:
    if name == "demo":
        from mcp_remote_py import demo

        return demo.main(arguments)
    raise ConfigError(f"no such command: {name}")


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

    redactor = Redactor()
    for secret in configured.secrets:
        redactor.add(secret)
    handler = log.set_up(PROGRAM, configured.logging.level, redactor)
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


def _with_good_bundles(configured: Settings) -> Settings:
    """Return the settings without the certificate files of the environment that are stale, which is noted.

    Raises `ConfigError` for a file that was named by a flag.
    """
    if not configured.tls.trusted:
        return configured
    from mcp_remote_py.net import tls

    good, missing, notes = [], [], list(configured.notes)
    for file in configured.tls.trusted:
        try:
            tls.check_bundle(file.path, file.where)
        except ConfigError as error:
            if file.where.startswith("-"):
                raise
            missing.append(file)
            notes.append(f"{error} It is ignored.")
        else:
            good.append(file)
    trust = configured.tls._replace(trusted=tuple(good), missing=tuple(missing))
    return configured._replace(tls=trust, notes=tuple(notes))


def read_settings(arguments: list[str], environ: Mapping[str, str]) -> Settings | None:
    """Parse the command line and the environment. None: `--help` or `--version` was asked for, and answered.

    Raises `ConfigError`.
    """
    parser = _parser()
    parsed, unknown = parser.parse_known_intermixed_args(arguments)
    if parser.answered(parsed):
        return None
    for word in unknown:
        if word.startswith("-"):
            raise ConfigError(_unknown(parser, word.partition("=")[0]))
    words: list[str] = [*parsed.words, *unknown]
    _check_words(words)
    given: Given = parsed.given or {}
    inputs = Inputs(environ, read_text, os.pathsep)
    configured = build(words[0] if words else None, options.resolve(OPTIONS, given, environ), inputs)
    if len(words) > 1:
        return configured._replace(notes=(*configured.notes, _second_word(words)))
    return configured


def _check_words(words: list[str]) -> None:
    """Recognise what people who come from `npx mcp-remote` leave in place, or forget to quote."""
    if words and words[0].partition("@")[0] in ("mcp-remote", "npx"):
        from mcp_remote_py import compat

        raise ConfigError(f"{words[0]!r} is no URL. {compat.NPX_LEFTOVER}")
    if len(words) > 1 and words[1].lower() in ("bearer", "basic", "token"):
        raise ConfigError(
            f'{words[1]!r} stands alone. Quote the whole header: --header "Authorization: {words[1]} ..."'
        )


def _second_word(words: list[str]) -> str:
    if len(words) == 2 and words[1].isdecimal():
        return (
            f"The second argument ({words[1]}) is the port for a browser's answer in mcp-remote; nothing here needs it."
        )
    raise ConfigError(f"{words[1]!r}: one URL is enough.{options.did_you_mean(words[0], COMMANDS)}")


def _unknown(parser: Parser, flag: str) -> str:
    from mcp_remote_py import compat

    return compat.explain(flag) or parser.unknown(flag)


def _parser() -> Parser:
    parser = Parser(
        OPTIONS,
        prog=PROGRAM,
        usage=f"{PROGRAM} URL [options]\n       {PROGRAM} demo",
        description="Carries MCP messages between a host on stdin and stdout and a remote MCP server.",
        epilog="commands: "
        + "; ".join(f"{name}: {text}" for name, text in COMMANDS.items())
        + ". Environment: MCP_REMOTE_URL (the URL), MCP_AUTH_TOKEN (a bearer token), MCP_MODE (http, remote or "
        "websocket), NODE_EXTRA_CA_CERTS (one more certificate file), and MCP_REMOTE_PY_<FLAG> for most flags. "
        "Exit codes: 0 done, 2 the configuration cannot work.",
    )
    parser.add_argument(
        "words", nargs="*", metavar="URL", help="the server's endpoint: https://, http://, wss:// or ws://"
    )
    return parser
