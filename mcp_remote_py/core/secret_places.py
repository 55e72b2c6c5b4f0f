"""Places where a secret stands, whatever it is: headers, queries and user names of URLs. Text in, spans out.

A short secret cannot be told from innocent text by its value, only by its place. And a secret that nobody told us of
stands in the same places.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache

Span = tuple[int, int]

HEADERS = frozenset(
    [
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "mcp-session-id",
        "x-api-key",
        "api-key",
        "x-auth-token",
        "x-access-token",
        "x-goog-api-key",
        "x-amz-security-token",
        "x-csrf-token",
        "private-token",
        "ocp-apim-subscription-key",
        "cf-access-client-secret",
    ]
)
_WORDS = frozenset(
    [
        "token",
        "tokens",
        "key",
        "keys",
        "apikey",
        "secret",
        "secrets",
        "sig",
        "signature",
        "password",
        "passwd",
        "pass",
        "passphrase",
        "pwd",
        "auth",
        "authorization",
        "session",
        "sessionid",
        "sid",
        "jwt",
        "credential",
        "credentials",
        "assertion",
        "bearer",
        "otp",
        "pin",
        "verifier",
        "cookie",
    ]
)
_ENDS = ("token", "secret", "password", "passwd", "apikey", "signature", "sessionid", "session_id")
_CODES = frozenset(["code", "authcode", "auth_code", "authorization_code", "device_code"])


@lru_cache(1000)
def is_secret_name(name: str) -> bool:
    """Whether a parameter of this name holds a secret: `api_key`, `accessToken`, `sig`, `X-Amz-Signature`, `code`."""
    lower = name.lower()
    if lower in _CODES or lower.endswith(_ENDS):
        return True
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return not _WORDS.isdisjoint(re.split(r"[^a-z0-9]+", words.lower()))


def spans(text: str, headers: Iterable[str], parameters: frozenset[str]) -> Iterator[Span]:
    """Yield where secrets stand. `headers` and `parameters`: more names to look for, in lower case."""
    if "@" in text and "://" in text:
        for found in _userinfo().finditer(text):
            yield found.span(1)
    if "=" in text:
        for found in _parameter().finditer(text):
            if found.group(1).lower() in parameters or is_secret_name(found.group(1)):
                yield from _unless_placeholder(found, 2)
    lower = text.lower()
    names = tuple(sorted(name for name in {*HEADERS, *headers} if name in lower))
    if names:
        for found in _header(names).finditer(text):
            yield from _unless_placeholder(found, "quoted" if found.group("quoted") is not None else "rest")


def _unless_placeholder(found: re.Match[str], group: int | str) -> Iterator[Span]:
    """`Authorization: Bearer ...` and `key=<your key>` are advice."""
    content = found.group(group)
    if content and not content.startswith(("...", "…", "<", "$", "[secret]")):
        yield found.span(group)


@cache
def _userinfo() -> re.Pattern[str]:
    return re.compile(r"://([^/\s?#\"'<>\\]+)@")


@cache
def _parameter() -> re.Pattern[str]:
    return re.compile(r"[?&;]([\w.\-~\[\]]{1,64})=([^&\s\"'<>#\\]*)")


@cache
def _header(names: tuple[str, ...]) -> re.Pattern[str]:
    """`Name: value` to the end of the line, `"Name": "value"`, `'name': 'value'`, `(b'Name', b'value')`.

    The scheme of an `Authorization` stays: it helps, and is no secret.
    """
    scheme = r"(?:(?:Bearer|Basic|Digest|Token|Negotiate|ApiKey)[ \t]+)?"
    return re.compile(
        rf"(?<![\w-])(?:{'|'.join(map(re.escape, names))})(?:"
        rf"""["'][ \t]*[:,][ \t]*[\[(]?b?(?P<quote>["']){scheme}(?P<quoted>(?:(?!(?P=quote))[^\r\n])*)"""
        rf"""|:[ \t]*{scheme}(?P<rest>[^\r\n]*))""",
        re.IGNORECASE,
    )
