"""Tiny stdio servers, each with one habit, as programs to be run as child processes."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def child(name: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs one of them, with an interpreter that loads nothing it does not need."""
    return (sys.executable, "-I", "-S", "-u", str(_HERE / f"{name}.py"), *arguments)
