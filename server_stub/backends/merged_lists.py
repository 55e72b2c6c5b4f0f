"""The lists of all members of one merged session: fetched side by side, all pages, for as long as patience lasts.

A member whose list comes later than that is left out; when the list has come, the client hears that it changed, and
the next answer has it, however slow the member is. What was fetched is told to the catalog, which knows whose is what.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.message import Invalid, Key, Kind
from server_stub.backends.membership import Membership
from server_stub.core.catalog import Catalog, Listing
from server_stub.core.merging import Pages, offers

logger = logging.getLogger(__name__)

_UNKNOWN_METHOD = -32601
_Place = tuple[str, str]
"""A list of a member: the list's method (none: all of them), and the member's name."""


class Surroundings(NamedTuple):
    """What the lists need of their session."""

    members: Callable[[], Sequence[Membership]]
    start: Callable[[Coroutine[Any, Any, list[str] | None]], asyncio.Task[list[str] | None] | None]
    """Run a fetch in a task that outlives the request for which it was begun; None where the session is closing."""
    changed: Callable[[Listing], Awaitable[None]]
    """The client is to fetch this list again."""
    left_out: Callable[[Membership, str], Awaitable[None]]
    """A member's list is missing, for this reason."""
    patience: float


class _Fetch:
    """One list of one member, on its way."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.why = ""
        """What went wrong, for people."""
        self.is_late = False
        self.task: asyncio.Task[list[str] | None] | None = None


class Lists:
    """See the module's text."""

    def __init__(self, catalog: Catalog, around: Surroundings) -> None:
        self._catalog = catalog
        self._around = around
        self._fetches: dict[_Place, _Fetch] = {}
        self._late: dict[_Place, list[str]] = {}
        self._shown: dict[_Place, bytes] = {}
        self._missed: dict[_Place, str] = {}

    async def merged(self, listing: Listing, client: Key | None = None) -> tuple[list[str], dict[str, str]]:
        """Return the items of all members that answer in time, as the client sees them; and why others are left out."""
        found = await self.fetch(listing, client)
        for name, items in found.items():
            self._shown[listing.method, name] = _digest(items)
        shown = [item for name, items in found.items() for item in self._catalog.shown(listing, name, items)]
        names = [one.name for one in self._around.members() if one.name not in found]
        whys = {name: self._missed.get(("", name)) or self._missed.get((listing.method, name)) for name in names}
        return shown, {name: why for name, why in whys.items() if why is not None}

    async def fetch(self, listing: Listing, client: Key | None = None) -> dict[str, list[str]]:
        """Fetch this list of every member, and tell the catalog. Returns the items as the members wrote them."""
        members = self._around.members()
        async with asyncio.TaskGroup() as group:
            tasks = {one.name: group.create_task(self._of(one, listing, client)) for one in members}
        found = {name: items for name, task in tasks.items() if (items := task.result()) is not None}
        for name, items in found.items():
            self._catalog.learn(listing, name, items)
        return found

    async def know(self, listing: Listing) -> None:
        """Fetch this list where the catalog has not seen that of every member that is there."""
        places = [(listing.method, one.name) for one in self._around.members()]
        if any(place not in self._shown for place in places):
            for name, items in (await self.fetch(listing)).items():
                self._shown.setdefault((listing.method, name), _digest(items))

    def forget(self, member: str, *listings: Listing) -> None:
        """What was fetched of a member is old; what is on its way is, too."""
        for listing in listings:
            place = (listing.method, member)
            self._fetches.pop(place, None)
            self._late.pop(place, None)
            self._shown.pop(place, None)

    # --- Inside ------------------------------------------------------------------------------------------------------

    async def _of(self, member: Membership, listing: Listing, client: Key | None) -> list[str] | None:
        """Return a member's items; None where they do not come in time."""
        place = (listing.method, member.name)
        if not await member.ready(self._around.patience):
            await self._miss(("", member.name), member, str(member.down()))
            return None
        self._missed.pop(("", member.name), None)
        if not offers(member.greeted, listing):
            return []
        fetch = self._fetches.get(place)
        if fetch is None:
            fetch = self._fetches[place] = _Fetch(asyncio.get_running_loop().time())
            fetch.task = self._around.start(self._run(member, listing, fetch, client))
        if fetch.task is None:
            return None  # the session is closing
        left = fetch.since + self._around.patience - asyncio.get_running_loop().time()
        await asyncio.wait([fetch.task], timeout=max(0.0, left))
        if not fetch.task.done():
            fetch.is_late = True
            if place not in self._late:
                what = f"server {member.name}: it did not answer {listing.method} in time"
                await self._miss(place, member, what)
            return self._late.get(place)
        if fetch.task.cancelled() or (items := fetch.task.result()) is None:
            await self._miss(place, member, fetch.why or f"server {member.name}: {listing.method} failed")
            return None
        self._late.pop(place, None)
        self._missed.pop(place, None)
        return items

    async def _miss(self, place: _Place, member: Membership, why: str) -> None:
        """Say that a member is left out, once for as long as it is."""
        is_news = place not in self._missed
        self._missed[place] = why
        if is_news:
            await self._around.left_out(member, why)

    async def _run(self, member: Membership, listing: Listing, fetch: _Fetch, client: Key | None) -> list[str] | None:
        place = (listing.method, member.name)
        try:
            items = await self._all_pages(member, listing, client)
        except (Fault, Invalid) as trouble:
            logger.info("%s of %s failed: %s", listing.method, member.name, trouble)
            items, fetch.why = None, str(trouble) if isinstance(trouble, Fault) else ""
        if self._fetches.get(place) is not fetch:
            return items  # the member has changed its list meanwhile
        del self._fetches[place]
        if fetch.is_late and items is not None:
            self._late[place] = items
            self._missed.pop(place, None)
            self._catalog.learn(listing, member.name, items)
            if self._shown.get(place) != _digest(items):
                await self._around.changed(listing)
        return items

    async def _all_pages(self, member: Membership, listing: Listing, client: Key | None) -> list[str] | None:
        pages, cursor, goes_on = Pages(listing), None, True
        while goes_on:
            answer = await member.ask(pages.request(0, cursor), client)
            if answer.kind is Kind.ERROR:
                if answer.doc["error"].get("code") == _UNKNOWN_METHOD:
                    return []
                logger.info("%s answered %s with an error", member.name, listing.method)
                return None
            cursor = pages.add(answer)
            goes_on = cursor is not None
        if pages.cut is not None:
            logger.warning("%s of %s is listed in part: %s", listing.method, member.name, pages.cut)
        return pages.items


def _digest(items: Sequence[str]) -> bytes:
    digest = hashlib.sha256()
    for item in items:
        digest.update(item.encode("utf-8", "surrogatepass") + b"\0")
    return digest.digest()
