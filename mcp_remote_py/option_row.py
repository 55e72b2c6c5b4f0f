"""How a row of the bridge's option table is written: what all rows have in common."""

from __future__ import annotations

from typing import Any

from mcp_remote_py.arguments import file_name
from mcp_remote_py.core import options
from mcp_remote_py.core.options import Option, Parser

PREFIX = "MCP_REMOTE_PY_"


def row(name: str, group: str, text: str, parse: Parser | None = None, metavar: str = "", **more: Any) -> Option:
    """Return a row: its flag and its variable come from its name, unless others are given."""
    if metavar == options.FILE:
        parse = file_name
    flags = more.pop("flags", None) or (f"--{name.replace('_', '-')}",)
    variables = (f"{PREFIX}{name.upper()}", *more.pop("also", ()))
    return Option(name, flags, text, group, parse, variables=more.pop("variables", variables), metavar=metavar, **more)


def switch(name: str, group: str, text: str, **more: Any) -> Option:
    """Return a row for something that is on or off."""
    return row(name, group, text, sets=True, default=False, **more)
