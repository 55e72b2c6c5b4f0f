"""Command lines and variables of mcp-proxy (PyPI and npm) and supergateway: what they mean for `mcp-remote-server`.

Imported only where something was seen that is not ours. The flags themselves are in `mcp_remote_py.serve_line`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.options import Given
from mcp_remote_py.peer_flags import OURS_SERVING, SERVING, is_peer, is_url
from mcp_remote_py.serve_line import serve, written

PREFIX = "MCP_PROXY_"
"""npm's mcp-proxy reads every flag from a variable of this prefix, too."""
_OF_A_COMMAND = ("stdio", "shell")
"""What says how to run the command, so that a variable alone means nothing."""


class Translated(NamedTuple):
    """The command line in our own words."""

    given: Given
    command: tuple[str, ...] | None
    tokens: dict[str, str]
    """Tokens that let in, by the flag that gave each."""
    notes: tuple[str, ...]


def translate(arguments: Sequence[str]) -> Translated | None:
    """Translate the line. None: nothing of theirs is in it, or something that is neither theirs nor ours.

    Raises `ConfigError` for flags without a counterpart, and for lines that are meant for `mcp-remote-py`.
    """
    peer = next((at for at, word in enumerate(arguments[:3]) if is_peer(word)), None)
    if peer is not None and "--" not in arguments[:peer] and not set(arguments[:peer]) - {"npx", "uvx", "-y", "--yes"}:
        left = " ".join(arguments[: peer + 1])
        raise ConfigError(f"Remove {left!r}: the arguments begin with what stands behind it.")
    served = serve(arguments)
    before = list(arguments[: arguments.index("--")]) if "--" in arguments else list(arguments)
    words = [*served.left_over, *((served.command or ()) if "--" not in arguments else ())]
    if any(is_url(word) for word in words) or _names_a_remote_server(before):
        from mcp_remote_py import compat

        raise ConfigError(
            f"Carrying messages to a remote server is what mcp-remote-py does. Write:\n  {compat.carry_line(before)}"
        )
    if served.unknown and arguments[0][:1] != "-":
        raise ConfigError(_command_first(arguments, served.unknown[0]))
    if served.unknown or served.left_over:
        return None
    if served.refused:
        raise ConfigError("\n".join(served.refused))
    return Translated(served.given, served.command, served.tokens, tuple(served.notes))


def _command_first(arguments: Sequence[str], flag: str) -> str:
    """The line begins with the command, as mcp-proxy takes it, and one of its flags may be the command's own."""
    guess = options.did_you_mean(flag, OURS_SERVING)
    line = written(serve(arguments, in_command=True))
    return f"unknown flag {flag}.{guess} If it belongs to the command, write the command behind `--`:\n  {line}"


def _names_a_remote_server(words: Sequence[str]) -> bool:
    return any(word.partition("=")[0] in ("--sse", "--streamableHttp", "--streamable-http") for word in words)


def variables(environ: Mapping[str, str]) -> tuple[Given, tuple[str, ...]]:
    """Return what the variables of npm's mcp-proxy give, and what is to be said about them.

    They may be meant for a program beside this one, so one without a counterpart is only noted.
    """
    given: Given = {}
    notes: list[str] = []
    for variable in sorted(environ):
        name = variable.removeprefix(PREFIX).replace("_", "").lower()
        text = environ[variable].strip()
        if not variable.startswith(PREFIX) or name not in SERVING or name in _OF_A_COMMAND or not text:
            continue
        if name == "apikey":
            given.setdefault("auth_token_env", []).append((variable, variable))
            continue
        flag = f"--{name}"
        if SERVING[name] == "" and text.lower() not in ("1", "true", "yes", "on"):
            continue
        served = serve([flag] if SERVING[name] == "" else [flag, text])
        for option, pairs in served.given.items():
            given.setdefault(option, []).extend((variable, value) for _, value in pairs)
        notes += [sentence.replace(flag, variable) for sentence in (*served.notes, *served.refused)]
    return given, tuple(notes)
