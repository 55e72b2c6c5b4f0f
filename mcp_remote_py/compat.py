"""Command lines of mcp-remote, mcp-proxy (PyPI) and supergateway that carry to a remote server: what they mean here.

What the bridge has is accepted under its old name; for the rest there is a sentence about what to write instead.
Imported only where something was seen that is not ours.
"""

from __future__ import annotations

import base64
import re
import shlex
import urllib.parse
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mcp_remote_py import serve_line
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.options import Given
from mcp_remote_py.option_table import OPTIONS
from mcp_remote_py.peer_flags import CARRYING, OURS_SERVING, SERVING, Line, Part, is_peer, is_url, plain, split

_VERSION = "is not needed: the host's own protocol version is passed through. Leave it out"

NPX_LEFTOVER = "Remove what is left of `npx -y mcp-remote` from the args: they begin with the URL."
_RUNNERS = ("npx", "uvx", "uv", "node", "python", "python3", "docker", "bunx", "deno", "pipx")
"""Programs that start a local server: whoever names one does not mean a remote one."""

REFUSED: dict[str, str] = {
    "digest": "is not offered (HTTP Digest): use a token or --basic where the server takes one",
    "protocolversion": _VERSION,
}
"""Flags by their `plain` name: what each is for, and what to do without it."""


class Carried(NamedTuple):
    """What a line means: our options, the words that belong to no flag, and what else there is to say."""

    given: Given
    words: list[str]
    notes: list[str]
    secrets: list[str]
    refused: list[str]
    unverified: list[str]
    """The flags that switch verification off, for the host of the URL."""
    unknown: tuple[str, ...]


def carry(arguments: Sequence[str]) -> Carried:
    """Translate the line. Raises `ConfigError` where it is one that serves, or has flags without a counterpart."""
    line = split(arguments, _ours(), {"-y": "", "yes": "", **SERVING, **CARRYING, **_own_of_the_server()})
    wrong = tuple(part.flag for part in line.parts if _is_ours_in_other_case(part.flag))
    if wrong:
        return Carried({}, [], [], [], [], [], wrong)
    serving = _serving(line)
    if serving:
        raise ConfigError(_serve_instead(arguments, line, serving))
    found = _translated(line)
    if found.refused:
        raise ConfigError("\n".join(found.refused))
    return found


def _ours() -> dict[str, str]:
    flags = {flag: "" if option.sets is not None else "1" for option in OPTIONS for flag in option.flags}
    return {**flags, "--help": "", "-h": "", "--version": "", "-V": ""}


def _is_ours_in_other_case(flag: str) -> bool:
    """`--Header`: look-up by `plain` names would take it for the flag of another program."""
    ours = _ours()
    is_theirs = flag in ours or plain(flag) in CARRYING
    return flag.startswith("--") and not is_theirs and flag.lower() in map(str.lower, ours)


def _own_of_the_server() -> dict[str, str]:
    return {plain(flag): takes for flag, takes in OURS_SERVING.items()}


def _translated(line: Line) -> Carried:
    found = Carried({}, [], [], [], [], [], line.unknown)
    ours = _ours()
    before = ""
    for part in line.parts:
        if part.flag:
            before = part.flag
            (_own if part.flag in ours else _theirs)(part, found)
        elif before == "--header" and _HEADER.match(part.text):  # supergateway takes several behind one flag
            found.given.setdefault("header", []).append((before, part.text))
        else:
            found.words.append(part.text)
    found.words.extend(line.command or ())
    _basic(line, found)
    return found


_HEADER = re.compile(r"[\w-]+:(?!//)")


def _own(part: Part, found: Carried) -> None:
    option = next((option for option in OPTIONS if part.flag in option.flags), None)
    if option is None or (option.sets is not None and part.text == "false"):
        return
    if option.sets is None and not part.texts:
        found.refused.append(_missing(part))
    else:
        _add(found, option.name, part, "1" if option.sets is not None else part.text)


def _theirs(part: Part, found: Carried) -> None:
    name = plain(part.flag)
    special = _SPECIAL.get(name)
    if not part.is_known or (CARRYING.get(name) == "" and part.text == "false"):
        return
    if name in REFUSED:
        found.refused.append(f"The flag {part.flag} {REFUSED[name]}.")
    elif name in ("-y", "yes"):
        found.refused.append(f"{part.flag} belongs to npx. {NPX_LEFTOVER}")
    elif special is not None and len(part.texts) < _LEAST.get(CARRYING.get(name, "1"), 0):
        found.refused.append(_missing(part))
    elif special is not None:
        special(part, found)


_LEAST = {"1": 1, "2": 2}
"""How many words must follow a flag."""


def _add(found: Carried, name: str, part: Part, text: str) -> None:
    found.given.setdefault(name, []).append((part.flag, text))


def _missing(part: Part) -> str:
    if CARRYING.get(plain(part.flag)) == "2":
        return f'{part.flag} takes two words: {part.flag} Authorization "Bearer ...". Better: --header "Name: value".'
    return f"{part.flag}: its value is missing."


def _header(part: Part, found: Carried) -> None:
    _add(found, "header", part, ": ".join(part.texts))


def _sse(part: Part, found: Carried) -> None:
    _add(found, "url", part, part.text)
    _add(found, "transport", part, "sse-only")


def _streamable_http(part: Part, found: Carried) -> None:
    _add(found, "url", part, part.text)
    _add(found, "transport", part, "http-only")


def _token(part: Part, found: Carried) -> None:
    _add(found, "token", part, part.text)


def _verify(part: Part, found: Carried) -> None:
    word = part.text.strip().lower()
    if is_url(part.text):  # the flag stood alone, and the URL behind it
        found.words.append(part.text)
    elif word in ("0", "false", "no", "off"):
        found.unverified.append(part.flag)
    elif word not in ("", "1", "true", "yes", "on"):
        _add(found, "ca_bundle", part, part.text)


def _no_verify(part: Part, found: Carried) -> None:
    found.unverified.append(part.flag)


def _callback_host(part: Part, found: Carried) -> None:
    _add(found, "callback_host", part, part.text)


def _token_url(part: Part, found: Carried) -> None:
    """mcp-proxy's --client-id, --client-secret and --token-url: a token without a person."""
    _add(found, "token_endpoint", part, part.text)
    _add(found, "client_credentials", part, "1")


def _protocol(part: Part, found: Carried) -> None:
    if part.text != "legacy":
        found.refused.append(f"The mcp-remote flag {part.flag} {_VERSION}.")


def _nothing(part: Part, found: Carried) -> None:
    del part, found  # what it asks for is so anyway


_SPECIAL: dict[str, Callable[[Part, Carried], None]] = {
    "-H": _header,
    "headers": _header,
    "sse": _sse,
    "streamablehttp": _streamable_http,
    "oauth2bearer": _token,
    "verifyssl": _verify,
    "noverifyssl": _no_verify,
    "host": _callback_host,
    "tokenurl": _token_url,
    "protocol": _protocol,
    "outputtransport": _nothing,
    "nodebug": _nothing,
    "username": _nothing,  # see _basic
    "password": _nothing,
}


def _basic(line: Line, found: Carried) -> None:
    """mcp-proxy's --username and --password. What they make is a header, so it is given as one."""
    user = next((part for part in line.parts if plain(part.flag) == "username" and part.texts), None)
    password = next((part for part in line.parts if plain(part.flag) == "password" and part.texts), None)
    if user is None and password is None:
        return
    if user is None or password is None:
        found.refused.append(
            "--username and --password belong together. Better: --basic USER, and the password in "
            "MCP_REMOTE_PY_BASIC_PASSWORD."
        )
        return
    if ":" in user.text:
        found.refused.append(f"{user.flag}: no colon can stand in the user name of HTTP Basic.")
        return
    credentials = base64.b64encode(f"{user.text}:{password.text}".encode("utf-8", "surrogateescape")).decode("ascii")
    _add(found, "header", user, f"Authorization: Basic {credentials}")
    found.secrets.extend((password.text, credentials))
    found.notes.append(
        f"{password.flag}: others on this machine can see it in the process list. Better: --basic USER, and the "
        "password in MCP_REMOTE_PY_BASIC_PASSWORD."
    )


# --- Lines that serve ------------------------------------------------------------------------------------------------


def _serving(line: Line) -> list[str]:
    """Return the flags that only make sense where a server is exposed, or `--` or the command itself."""
    ours = _ours()
    flags = [
        part.flag for part in line.parts if part.flag and part.is_known and part.flag not in ours and _is_serving(part)
    ]
    if flags in (["--host"], []):  # alone, it is mcp-remote's: the host in the address that a browser comes back to
        flags = []
        words = line.words
        is_command = bool(words) and words[0] in _RUNNERS and not any(is_peer(word) or is_url(word) for word in words)
        if is_command or (line.command and not is_url(line.command[0])):
            flags = [words[0] if is_command else "--"]
    return list(dict.fromkeys(flags))


def _is_serving(part: Part) -> bool:
    name = plain(part.flag)
    if name == "outputtransport":
        return part.text not in ("stdio", "")
    return name not in CARRYING and (name in SERVING or name in _own_of_the_server())


def _serve_instead(arguments: Sequence[str], line: Line, flags: list[str]) -> str:
    peer = next((at for at, word in enumerate(arguments[:3]) if is_peer(word)), -1)  # what is left of `npx -y NAME`
    served = serve_line.serve(arguments[peer + 1 :], in_command=True)
    texts = [text for part in line.parts for text in part.texts]
    url = next((text for text in texts if is_url(text)), None)
    if url is not None and not any(name in served.given for name in ("shell", "handler", "demo")):
        served.given["stdio"] = [("--", "1")]
        served = served._replace(command=("mcp-remote-py", _shown(url)))
    belong = "belongs" if len(flags) == 1 else "belong"
    sentences = [
        f"{' and '.join(flags)} {belong} to a program that serves, and this one carries to a remote server. Write:",
        f"  {serve_line.written(served)}",
    ]
    if served.tokens:
        sentences.append(f"with the key in the variable {serve_line.TOKEN_VARIABLE}.")
    return "\n".join([*sentences, *served.refused])


def _shown(url: str) -> str:
    """Return a URL without what may be secret in it."""
    head, mark, _ = url.partition("?")
    scheme, _, rest = head.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}" + ("?..." if mark else "")


def carry_line(arguments: Sequence[str]) -> str:
    """Return the line for `mcp-remote-py` that these arguments mean, without any secret."""
    found = _translated(split(arguments, _ours(), {**SERVING, **CARRYING}))
    urls = [text for _, text in found.given.pop("url", [])] + [word for word in found.words if is_url(word)]
    words = ["mcp-remote-py", _shown(urls[0]) if urls else "URL"]
    for option in OPTIONS:
        for _, text in found.given.get(option.name, []):
            if option.name == "header":
                text = f"{text.partition(':')[0]}: ..."  # noqa: PLW2901, the value stays unseen
            if not option.secret or option.name == "header":
                words.append(option.flags[0] if option.sets is not None else f"{option.flags[0]} {shlex.quote(text)}")
    line = " ".join(words)
    return f"{line}\nwith the token in the variable MCP_AUTH_TOKEN." if "token" in found.given else line


# --- Words and modes -------------------------------------------------------------------------------------------------


def check_words(words: Sequence[str]) -> None:
    """Recognise what is left in place of a line that began with `npx`. Raises `ConfigError`."""
    if words and (is_peer(words[0]) or (words[0] in ("npx", "uvx") and any(map(is_peer, words)))):
        raise ConfigError(f"{words[0]!r} is no URL. {NPX_LEFTOVER}")


def mode(name: str) -> str:
    """Return the sentence for a value of MCP_MODE that is no way to reach a server."""
    commands = {
        "serverless": "mcp-remote-server --stateless --handler package.module:callable",
        "lambda": "mcp-remote-server --stateless --handler package.module:callable",
        "server": "mcp-remote-server --handler package.module:callable",
        "serve": "mcp-remote-server --handler package.module:callable",
        "hosted": "mcp-remote-server --handler package.module:callable",
        "local": "mcp-remote-server --stdio -- CMD ARGS...",
        "stdio": "mcp-remote-server --stdio -- CMD ARGS...",
    }
    if name in commands:
        return f"MCP_MODE: {name!r} is for a program that serves. Write:\n  {commands[name]}"
    ways = ("websocket", "http", "remote")
    return (
        f"MCP_MODE: {name!r} is not a way to reach a server.{options.did_you_mean(name, ways)} Write websocket, http "
        "or remote; to run a server, use mcp-remote-server --handler package.module:callable or --stdio -- CMD ARGS..."
    )


def host_of(url: str) -> str | None:
    """Return the host of a URL, None where it has none: whoever checks the URL says so."""
    try:
        return urllib.parse.urlsplit(url.strip()).hostname
    except ValueError:
        return None
