"""Redactor: known secrets in, scrubbed text out. Every sink for people goes through one of these.

A secret of six characters or more is found wherever it stands: plain, percent-encoded, escaped as JSON, `repr` or HTML
do it (in part, in full, or twice), in base64 and base64url at any alignment, and in hexadecimal. A shorter one would
also be found in innocent text: it is masked at the place where it stands (`secret_places`), whatever it is. Control
characters of a peer become visible escapes, so that nothing a server says can drive a terminal.

The time that a line takes does not grow with the number of secrets. What the user gave is known for ever, of what was
received (tokens, session ids, cookies) the newest few hundred. All methods may be called from any thread: they change
dictionaries and lists by single steps that Python does as a whole.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator

from mcp_remote_py.core import escapes, secret_places

MASK = "[secret]"
SHORTEST = 6
"""Characters of a secret that is found everywhere."""
RECEIVED = 256
"""So many received secrets are remembered at least, and twice as many at most."""

_STRIDES = (8, 3)
_SHORTEST_LINE = 16
_CUTS = ("…", "...", "***")
_SCHEMES = frozenset(["bearer", "basic", "token", "apikey", "digest", "negotiate"])
_STANDARD = str.maketrans("-_", "+/")
_LOWER_HEX = str.maketrans("ABCDEF", "abcdef")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

Span = tuple[int, int]


class Redactor:
    """Knows the secret values that this process was given or has received."""

    def __init__(self, received: int = RECEIVED) -> None:
        self._most = received
        self._given: dict[str, None] = {}
        self._received: dict[str, None] = {}
        self._headers: dict[str, None] = {}
        self._parameters: frozenset[str] = frozenset()
        self._finder = _Finder()

    def add(self, secret: str) -> None:
        """Learn a secret value that the user gave; it is never forgotten."""
        for part in _parts(secret):
            if part not in self._given:
                self._given[part] = None
                self._finder.add(part)

    def learn(self, secret: str) -> None:
        """Learn a secret value that was received or made. Old ones are forgotten when there are many."""
        for part in _parts(secret):
            if self._received.pop(part, _NEW) is _NEW and part not in self._given:
                self._finder.add(part)
            self._received[part] = None
        if len(self._received) > 2 * self._most:
            self._forget()

    def know_header(self, name: str) -> None:
        """Learn that the value of this header is secret, however short it is."""
        self._headers[name.strip().lower()] = None

    def know_parameter(self, name: str) -> None:
        """Learn that the value of this parameter in the query of a URL is secret, however short it is."""
        self._parameters = self._parameters | {name.lower()}

    def scrub(self, text: str) -> str:
        """Return the text without any known secret, and without what stands where secrets stand."""
        spans: list[Span] = []
        headers, parameters = tuple(self._headers), self._parameters
        for view in escapes.views(text):
            found = [*self._finder.spans(view.text), *secret_places.spans(view.text, headers, parameters)]
            spans += [view.original(begin, end) for begin, end in found if begin < end]
        return covered(text, spans) if spans else text

    def _forget(self) -> None:
        fresh, seen = _Finder(), set[str]()
        for part in list(self._received)[: -self._most]:
            self._received.pop(part, None)
        for known in (self._given, self._received):
            for part in list(known):
                fresh.add(part)
                seen.add(part)
        self._finder = fresh
        for part in [*list(self._given), *list(self._received)]:
            if part not in seen:
                fresh.add(part)  # another thread learnt it in the meantime, for the finder that was replaced


_NEW = object()


def covered(text: str, spans: Iterable[Span]) -> str:
    """Return the text with the mask in place of each span, in whichever order they come and however they overlap."""
    parts: list[str] = []
    done = 0
    for begin, end in sorted(spans):
        if begin >= done:
            parts += (text[done:begin], MASK)
        done = max(done, end)
    return "".join((*parts, text[done:]))


def _parts(secret: str) -> Iterator[str]:
    """Yield everything that must not be seen of a secret: the token behind its scheme, its lines, its cookies."""
    secret = secret.strip()
    scheme, _, rest = secret.partition(" ")
    rest = rest.strip()
    if scheme.lower() in _SCHEMES and len(rest) >= SHORTEST:
        yield from _parts(rest)
        if scheme.lower() == "basic":
            yield from _of_basic(rest)
        return
    if len(secret) >= SHORTEST:
        yield secret
    lines = secret.splitlines()
    if len(lines) > 1:
        stripped = (line.strip() for line in lines)
        yield from (line for line in stripped if len(line) >= _SHORTEST_LINE and not line.startswith("-----"))
    elif "=" in secret and re.fullmatch(r"[^=;\s]+=[^;]*(?:;\s*[^=;\s]+=[^;]*)*;?", secret):
        values = (pair.partition("=")[2].strip(' "') for pair in secret.split(";"))
        yield from (value for value in values if len(value) >= SHORTEST)


def _of_basic(encoded: str) -> Iterator[str]:
    try:
        pair = base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return  # no such pair, so no password in it
    password = pair.partition(":")[2]
    yield from (part for part in (pair, password) if len(part) >= SHORTEST)


# --- Finding ---------------------------------------------------------------------------------------------------------


class _Pattern:
    """One spelling of a secret. `before`, `after`: whether the neighbouring character also holds some of its bits."""

    __slots__ = ("after", "before", "text")

    def __init__(self, text: str, *, before: bool = False, after: bool = False) -> None:
        self.text = text
        self.before = before
        self.after = after


class _Matcher:
    """Finds any of many patterns, in time that hardly grows with their number.

    Of the text only every `stride`-th group of `stride` characters is looked up: a pattern of `2 * stride - 1`
    characters or more has one of its first groups there.
    """

    def __init__(self, stride: int) -> None:
        self.shortest = 2 * stride - 1
        self._stride = stride
        self._cut = re.compile("." * stride, re.DOTALL).findall
        self._groups: dict[str, list[tuple[_Pattern, int]]] = {}

    def add(self, pattern: _Pattern) -> None:
        for offset in range(self._stride):
            group = pattern.text[offset : offset + self._stride]
            self._groups.setdefault(group, []).append((pattern, offset))

    def spans(self, text: str) -> Iterator[Span]:
        groups, stride = self._groups, self._stride
        if not groups or groups.keys().isdisjoint(cut := self._cut(text)):
            return
        for at, group in [(at, group) for at, group in enumerate(cut) if group in groups]:
            for pattern, offset in groups[group]:
                begin = at * stride - offset
                if begin >= 0 and (end := _end_of(pattern.text, text, begin)):
                    yield (
                        begin - (pattern.before and _is_coded(text, begin - 1)),
                        end + (pattern.after and _is_coded(text, end)),
                    )


def _end_of(pattern: str, text: str, begin: int) -> int:
    """Return where the pattern that begins here ends; 0 where it does not stand here.

    Of a secret that was cut off, its beginning counts: before an ellipsis.
    """
    if text.startswith(pattern, begin):
        return begin + len(pattern)
    if not text.startswith(pattern[:SHORTEST], begin):
        return 0
    end = begin + SHORTEST
    for expected in pattern[SHORTEST:]:
        if text[end : end + 1] != expected:
            break
        end += 1
    return end if text.startswith(_CUTS, end) else 0


def _is_coded(text: str, at: int) -> bool:
    return 0 <= at < len(text) and (text[at].isalnum() or text[at] in "+/")


class _Spelling:
    """All secrets spelt in one way. Long ones are looked for in long strides, which is cheaper."""

    def __init__(self) -> None:
        self._matchers = [_Matcher(stride) for stride in _STRIDES]

    def add(self, pattern: _Pattern) -> None:
        next(matcher for matcher in self._matchers if len(pattern.text) >= matcher.shortest).add(pattern)

    def spans(self, text: str) -> Iterator[Span]:
        for matcher in self._matchers:
            yield from matcher.spans(text)


class _Finder:
    """All secrets in all spellings that `escapes` does not undo."""

    def __init__(self) -> None:
        self._plain = _Spelling()
        self._base64 = _Spelling()
        self._hex = _Spelling()
        self._heads: dict[str, list[str]] = {}

    def add(self, secret: str) -> None:
        for plain in {secret, secret.replace(" ", "+")}:  # as the query of a URL has blanks
            self._plain.add(_Pattern(plain))
            self._heads.setdefault(plain[:SHORTEST], []).append(plain)
        raw = secret.encode("utf-8", "surrogatepass")
        self._hex.add(_Pattern(raw.hex()))
        for shift in range(3):
            # what a base64 text contains when the secret begins at this alignment, without the characters at both
            # ends that also depend on the neighbours
            encoded = base64.b64encode(b"\0" * shift + raw).decode("ascii").rstrip("=")
            open_end = (shift + len(raw)) % 3 != 0
            core = encoded[(0, 2, 3)[shift] : len(encoded) - open_end]
            self._base64.add(_Pattern(core, before=shift > 0, after=open_end))

    def spans(self, text: str) -> Iterator[Span]:
        """Yield where secrets stand in a text without escapes."""
        yield from self._plain.spans(text)
        yield from self._beginnings(text)
        yield from self._base64.spans(text.translate(_STANDARD))
        yield from self._hex.spans(text.translate(_LOWER_HEX))

    def _beginnings(self, text: str) -> Iterator[Span]:
        """The short beginning of a secret before an ellipsis; matchers find long ones."""
        for cut in _CUTS:
            end = text.find(cut)
            while end >= 0:
                for begin in range(max(0, end - 2 * _STRIDES[0]), end - SHORTEST + 1):
                    shown = text[begin:end]
                    if any(secret.startswith(shown) for secret in self._heads.get(shown[:SHORTEST], ())):
                        yield begin, end
                end = text.find(cut, end + len(cut))


def printable(text: str, limit: int = 2000) -> str:
    """Return text of a peer made safe for a terminal: control characters escaped, length bounded."""
    if len(text) > limit:
        text = text[:limit] + f"… ({len(text)} characters)"
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)
