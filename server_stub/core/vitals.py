"""Vitals: how a member fares, as operators are told. Types only."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class State(Enum):
    """The states of supervision; the table of transitions is in `core/supervision`."""

    STOPPED = "stopped"
    """Not wanted at the moment, or never yet."""
    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    """A ping was missed."""
    COOLING = "cooling"
    """It ended or did not start; the next start waits for its delay."""
    FAILED = "failed"
    """Too many failed starts in the window: nothing is started until a reload or an operator says so."""


class Running(NamedTuple):
    """One process (or connection) of a member."""

    pid: int | None
    """None for a remote member."""
    since: float
    """Unix time, seconds."""
    sessions: int
    """How many client sessions it serves; 0 for one that only answers operators."""


class Vitals(NamedTuple):
    """A member, all its children taken together."""

    state: State
    running: tuple[Running, ...] = ()
    """The oldest first."""
    last_check: float | None = None
    """Unix time of the last ping that was answered or missed, or of the last answered `initialize`."""
    response: float | None = None
    """Seconds that the last answered check took."""
    consecutive_fails: int = 0
    restarts: int = 0
    """Since the server started: how often a child was started in place of one that had ended or never came up."""
    why: str | None = None
    """Why it does not run, or what was wrong last, for people."""
