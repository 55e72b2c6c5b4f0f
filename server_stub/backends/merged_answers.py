"""What a merged session answers: each method of a client, by asking the member whose thing it is, or all of them.

Whose it is says `core/catalog`; how answers become one, `core/merging`. Each method here takes the client's request and
returns its answer, or raises a `Fault` that names the member.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import splice
from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.message import Kind, Message
from server_stub.backends.handler import LEVELS
from server_stub.backends.membership import Membership
from server_stub.backends.merged_lists import Lists
from server_stub.core.catalog import (
    LISTINGS,
    PROMPTS,
    RESOURCES,
    TASKS,
    TEMPLATES,
    TOOLS,
    Catalog,
    Listing,
    Place,
    is_hashed,
    split_uri,
)
from server_stub.core.merging import (
    Ourselves,
    declares,
    merged_greeting,
    merged_list,
    with_public_uris,
    with_text,
)

INVALID_PARAMS = -32602
UNKNOWN_METHOD = -32601
NO_RESOURCE = -32002

_NAME: splice.Path = ("params", "name")
_URI: splice.Path = ("params", "uri")
_TASK: splice.Path = ("params", "taskId")
_CALL_PATIENCE = 6.0
"""A call waits for a member that is starting so many times as long as a list, which can do without it."""

Answer = Callable[[Message], Awaitable[Message]]


class Around(NamedTuple):
    """What the answers need of their session."""

    members: Callable[[], Sequence[Membership]]
    ourselves: Ourselves
    patience: float
    remembers: bool
    """Whether what is learnt from one request is still known at the next: there is a session."""


class Answers:
    """See the module's text."""

    def __init__(self, catalog: Catalog, lists: Lists, around: Around) -> None:
        self.level: str | None = None
        """What the client has set with `logging/setLevel`."""
        self.subscriptions: dict[str, Place] = {}
        """What it is subscribed to, by the URI that it knows."""
        self._catalog = catalog
        self._lists = lists
        self._around = around
        self._methods: dict[str, Answer] = {
            "initialize": self._initialize,
            "ping": self._ping,
            "tools/call": self._call,
            "prompts/get": self._prompt,
            "resources/read": self._resource,
            "resources/subscribe": self._resource,
            "resources/unsubscribe": self._resource,
            "completion/complete": self._complete,
            "logging/setLevel": self._set_level,
            "tasks/get": self._task,
            "tasks/result": self._task,
            "tasks/cancel": self._task,
        }

    async def to(self, request: Message) -> Message:
        """Return the answer to a request of the client. Raises a `Fault`."""
        method = request.method or ""
        if method in LISTINGS:
            return await self._list(request)
        answer = self._methods.get(method)
        if answer is None:
            return _error(request, UNKNOWN_METHOD, f"{method}: nothing says for which of the merged servers this is")
        return await answer(request)

    # --- Answered here -----------------------------------------------------------------------------------------------

    async def _initialize(self, request: Message) -> Message:
        members = self._around.members()
        async with asyncio.TaskGroup() as group:
            for member in members:
                group.create_task(member.ready(self._around.patience))
        greeted = {one.name: one.greeted for one in members if one.is_in}
        missing = [one.name for one in members if not one.is_in]
        return merged_greeting(request, greeted, missing, self._around.ourselves)

    async def _ping(self, request: Message) -> Message:
        return msg.result(_id(request), {})

    async def _list(self, request: Message) -> Message:
        if request.params.get("cursor") is not None:
            return _error(request, INVALID_PARAMS, "this cursor is unknown: the merged server lists all on one page")
        listing = LISTINGS[request.method or ""]
        return merged_list(listing, _id(request), *await self._lists.merged(listing, request.key))

    async def _set_level(self, request: Message) -> Message:
        level = request.params.get("level")
        if level not in LEVELS:
            return _error(request, INVALID_PARAMS, f"the levels are {', '.join(LEVELS)}")
        self.level = level
        async with asyncio.TaskGroup() as group:
            for member in self._around.members():
                if member.is_in and declares(member.greeted, "logging"):
                    group.create_task(self._quietly(member, request))
        return msg.result(_id(request), {})

    # --- Answered by a member ----------------------------------------------------------------------------------------

    async def _call(self, request: Message) -> Message:
        answer = await self._named(request, TOOLS, _NAME, "tool")
        task = answer.result.get("task")
        if isinstance(task, dict) and isinstance(task.get("taskId"), str):
            place = await self._place(TOOLS, str(request.params.get("name")))
            if place is not None:
                self._catalog.mention(TASKS, place.member, task["taskId"])
        return answer

    async def _prompt(self, request: Message) -> Message:
        return await self._named(request, PROMPTS, _NAME, "prompt")

    async def _named(self, request: Message, listing: Listing, path: splice.Path, what: str) -> Message:
        """Ask the member whose tool or prompt this is, under the name that it has there."""
        name = _text_at(request, path)
        if name is None:
            return _error(request, INVALID_PARAMS, f"the name of a {what} must be a string")
        place = await self._place(listing, name)
        if place is None:
            return _error(request, INVALID_PARAMS, f"there is no {what} {msg.canonical(name)}{self._absent()}")
        return await self._ask(place.member, with_text(request, path, place.own), request)

    async def _resource(self, request: Message) -> Message:
        uri = _text_at(request, _URI)
        if uri is None:
            return _error(request, INVALID_PARAMS, "the uri of a resource must be a string")
        place = self.subscriptions.get(uri) if request.method == "resources/unsubscribe" else None
        place = place or await self._owner(uri)
        if place is None:
            place, answer = await self._first_that_knows(request, uri)
        else:
            answer = await self._ask(place.member, with_text(request, _URI, place.own), request)
        if place is not None and answer.kind is Kind.RESULT:
            if request.method == "resources/subscribe":
                self.subscriptions[uri] = place
            elif request.method == "resources/unsubscribe":
                self.subscriptions.pop(uri, None)
        return answer

    async def _complete(self, request: Message) -> Message:
        reference = request.params.get("ref")
        kind = reference.get("type") if isinstance(reference, dict) else None
        if kind == "ref/prompt":
            return await self._named(request, PROMPTS, ("params", "ref", "name"), "prompt")
        path = ("params", "ref", "uri")
        uri = _text_at(request, path) if kind == "ref/resource" else None
        if uri is None:
            return _error(request, INVALID_PARAMS, "a completion refers to a prompt or a resource")
        place = await self._owner(uri)
        if place is None:
            return _error(request, INVALID_PARAMS, f"no server has {msg.canonical(uri)}{self._absent()}")
        return await self._ask(place.member, with_text(request, path, place.own), request)

    async def _task(self, request: Message) -> Message:
        task = _text_at(request, _TASK)
        if task is not None and self._catalog.task_owner(task) is None:
            await self._lists.know(TASKS)
        owner = None if task is None else self._catalog.task_owner(task)
        if owner is None:
            return _error(request, INVALID_PARAMS, "there is no such task")
        return await self._ask(owner, request, request)

    # --- Whose it is -------------------------------------------------------------------------------------------------

    async def _place(self, listing: Listing, name: str) -> Place | None:
        place = self._catalog.find(listing, name)
        if place is None and is_hashed(name):  # only the lists can tell, and this session may never have asked for them
            await self._lists.fetch(listing)
            place = self._catalog.find(listing, name)
        return place

    async def _owner(self, uri: str) -> Place | None:
        place = self._catalog.owner(uri)
        if place is None and split_uri(uri) is None:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._lists.know(RESOURCES))
                group.create_task(self._lists.know(TEMPLATES))
            place = self._catalog.owner(uri)
        return place

    async def _first_that_knows(self, request: Message, uri: str) -> tuple[Place | None, Message]:
        """Ask one after the other; an empty answer counts only where nobody has a better one."""
        best: tuple[Place | None, Message] | None = None
        fault: Fault | None = None
        for member in self._around.members():
            if split_uri(uri) is not None or not (member.is_in and _takes(member, request)):
                continue
            try:
                answer = await self._ask(member.name, request, request)
            except Fault as down:
                fault = fault or down
                continue
            if answer.kind is Kind.RESULT and answer.result.get("contents") != []:
                self._catalog.mention(RESOURCES, member.name, uri)
                return Place(member.name, uri), answer
            if best is None or (best[1].kind is Kind.ERROR and answer.kind is Kind.RESULT):
                best = None, answer
        if best is not None:
            return best
        if fault is not None:
            raise fault
        text = f"no server has the resource {msg.canonical(uri)}{self._absent()}"
        return None, msg.error(request.id, NO_RESOURCE, text, {"uri": uri})

    def _absent(self) -> str:
        """The end of a sentence about something that nobody has: whoever is away might."""
        missing = [one.name for one in self._around.members() if one.is_missing]
        return f" (not available at the moment: {', '.join(missing)})" if missing else ""

    # --- Asking ------------------------------------------------------------------------------------------------------

    async def _ask(self, name: str, request: Message, original: Message) -> Message:
        """Return a member's answer under the client's id, with URIs that lead back. Raises a `Fault`."""
        member = next(one for one in self._around.members() if one.name == name)
        if not await member.ready(self._around.patience * _CALL_PATIENCE, urgent=True):
            raise member.down()
        answer = await member.ask(request, original.key)
        uri = original.params.get("uri")
        named = split_uri(uri) is not None if isinstance(uri, str) else not self._around.remembers
        if answer.kind is Kind.RESULT:
            answer = with_public_uris(self._catalog, name, original.method, answer, named=named)
        return msg.with_id(answer, _id(original))

    def unsubscribe(self, member: str) -> None:
        """A member will not come back."""
        self.subscriptions = {uri: place for uri, place in self.subscriptions.items() if place.member != member}

    async def renew(self, member: Membership) -> None:
        """Tell a member that has just come what the client had told its predecessor."""
        if self.level is not None and declares(member.greeted, "logging"):
            await self._quietly(member, msg.request(0, "logging/setLevel", {"level": self.level}))
        for place in tuple(self.subscriptions.values()):
            if place.member == member.name:
                await self._quietly(member, msg.request(0, "resources/subscribe", {"uri": place.own}))

    async def _quietly(self, member: Membership, request: Message) -> None:
        """Ask where the answer changes nothing, and wait for it no longer than patience lasts."""
        try:
            async with asyncio.timeout(self._around.patience):
                await member.ask(request)
        except (Fault, TimeoutError):
            pass  # it does not answer this; its other answers will show how it fares


def _takes(member: Membership, request: Message) -> bool:
    if request.method == "resources/read":
        return declares(member.greeted, "resources")
    resources = (member.greeted.get("capabilities") or {}).get("resources")
    return isinstance(resources, dict) and resources.get("subscribe") is True


def _text_at(request: Message, path: splice.Path) -> str | None:
    """Return the string at this path; of one that stands twice the last, which counts for JSON readers."""
    found = splice.values(request.raw.decode("utf-8"), path)
    return found[-1] if found and isinstance(found[-1], str) else None


def _id(request: Message) -> msg.JsonId:
    if request.id is None:
        raise LookupError("a request has an id")
    return request.id


def _error(request: Message, code: int, text: str) -> Message:
    return msg.error(request.id, code, text)
