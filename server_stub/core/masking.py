"""Masking: words of a command line and addresses as operators may see them. Text in, text out. Pure.

A configuration file holds secrets in places that look harmless: `docker run -e GITHUB_TOKEN=...`, `--header
"Authorization: ..."`, an address with a key in its path. What is known to be a secret is the redactor's; here is what
looks like one: by the name before it, by the place where it stands, by its form. Rather one word too many is hidden
than one too few: operators have the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import SplitResult, urlsplit, urlunsplit

from mcp_remote_py.core import secret_places
from mcp_remote_py.core.redact import MASK, covered
from mcp_remote_py.core.secret_places import is_secret_name

_VARIABLES = ("-e", "--env", "--build-arg")
_HEADERS = ("-H", "--header", "--headers")
_USERS = ("-u", "--user", "--proxy-user")
_ASSIGNED = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*=", re.ASCII)
_NAMED = re.compile(r"(?<![\w.-])([A-Za-z][\w.-]{0,63})=([^\s&;,\"']+)")
_IN_JSON = re.compile(r"""["']([\w.-]{1,64})["']\s*:\s*["']([^"']+)["']""")
_KNOWN_FORMS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk|sess|xai|gsk|tvly|fc|re|lin_api|dop_v1|shpat|shpss|figd|ntn|secret|npm|hf|pat|key|api)[-_][A-Za-z0-9_-]{16,}"
    r"|gh[opsur]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}|xapp-[\w-]{10,}"
    r"|A(?:KIA|SIA)[A-Z0-9]{12,}|AIza[\w-]{20,}|ya29\.[\w-]{20,}|pypi-[\w-]{20,}"
    r"|eyJ[\w-]{10,}\.[\w-]+(?:\.[\w-]*)?"
    r")"
)
_LONG = re.compile(r"[A-Za-z0-9_+=-]{20,}")
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{32,}")
_AMOUNT = re.compile(r"(?:^|[-_])(?:max|min|num|count|limit)(?:[-_]|$)", re.IGNORECASE)
_PLACE = re.compile(r"[-_](?:file|path|dir|env|name|id)$", re.IGNORECASE)
_SHELL_WORD = re.compile(r"""(?:[^\s"']|"(?:[^"\\]|\\.)*"|'[^']*'|["'])+""")


def masked_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command line without what looks like a secret."""
    return list(_masked(words))


def masked_line(line: str) -> str:
    """Return a line for a shell without what looks like a secret. A word that held one loses its quotes."""
    spans = [found.span() for found in _SHELL_WORD.finditer(line)]
    words = [_unquoted(line[begin:end]) for begin, end in spans]
    parts: list[str] = []
    done = 0
    for (begin, end), word, masked in zip(spans, words, masked_words(words), strict=True):
        parts += (line[done:begin], line[begin:end] if word == masked else masked)
        done = end
    return "".join((*parts, line[done:]))


def masked_url(url: str) -> str:
    """Return an address without user name, query and fragment, and without parts of its path that look like secrets."""
    try:
        parts = urlsplit(url)
        path = "/".join(MASK if _looks_secret(segment) else segment for segment in parts.path.split("/"))
        return urlunsplit(SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))
    except ValueError:
        return MASK


def _masked(words: Iterable[str]) -> Iterator[str]:
    before = ""
    for word in words:
        yield _value(before, word)
        before = word


def _value(before: str, word: str) -> str:
    """One word, by the flag in front of it or within it, then by what it is."""
    flag, equals, value = word.partition("=")
    if word.startswith("-e") and _ASSIGNED.match(word[2:]):
        return f"-e{_assignment(word[2:])}"
    if word.startswith("-") and equals:
        return f"{flag}={_behind(flag, value)}"
    if word.startswith("-H") and ":" in word:
        return f"-H{_header(word[2:])}"
    if before.startswith("-") and "=" not in before and not word.startswith("--"):
        return _behind(before, word)
    return _plain(word)


def _behind(flag: str, value: str) -> str:
    if flag in _VARIABLES and _ASSIGNED.match(value):
        return _assignment(value)
    if flag in _HEADERS:
        return _header(value)
    if flag in _USERS and ":" in value:
        return MASK
    # --max-tokens 100 and --token-file F say no secret
    if value and is_secret_name(flag.strip("-")) and not _AMOUNT.search(flag) and not _PLACE.search(flag):
        return MASK
    return _plain(value)


def _assignment(text: str) -> str:
    return f"{text.partition('=')[0]}={MASK}"


def _header(text: str) -> str:
    name, colon, _ = text.partition(":")
    return f"{name}: {MASK}" if colon else _plain(text)


def _plain(word: str) -> str:
    name = word.partition("=")[0]
    if _ASSIGNED.match(word) and name.isidentifier() and is_secret_name(name):
        return _assignment(word)  # with whatever its value holds
    if "://" in word and not re.search(r"\s", word):
        word = _masked_path(word)
    word = covered(word, secret_places.spans(word, (), frozenset()))
    for pattern in (_NAMED, _IN_JSON):
        word = covered(word, (found.span(2) for found in pattern.finditer(word) if is_secret_name(found.group(1))))
    word = covered(word, (found.span() for found in _KNOWN_FORMS.finditer(word)))
    return MASK if _looks_secret(word) else word


def _masked_path(url: str) -> str:
    """Only the path: what stands before and behind it is masked by its place."""
    head, slashes, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    end = re.search(r"[?#]", path)
    path, tail = (path, "") if end is None else (path[: end.start()], path[end.start() :])
    segments = (MASK if _looks_secret(segment) else segment for segment in path.split("/"))
    return f"{head}{slashes}{place}{slash}{'/'.join(segments)}{tail}"


def _looks_secret(word: str) -> bool:
    """Whether it has the form of a token: long, of letters of both cases and digits, or all of it hexadecimal."""
    if _HEXADECIMAL.fullmatch(word) or _KNOWN_FORMS.fullmatch(word):
        return True
    kinds = (re.search(kind, word) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    return _LONG.fullmatch(word) is not None and all(kinds)


def _unquoted(word: str) -> str:
    return re.sub(r"""(?<!\\)["']""", "", word)
