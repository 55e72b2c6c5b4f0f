"""A trial: one member is started, or reached, and asked for its tools, without any server around it. Then it is ended.

(MCP 2025-11-25: Lifecycle, "Initialization"; Server Features, "Tools", with "Pagination".)
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from mcp_remote_py import __version__
from mcp_remote_py.core import message as msg
from mcp_remote_py.core import versions
from mcp_remote_py.core.errors import Fault, PeerBroke, TimedOut
from mcp_remote_py.core.link import Link
from mcp_remote_py.core.message import Key, Kind, Message
from mcp_remote_py.core.redact import Redactor, printable
from server_stub import reaper
from server_stub.backends.remote import remote_link
from server_stub.children import Child, ServerSpec
from server_stub.core.roster import Command, Member, Remote

_PAGES = 1000
"""More pages than that are a server that never stops."""


class Trial(NamedTuple):
    """What came of it. Times in seconds."""

    server: str
    """What it calls itself, with its version."""
    protocol: str
    tools: tuple[str, ...]
    initialize: float
    listing: float


async def try_member(
    member: Member, environ: Mapping[str, str], timeout: float, redactor: Redactor, hidden: tuple[str, ...] = ()
) -> Trial:
    """Start the member, list its tools, end it. Raises a `Fault`.

    `timeout`: seconds for each answer; `hidden`: variables that hold tokens of ours.
    """
    if isinstance(member.what, Remote):
        link: Link | _Pipe = remote_link(member.what, learn=redactor.add, name=member.name, environ=environ)
    else:
        link = _Pipe(_spec(member.what, hidden))
    conversation = _Conversation(link, timeout)
    with reaper.watching():
        try:
            return await conversation.run()
        except TimedOut as fault:
            raise _with_last_lines(fault, link) from None
        finally:
            await link.close()


def _with_last_lines(fault: TimedOut, link: object) -> TimedOut:
    last = link.last_lines() if isinstance(link, _Pipe) else ""
    return TimedOut(str(fault), hint=last or "It may need longer: --timeout 2m.")


def _spec(command: Command, hidden: tuple[str, ...]) -> ServerSpec:
    return ServerSpec(
        command=command.words,
        shell=command.shell,
        env=command.env,
        cwd=command.cwd,
        pass_environment=bool(command.pass_environment),
        hidden_variables=frozenset(hidden),
    )


class _Pipe:
    """A child as far as a trial needs one. It is asked for its last lines also while it is alive."""

    def __init__(self, spec: ServerSpec) -> None:
        self._spec = spec
        self._child: Child | None = None

    async def open(self, deliver: Any) -> None:
        self._deliver = deliver
        self._child = await Child.start(self._spec)

    async def send(self, message: Message) -> None:
        if self._child is not None:
            await self._child.write(message.raw)

    async def listen(self) -> None:
        if self._child is not None:
            raise await self._child.run(self._heard)

    async def _heard(self, message: Message) -> None:
        await self._deliver(message, None)

    async def close(self) -> None:
        if self._child is not None:
            await self._child.stop()

    def last_lines(self) -> str:
        return (self._child.down().hint or "") if self._child is not None else ""


class _Conversation:
    """Asks one question after the other."""

    def __init__(self, link: Link | _Pipe, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self._count = 0
        self._open: asyncio.Future[Message] | None = None
        self._open_id: int | None = None
        self._gone: Fault | None = None
        self._group: asyncio.TaskGroup
        self._sending: list[asyncio.Task[None]] = []

    async def run(self) -> Trial:
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._timeout):
                await self._link.open(self._deliver)
        except TimeoutError:
            raise TimedOut(f"it was not there after {self._timeout:g} s") from None
        async with asyncio.TaskGroup() as group:
            self._group = group
            listening = group.create_task(self._listen())
            try:
                outcome: Trial | Fault = await self._talk(began)
            except Fault as fault:
                outcome = fault  # raised inside the group it would come out wrapped
            for task in (listening, *self._sending):
                task.cancel()
        if isinstance(outcome, Fault):
            raise outcome
        return outcome

    async def _talk(self, began: float) -> Trial:
        clock = asyncio.get_running_loop().time
        greeting = await self._greet()
        greeted = clock()
        offers = greeting.get("capabilities")
        tools = await self._tools() if isinstance(offers, dict) and "tools" in offers else []
        info = greeting.get("serverInfo")
        info = info if isinstance(info, dict) else {}
        name = _in_one_line(f"{info.get('name', 'no name')} {info.get('version', '')}".strip(), 200)
        protocol = _in_one_line(greeting.get("protocolVersion"), 40)
        return Trial(name, protocol, tuple(tools), greeted - began, clock() - greeted)

    async def _listen(self) -> None:
        try:
            await self._link.listen()
        except Fault as fault:
            self._gone = fault
            if self._open is not None and not self._open.done():
                self._open.set_exception(fault)

    async def _deliver(self, message: Message, exchange: Key | None) -> None:
        del exchange
        if message.is_answer and message.id is not None and message.id == self._open_id:
            if self._open is not None and not self._open.done():
                self._open.set_result(message)
        elif message.kind is Kind.REQUEST and message.id is not None:
            if message.method == "ping":
                await self._link.send(msg.result(message.id, {}))
            else:
                await self._link.send(msg.error(message.id, -32601, "This is a trial, which offers nothing."))

    async def _greet(self) -> dict[str, Any]:
        answer = await self._ask(
            "initialize",
            {
                "protocolVersion": versions.LATEST_LEGACY,
                "capabilities": {},
                "clientInfo": {"name": "mcp-remote-server", "version": __version__},
            },
        )
        await self._link.send(msg.notification("notifications/initialized"))
        return answer

    async def _tools(self) -> list[str]:
        names: list[str] = []
        cursor: object = None
        for _ in range(_PAGES):
            page = await self._ask("tools/list", {} if cursor is None else {"cursor": cursor})
            tools = page.get("tools")
            if not isinstance(tools, list):
                raise PeerBroke("its answer to tools/list has no tools")
            names += (_in_one_line(tool.get("name"), 200) for tool in tools if isinstance(tool, dict))
            cursor = page.get("nextCursor")
            if cursor is None or cursor == "":
                return names
        raise PeerBroke(f"its list of tools has more than {_PAGES} pages")

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if self._gone is not None:
            raise self._gone
        self._count += 1
        self._open_id = self._count
        self._open = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._timeout):
                # on a link with a stream for each exchange, `send` ends when that stream does
                self._sending.append(self._group.create_task(self._send(msg.request(self._count, method, params))))
                answer = await self._open
        except TimeoutError:
            raise TimedOut(f"no answer to {method} within {self._timeout:g} s") from None
        finally:
            self._open = None
        if answer.kind is Kind.ERROR:
            raise PeerBroke(f"{method} was answered with an error: {_words_of(answer)}")
        return answer.result

    async def _send(self, message: Message) -> None:
        try:
            await self._link.send(message)
        except Fault as fault:
            if self._open is not None and not self._open.done():
                self._open.set_exception(fault)


def _words_of(answer: Message) -> str:
    error = answer.doc.get("error")
    text = error.get("message") if isinstance(error, dict) else None
    return printable(text, 300) if isinstance(text, str) else "without words"


def _in_one_line(said: object, limit: int) -> str:
    """Return what a server calls something: it adds no line to what we print."""
    return printable(str(said), limit).replace("\n", "\\n").replace("\t", "\\t")
