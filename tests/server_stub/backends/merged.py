"""Made-up MCP servers, and a client of a merged one, for the tests of the merged server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import BackendDown, Fault
from mcp_remote_py.core.message import Key, Kind, Message
from server_stub.backends import Connect, Peer
from server_stub.backends.group import Group
from server_stub.backends.handler import RpcError, Session, connect_handler
from tests.server_stub.links import SECONDS, ScriptedLink

LISTS = {
    "tools/list": ("tools", "name"),
    "prompts/list": ("prompts", "name"),
    "resources/list": ("resources", "uri"),
    "resources/templates/list": ("resourceTemplates", "uriTemplate"),
}


class Server:
    """An MCP server: what it lists is given by name, `on` has further methods; `heard` is what it was sent."""

    def __init__(self, *tools: str, page: int = 100, **offers: Any) -> None:
        self.page = page
        self.instructions: str | None = offers.pop("instructions", None)
        self.capabilities: dict[str, Any] = {"tools": {}, **offers.pop("capabilities", {})}
        self.lists: dict[str, list[Any]] = {"tools/list": list(tools)}
        for name, method in (("prompts", "prompts/list"), ("resources", "resources/list")):
            if name in offers:
                self.capabilities.setdefault(name, {"subscribe": True} if name == "resources" else {})
                self.lists[method] = list(offers.pop(name))
        if "templates" in offers:
            self.capabilities.setdefault("resources", {})
            self.lists["resources/templates/list"] = list(offers.pop("templates"))
        self.on: dict[str, Callable[..., Any]] = offers.pop("on", {})
        assert not offers
        self.heard: list[dict[str, Any]] = []
        self.sessions: list[Session] = []
        self._news = asyncio.Condition()

    async def __call__(self, message: dict[str, Any], session: Session) -> dict[str, Any] | None:
        """Handle one message."""
        if session not in self.sessions:
            self.sessions.append(session)
        async with self._news:
            self.heard.append(message)
            self._news.notify_all()
        result = await self._result(message, session)
        return None if "id" not in message else {"jsonrpc": "2.0", "id": message["id"], "result": result}

    async def received(self, method: str, count: int = 1) -> dict[str, Any]:
        """Wait until so many messages of this method have come; return the last of them."""
        async with asyncio.timeout(SECONDS), self._news:
            await self._news.wait_for(lambda: len(self.all(method)) >= count)
        return self.all(method)[count - 1]

    def all(self, method: str) -> list[dict[str, Any]]:
        return [one for one in self.heard if one.get("method") == method]

    async def _result(self, message: dict[str, Any], session: Session) -> Any:
        method, params = message.get("method", ""), message.get("params", {})
        if method in self.on:
            return await self.on[method](params, session)
        if method == "initialize":
            info = {"name": "made-up", "version": "1"}
            answer = {
                "protocolVersion": params["protocolVersion"],
                "capabilities": self.capabilities,
                "serverInfo": info,
            }
            return answer if self.instructions is None else {**answer, "instructions": self.instructions}
        if method in LISTS and method in self.lists:
            return self._page(method, params)
        if method == "tools/call":
            return {"content": [{"type": "text", "text": params["name"]}], "arguments": params.get("arguments")}
        if method == "prompts/get":
            return {"messages": [], "description": params["name"]}
        if method == "resources/read":
            return self._contents(params["uri"])
        if method.startswith("notifications/"):
            return None
        if method in ("resources/subscribe", "resources/unsubscribe", "logging/setLevel", "completion/complete"):
            return {"asked": params}
        raise RpcError(-32601, f"unknown method {method}")

    def _page(self, method: str, params: dict[str, Any]) -> Any:
        member, key = LISTS[method]
        at = int(params.get("cursor", 0))
        items = [one if isinstance(one, dict) else {key: one, "n": 1.0} for one in self.lists[method]]
        more = {"nextCursor": str(at + self.page)} if at + self.page < len(items) else {}
        return {member: items[at : at + self.page], **more}

    def _contents(self, uri: str) -> Any:
        known = [*self.lists.get("resources/list", []), *self.lists.get("resources/templates/list", [])]
        if not any(uri == one or ("{" in one and uri.startswith(one[: one.index("{")])) for one in known):
            raise RpcError(-32002, "no such resource")
        return {"contents": [{"uri": uri, "text": f"of {id(self)}"}]}


class Piped:
    """The same server behind one pipe, as a child is; every connection is in `links`, and can be ended."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.links: list[_Pipe] = []
        self.fault: Fault | None = None
        self.silent: set[str] = set()

    def __call__(self, peer: Peer) -> _Pipe:
        link = _Pipe(peer, self)
        link.open_fault = self.fault
        self.links.append(link)
        return link

    def die(self, text: str = "the child has died") -> None:
        self.links[-1].die(text)


class _Pipe(ScriptedLink):
    def __init__(self, peer: Peer, piped: Piped) -> None:
        super().__init__(peer)
        self._piped = piped

    @property
    def is_listened_to(self) -> bool:
        return self._dead is not None and not self._dead.done()

    async def send(self, message_: Message, written: Callable[[], None] | None = None) -> None:
        self.reply = lambda _: None
        await super().send(message_, written)
        if message_.method in self._piped.silent or message_.is_answer:
            return
        try:
            answer = await self._piped.server(dict(message_.doc), _NOBODY)
        except RpcError as error:
            answer = msg.error(message_.id, error.code, error.message).doc
        if answer is not None and message_.id is not None:
            await self.say(msg.from_document(answer))


_NOBODY: Any = type("Nobody", (), {})()


class Client:
    """A client of one link; what came, answers aside, is in `told`."""

    def __init__(self, group: Group, peer: Peer) -> None:
        self.link = group.connect(peer)
        self.told: list[tuple[Message, Key | None]] = []
        self._answers: dict[Key, Message] = {}
        self._news = asyncio.Condition()
        self._next = 100
        self.tasks: asyncio.TaskGroup | None = None

    async def __call__(self, message: Message, exchange: Key | None) -> None:
        """Take what is delivered."""
        async with self._news:
            if message.is_answer:
                assert exchange == message.key
                assert message.key not in self._answers, "answered twice"
                self._answers[message.key] = message
            else:
                self.told.append((message, exchange))
            self._news.notify_all()

    async def ask(self, method: str, **params: Any) -> Message:
        """Send a request; return its answer."""
        self._next += 1
        return await self.send(msg.request(self._next, method, params))

    async def send(self, message: Message) -> Message:
        async with asyncio.timeout(SECONDS):
            await self.link.send(message)
        return self._answers[message.key]

    async def result(self, method: str, **params: Any) -> dict[str, Any]:
        answer = await self.ask(method, **params)
        assert answer.kind is Kind.RESULT, answer.doc
        return answer.result

    async def error(self, method: str, **params: Any) -> dict[str, Any]:
        answer = await self.ask(method, **params)
        assert answer.kind is Kind.ERROR, answer.doc
        error: dict[str, Any] = answer.doc["error"]
        return error

    async def notify(self, method: str, **params: Any) -> None:
        await self.link.send(msg.notification(method, params))

    async def greet(self, version: str = "2025-06-18", **capabilities: Any) -> dict[str, Any]:
        """Do the handshake; return the answer."""
        info = {"name": "client", "version": "1"}
        result = await self.result(
            "initialize", protocolVersion=version, capabilities=capabilities, clientInfo=info, extra=1.0
        )
        await self.notify("notifications/initialized")
        return result

    async def names(self, method: str = "tools/list") -> list[str]:
        """Return what a list has, by its keys."""
        member, key = LISTS[method]
        return [one[key] for one in (await self.result(method))[member]]

    async def heard(self, method: str, count: int = 1) -> Message:
        """Wait until so many messages of this method have come; return the last of them."""
        async with asyncio.timeout(SECONDS), self._news:
            await self._news.wait_for(lambda: len(self.all(method)) >= count)
        return self.all(method)[count - 1][0]

    def all(self, method: str) -> list[tuple[Message, Key | None]]:
        return [one for one in self.told if one[0].method == method]

    def background(self, method: str, **params: Any) -> asyncio.Task[Message]:
        """Ask in a task."""
        assert self.tasks is not None
        return self.tasks.create_task(self.ask(method, **params))


@asynccontextmanager
async def client_of(group: Group, *, session: str | None = "s", principal: str | None = None) -> AsyncIterator[Client]:
    """Open a session of the merged server, and close it afterwards."""
    client = Client(group, Peer(session, principal))
    async with asyncio.TaskGroup() as tasks:
        client.tasks = tasks
        await client.link.open(client)
        tasks.create_task(client.link.listen())
        try:
            yield client
        finally:
            async with asyncio.timeout(SECONDS):
                await client.link.close()


def connects(members: Mapping[str, Server | Connect]) -> dict[str, Connect]:
    return {name: connect_handler(one) if isinstance(one, Server) else one for name, one in members.items()}


def grouped(patience: float = 5.0, pause: float = 0.02, **members: Server | Connect) -> Group:
    """Return the merged server of these members."""
    fixed = connects(members)
    return Group(lambda _: fixed, "merged", "1", patience=patience, pause=pause)


def down(text: str = "it does not start") -> BackendDown:
    return BackendDown(text, may_have_run=False)
