"""Device prompt: what a person is told to do with the code of a device sign-in (RFC 8628 section 3.3). Text, and a QR
code where a terminal can show one and the library for it is there.

All of it comes from the authorization server: it is shown without control characters, and of bounded length.
"""

from __future__ import annotations

import math
import os
import sys

from mcp_remote_py.core.oauth.addresses import authorization_url_problem
from mcp_remote_py.core.oauth.steps import ShowCode
from mcp_remote_py.core.redact import printable

_LONGEST_CODE = 64
_LONGEST_TO_DRAW = 300
"""Characters of an address: a code that holds more is larger than most terminals."""
_QUIET = 2
"""Modules of margin. Four are asked for, but readers take two, and the lines of a terminal are few."""
_COLOURS, _PLAIN = "\x1b[30;107m", "\x1b[0m"
"""Black on white, whatever the colours of the terminal are: cameras want the dark modules dark."""
_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def text(step: ShowCode) -> str:
    """Return the words, without a control character in them."""
    minutes = math.ceil(step.expires_in / 60) if math.isfinite(step.expires_in) else 0
    within = f" within {minutes} min" if minutes > 0 else ""
    lines = [
        f"sign in to {printable(step.issuer)} to use {printable(step.resource)}:",
        f"open {printable(step.verification_uri)} on any device{within}",
        f"and enter the code {printable(step.user_code, _LONGEST_CODE)}",
    ]
    if step.complete_uri is not None:
        lines.append(f"or open {printable(step.complete_uri)}, where the code is filled in; compare it")
    return "\n".join(lines)


def draw(step: ShowCode, fd: int = 2) -> bool:
    """Write a QR code of the address to a terminal. Returns whether that was possible.

    It is not where the output is no terminal or one that is too small, on Windows (whose older consoles read other
    bytes), without the library, and for an address that no browser should open.
    """
    url = step.complete_uri or step.verification_uri
    if sys.platform == "win32" or not os.isatty(fd) or authorization_url_problem(url) is not None:
        return False
    lines = picture(url)
    try:
        size = os.get_terminal_size(fd)
        if not lines or len(lines[0]) > size.columns or len(lines) >= size.lines:
            return False
        os.write(fd, "".join(f"{_COLOURS}{line}{_PLAIN}\n" for line in lines).encode("utf-8"))
    except OSError:
        return False  # the terminal is gone; the words are in the log
    return True


def picture(url: str) -> list[str]:
    """Return the lines of a QR code, two rows of modules in each, dark ones drawn; none without the library for it."""
    try:
        import segno
    except ImportError:
        return []
    if len(url) > _LONGEST_TO_DRAW:
        return []
    margin = [False] * _QUIET
    rows = [[*margin, *(bool(module) for module in row), *margin] for row in segno.make_qr(url, error="l").matrix]
    blank = [False] * len(rows[0])
    rows = [blank] * _QUIET + rows + [blank] * (_QUIET + len(rows) % 2)
    return [
        "".join(_HALVES[pair] for pair in zip(*two, strict=True)) for two in zip(rows[::2], rows[1::2], strict=True)
    ]
