"""Which credentials win: several sources may name the same header, and only one may give it.

The rule: a flag wins over the environment, the environment over the configuration file, said once at the start; two
sources of the same level are an error that names both. Reads files through a function; runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.options import Level, Resolved
from mcp_remote_py.settings import (
    BearerCommand,
    BearerFile,
    Credentials,
    HeaderFile,
    MintedJwt,
)

ReadText = Callable[[str], str]
Changing = BearerFile | BearerCommand | MintedJwt
AUTHORIZATION = "authorization"


class Built(NamedTuple):
    """The settings, the secrets in them, and what the user should hear."""

    settings: Credentials
    secrets: tuple[str, ...]
    notes: tuple[str, ...]
    has_token: bool
    """Whether there is, or will be, a bearer token."""


class _Source(NamedTuple):
    """One place that gives one header. `content` is its value, or what makes the value, or the file that has it."""

    name: str
    level: Level
    where: str
    content: str | Changing | None


def build(resolved: Resolved, environ: Mapping[str, str], read_text: ReadText) -> Built:
    """Choose among all sources. Raises `ConfigError`."""
    sources = [*_headers(resolved, environ), *_authorization(resolved, environ, read_text)]
    path = resolved.values["header_file"]
    if path is not None:
        sources += _of_file(path, resolved, environ, read_text)
    chosen, notes = _choose(sources)
    fixed = tuple((source.name, source.content) for source in chosen.values() if isinstance(source.content, str))
    changing = next((source.content for source in chosen.values() if isinstance(source.content, Changing)), None)
    header_file = None
    if path is not None:
        elsewhere = frozenset(name for name, source in chosen.items() if source.content is not None)
        header_file = HeaderFile(path, elsewhere, tuple(environ.items()))
    secrets = _secrets(sources)
    authorization = chosen.get(AUTHORIZATION)
    has_token = changing is not None or (
        authorization is not None and (authorization.content is None or _is_bearer(str(authorization.content)))
    )
    return Built(Credentials(fixed, header_file, changing), secrets, notes, has_token)


def _choose(sources: list[_Source]) -> tuple[dict[str, _Source], tuple[str, ...]]:
    chosen: dict[str, _Source] = {}
    notes: list[str] = []
    for source in sorted(sources, key=lambda source: -source.level):
        winner = chosen.setdefault(source.name.lower(), source)
        if winner is source:
            continue
        if winner.level is source.level:
            raise ConfigError(
                f"{winner.where} and {source.where} both give the header {source.name}. Keep one of them."
            )
        notes.append(f"{winner.where} gives the header {source.name}, so {source.where} is not used.")
    return chosen, tuple(notes)


def _headers(resolved: Resolved, environ: Mapping[str, str]) -> list[_Source]:
    where, level = resolved.origins["header"], resolved.levels["header"]
    return [
        _Source(*_named(options.header(options.expand(text, where, environ), where), level, where))
        for text in resolved.values["header"] or ()
    ]


def _named(pair: tuple[str, str], level: Level, where: str) -> tuple[str, Level, str, str]:
    return pair[0], level, where, pair[1]


def _authorization(resolved: Resolved, environ: Mapping[str, str], read_text: ReadText) -> list[_Source]:
    token = (resolved.values["token"] or "").strip()
    if not token:
        return []
    where = resolved.origins["token"]
    options.header(f"Authorization: {token}", where)
    bearer = f"Bearer {token.removeprefix('Bearer ').strip()}"
    return [_Source("Authorization", resolved.levels["token"], where, bearer)]


def _of_file(path: str, resolved: Resolved, environ: Mapping[str, str], read_text: ReadText) -> list[_Source]:
    """The headers that the file names now. What they say is read again later, so no content is kept here."""
    level, where = resolved.levels["header_file"], f"{resolved.origins['header_file']} {path}"
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{where}: cannot be read ({reason}).") from None
    return [_Source(name, level, where, None) for name, _ in options.header_lines(text, where, environ)]


def _is_bearer(content: str) -> bool:
    return content.lower().startswith("bearer ")


def _secrets(sources: list[_Source]) -> tuple[str, ...]:
    """Every header value that a user gives counts as secret, and what follows its scheme does, too."""
    found = [source.content for source in sources if isinstance(source.content, str)]
    return (*found, *(rest for content in found if (rest := content.partition(" ")[2])))
