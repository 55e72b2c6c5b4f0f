"""Challenge: what `WWW-Authenticate` says. A header in, challenges out; whatever it holds, nothing is raised.

Read as RFC 9110 sections 11.2 to 11.6 write it: several schemes and several header lines, parameters in any order,
quoted strings with commas and escapes. Also read is what servers really send: parameters without quotes although they
hold a URL, without commas between them, a quote that is never closed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from mcp_remote_py.core.oauth import scopes

LONGEST = 16384
"""Characters of a header that are read."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  (a token of HTTP, no secret)
_GAP = re.compile(r"[ \t\r\n,]*")
_PARAMETER = re.compile(rf"({_TOKEN})[ \t]*=[ \t]*(?!=)")
_SCHEME = re.compile(rf"({_TOKEN})(?=[ \t,]|$)")
_TOKEN68 = re.compile(r"[ \t]+[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)("|\\?$)', re.DOTALL)
_PLAIN = re.compile(r"[^ \t\r\n,]*")
_JUNK = re.compile(r'"(?:[^"\\]|\\.)*"?|[^ \t\r\n,"]+|"', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_WANTED = ("bearer", "dpop")


class Challenge(NamedTuple):
    """One challenge: the scheme as it was written, and its parameters by their lower-case names."""

    scheme: str
    params: Mapping[str, str]

    @property
    def resource_metadata(self) -> str | None:
        """Where the server says that its metadata is (RFC 9728 section 5.1). Hostile, as all of this."""
        return self.params.get("resource_metadata") or None

    @property
    def scope(self) -> str | None:
        """The scopes that the request needs, separated by single blanks."""
        return scopes.join(scopes.split(self.params.get("scope", "")))

    @property
    def error(self) -> str | None:
        return self.params.get("error") or None

    @property
    def error_description(self) -> str | None:
        return self.params.get("error_description") or None


def parse(header: str) -> tuple[Challenge, ...]:
    """Return the challenges of a `WWW-Authenticate`, all its lines joined with ", ", in their order.

    Of a parameter that stands there twice the first one counts.
    """
    found: list[tuple[str, dict[str, str]]] = []
    text, at = header[:LONGEST], 0
    while True:
        gap = _skipped(text, at)
        at += len(gap)
        if at == len(text):
            break
        parameter = _PARAMETER.match(text, at)
        if parameter is not None:
            value, at = _value(text, parameter.end())
            if found:
                found[-1][1].setdefault(parameter.group(1).lower(), value)
            continue
        # a challenge begins at the start of the header or after a comma
        scheme = _SCHEME.match(text, at) if "," in gap or not found else None
        if scheme is None:
            junk = _JUNK.match(text, at)
            at = junk.end() if junk is not None else at + 1
            continue
        found.append((scheme.group(1), {}))
        token = _TOKEN68.match(text, scheme.end())
        at = token.end() if token is not None else scheme.end()
    return tuple(Challenge(scheme, params) for scheme, params in found)


def wanted(header: str) -> Challenge | None:
    """Return the challenge that OAuth can answer: Bearer or DPoP; of several the one that says most."""
    fitting = [challenge for challenge in parse(header) if challenge.scheme.lower() in _WANTED]
    telling = ("resource_metadata", "scope", "error")
    return max(fitting, key=lambda each: [bool(each.params.get(name)) for name in telling], default=None)


def _skipped(text: str, at: int) -> str:
    gap = _GAP.match(text, at)
    return "" if gap is None else gap.group()


def _value(text: str, at: int) -> tuple[str, int]:
    quoted = _QUOTED.match(text, at)
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted.group(1)), quoted.end()
    plain = _PLAIN.match(text, at)
    return (plain.group(), plain.end()) if plain is not None else ("", at)
