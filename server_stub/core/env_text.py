"""`.env` files as text: set variables in them, and leave every other line and comment as it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")  # Python's own lines end at characters that end none here
_PLAIN = re.compile(r"[\w@%+=:,./~^-]+", re.ASCII)


def assign(text: str, values: Mapping[str, str]) -> str:
    """Return the text with these variables set: where they stood (the last time counts), else behind all else."""
    line_end = "\r\n" if "\r\n" in text else "\n"
    lines = _LINE.findall(text)
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += line_end
    for name, value in values.items():
        written = f"{name}={quoted(value)}"
        pattern = re.compile(rf"\s*(export\s+)?['\"]?{re.escape(name)}['\"]?\s*(=|$)")
        found = [number for number, line in enumerate(lines) if pattern.match(line.rstrip("\r\n"))]
        if not found:
            lines.append(written + line_end)
            continue
        prefix = re.match(r"\s*(?:export\s+)?", lines[found[-1]])
        lines[found[-1]] = (prefix.group(0) if prefix else "") + written + line_end
    return "".join(lines)


def quoted(value: str) -> str:
    """Return a value as all readers of `.env` files understand it. It has no line ends."""
    if _PLAIN.fullmatch(value):
        return value
    if "'" not in value and "\\" not in value:
        return f"'{value}'"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
