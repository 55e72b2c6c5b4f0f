"""Fleet: the members that are hosted, as operators' endpoints and watchers see them. Types only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mcp_remote_py.core.message import Message
from server_stub.core.roster import Member
from server_stub.core.vitals import Vitals


class Swept(NamedTuple):
    """What a clean-up ended."""

    sessions: int
    children: int


class Hosted(Protocol):
    """One member. Everything may be called at any time, also of one that is disabled or invalid."""

    @property
    def member(self) -> Member: ...

    @property
    def sessions(self) -> int:
        """How many client sessions are open."""
        ...

    def vitals(self) -> Vitals: ...

    async def tools(self) -> Message:
        """Return the answer to `tools/list`, all pages in one, of a child that runs, else of one started for it.

        Raises a `Fault` that says why there is none.
        """
        ...

    def sweep(self) -> Swept:
        """End sessions that nobody is connected to and that have no call in progress, and children nobody needs."""
        ...

    async def restart(self) -> None:
        """Forget failures, end its children; those that are wanted start again. Sessions of their own children end."""
        ...

    def end_child(self, pid: int, why: str) -> None:
        """End the child of this process id, as it broke a rule (`why`: for people); nothing if it is gone."""
        ...


class Fleet(Protocol):
    """All members, in the order of the file."""

    def members(self) -> Sequence[Hosted]: ...

    def find(self, name: str) -> Hosted | None: ...
