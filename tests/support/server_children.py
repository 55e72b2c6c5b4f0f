"""The processes that a server runs, without its reaper, which is no child of anybody's session."""

from __future__ import annotations

import psutil


def children_of(server: psutil.Process) -> list[psutil.Process]:
    """Return the children of a server, and theirs."""
    return [one for one in server.children(recursive=True) if not is_reaper(one)]


def is_reaper(process: psutil.Process) -> bool:
    """Whether it is the small process that outlives the server (`server_stub.reaper_program`)."""
    try:
        return any(word.endswith("reaper_program.py") for word in process.cmdline())
    except psutil.Error:
        return False  # it is gone, or dead


def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that have not ended; what is dead and not yet buried has."""
    return [one for one in processes if one.is_running() and _status(one) != psutil.STATUS_ZOMBIE]


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return psutil.STATUS_ZOMBIE
