"""HandlerLink: a Python function as a link. Runs it, cancels it, and carries what it says while it runs.

    async def handle(message: dict, session: Session) -> dict | None

A request is answered with the returned JSON-RPC response; notifications return None. Synchronous handlers run in
threads. An exception becomes -32603 without its text, which may hold anything; `RpcError` becomes the error it names.
Knows JSON-RPC, and of MCP only `notifications/cancelled` and `notifications/progress`.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import Fault, Interrupted, ShuttingDown, TimedOut, as_error
from mcp_remote_py.core.inflight import InFlight
from mcp_remote_py.core.link import Deliver, Traits
from mcp_remote_py.core.message import Invalid, JsonId, Key, Kind, Message, key_of
from server_stub.backends import Connect, Peer

Handler = Callable[[dict[str, Any], "Session"], Awaitable[dict[str, Any] | None] | dict[str, Any] | None]
"""What answers: takes a message and the session it came in, returns the response to a request, None otherwise."""

THREADS = 64
"""How many synchronous handlers of one server may run at once; more of them wait."""

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""MCP's log levels, least first."""

_CANCELLED = "notifications/cancelled"
_SOURCE = "mcp-remote-server"
_INTERNAL = -32603

logger = logging.getLogger(__name__)
Returned = TypeVar("Returned")

_course: contextvars.ContextVar[tuple[Session, Key] | None] = contextvars.ContextVar("course", default=None)
"""The request in whose course something is said. Tasks and threads that a handler starts inherit it."""


class RpcError(Exception):
    """A JSON-RPC error: raised by a handler it becomes the answer; raised by `Session.request` it was the answer."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class Session:
    """The handler's view of its client. What it says during a request travels with the answer to that request.

    The methods are coroutines, except those that end in `_sync`: these are for synchronous handlers, in their threads.
    """

    def __init__(self, peer: Peer, deliver: Deliver, loop: asyncio.AbstractEventLoop) -> None:
        self.id = peer.session_id
        """The session's id; None where the client has no session and so cannot be asked anything."""
        self.principal = peer.principal
        """Who was authenticated; None without authentication."""
        self.state: dict[str, Any] = {}
        """Whatever the handler wants to remember for this session."""
        self.log_level = "debug"
        """The least level of `log` that is sent (`logging/setLevel`)."""
        self._deliver = deliver
        self._loop = loop
        self._asked: InFlight[asyncio.Future[Message]] = InFlight()
        self._running: set[Key] = set()
        self._count = 0
        self._closed = False

    async def request(self, method: str, params: dict[str, Any] | None = None, timeout: float | None = None) -> Any:
        """Ask the client, and return its result. `timeout` is in seconds; None waits as long as a human may take.

        Raises `RpcError` with the client's error, or where there is no session that could carry the answer;
        `TimedOut`, `Interrupted` (a `Fault`) where no answer came.
        """
        if self.id is None:
            raise RpcError(-32601, f"{method}: this client has no session, so it cannot be asked")
        if self._closed:
            raise Interrupted("the client has gone")
        self._count += 1
        number = self._count
        future: asyncio.Future[Message] = self._loop.create_future()
        self._asked.begin(key_of(number), future)
        try:
            async with asyncio.timeout(timeout):
                await self._say(msg.request(number, method, params))
                answer = await future
        except TimeoutError:
            await self._withdraw(number, "timed out")
            raise TimedOut(f"the client did not answer {method} within {timeout:g} s") from None
        except asyncio.CancelledError:
            await self._withdraw(number, "no longer needed")
            raise
        finally:
            self._asked.finish(key_of(number))
        if answer.kind is Kind.ERROR:
            error = answer.doc["error"]
            raise RpcError(error.get("code", _INTERNAL), str(error.get("message", "")), error.get("data"))
        return answer.doc["result"]

    async def notify(self, method: str, params: dict[str, Any] | None = None) -> None:
        """Tell the client something. Once it has gone this does nothing."""
        if not self._closed:
            await self._say(msg.notification(method, params))

    async def progress(
        self, token: JsonId | None, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Report progress under the token of the request's `_meta.progressToken`; without a token do nothing."""
        if token is None:
            return
        params: dict[str, Any] = {"progressToken": token, "progress": progress}
        if total is not None:
            params["total"] = total
        if message is not None:
            params["message"] = message
        await self.notify("notifications/progress", params)

    async def log(self, level: str, data: object, name: str | None = None) -> None:
        """Send a log message to the client, unless it has asked for higher levels only. Raises ValueError."""
        if level not in LEVELS:
            raise ValueError(f"the levels are {', '.join(LEVELS)}")
        if LEVELS.index(level) < LEVELS.index(self.log_level):
            return
        params = {"level": level, "data": data} if name is None else {"level": level, "logger": name, "data": data}
        await self.notify("notifications/message", params)

    def request_sync(self, method: str, params: dict[str, Any] | None = None, timeout: float | None = None) -> Any:
        """`request` for a synchronous handler."""
        return self.wait_for(lambda: self.request(method, params, timeout))

    def notify_sync(self, method: str, params: dict[str, Any] | None = None) -> None:
        """`notify` for a synchronous handler."""
        self.wait_for(lambda: self.notify(method, params))

    def progress_sync(
        self, token: JsonId | None, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """`progress` for a synchronous handler."""
        self.wait_for(lambda: self.progress(token, progress, total, message))

    def log_sync(self, level: str, data: object, name: str | None = None) -> None:
        """`log` for a synchronous handler."""
        self.wait_for(lambda: self.log(level, data, name))

    def wait_for(self, ask: Callable[[], Awaitable[Returned]]) -> Returned:
        """Run a coroutine of this session on its loop, and wait for it in the calling thread. Raises RuntimeError.

        What it says belongs to the request in whose thread this is called.
        """
        if _is_inside(self._loop):
            raise RuntimeError("in a coroutine, await the method without _sync: this one would stop the whole server")

        async def asked() -> Returned:
            return await ask()

        return asyncio.run_coroutine_threadsafe(asked(), self._loop).result()

    # --- For the link ------------------------------------------------------------------------------------------

    def answered(self, answer: Message) -> bool:
        """Give the client's answer to who waits for it. Returns whether anybody did."""
        future = None if answer.id is None else self._asked.finish(answer.key)
        if future is None or future.done():
            return False
        future.set_result(answer)
        return True

    def close(self) -> None:
        """The client has gone: nobody waits for it any longer."""
        self._closed = True
        for _, future in self._asked.drain():
            if not future.done():
                future.set_exception(Interrupted("the client has gone"))

    @contextmanager
    def during(self, key: Key) -> Iterator[None]:
        """Everything said inside belongs to this request."""
        token = _course.set((self, key))
        self._running.add(key)
        try:
            yield
        finally:
            self._running.discard(key)
            _course.reset(token)

    async def _say(self, message: Message) -> None:
        session, key = _course.get() or (None, None)
        await self._deliver(message, key if session is self and key in self._running else None)

    async def _withdraw(self, number: int, reason: str) -> None:
        """Tell the client that its answer is no longer waited for; a client that reads nothing is not waited for."""
        try:
            async with asyncio.timeout(1.0):
                await self.notify(_CANCELLED, {"requestId": number, "reason": reason})
        except TimeoutError:
            pass  # it was a courtesy


def _is_inside(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it makes a coroutine: also through `functools.partial` and objects with an async `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.iscoroutinefunction(function):
        return True
    return inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004  (what it is, not whether)


class Threads:
    """Runs synchronous functions in threads that hold nobody up: neither the loop, nor the end of the process."""

    def __init__(self, limit: int = THREADS) -> None:
        self._places = asyncio.Semaphore(limit)

    async def run(self, function: Callable[..., Returned], *arguments: Any, **named: Any) -> Returned:
        """Call it in a thread with this task's context. Cancelling stops the waiting; a thread cannot be stopped."""
        async with self._places:
            outcome: Future[Returned] = Future()
            context = contextvars.copy_context()

            def call() -> None:
                try:
                    returned = context.run(function, *arguments, **named)
                except StopIteration:  # which no future can carry
                    _settle(outcome, error=RuntimeError("the handler raised StopIteration"))
                except (KeyboardInterrupt, GeneratorExit) as error:  # a real one never arrives in a thread
                    _settle(outcome, error=RuntimeError(f"the handler raised {type(error).__name__}"))
                except BaseException as error:  # noqa: BLE001  (also SystemExit: it reaches who waits)
                    _settle(outcome, error=error)
                else:
                    _settle(outcome, returned)

            threading.Thread(target=call, name="handler", daemon=True).start()
            return await asyncio.wrap_future(outcome)


def _settle(outcome: Future[Any], value: object = None, error: BaseException | None = None) -> None:
    if not outcome.set_running_or_notify_cancel():
        return  # nobody waits any more
    try:
        if error is None:
            outcome.set_result(value)
        else:
            outcome.set_exception(error)
    except RuntimeError:
        pass  # the loop of who waited is closed


class _Run:
    """A request that is being handled."""

    def __init__(self, task: asyncio.Task[Message], method: str | None) -> None:
        self.task = task
        self.method = method
        self.dropped = False

    def drop(self) -> None:
        """Cancel it for the client, or because the link closes: there will be no answer."""
        self.dropped = True
        self.task.cancel()


class HandlerLink:
    """One client's way to the handler. Requests run side by side; each has its own stream."""

    def __init__(self, handler: Handler, peer: Peer, threads: Threads) -> None:
        self._handler = handler
        self._is_async = is_async(handler)
        self._peer = peer
        self._threads = threads
        self._session: Session | None = None
        self._deliver: Deliver | None = None
        self._group: asyncio.TaskGroup | None = None
        self._running: dict[Key, _Run] = {}
        self._notices: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()

    @property
    def traits(self) -> Traits:
        return Traits(streams_per_exchange=True)

    async def open(self, deliver: Deliver) -> None:
        """Make the session that the handler sees."""
        self._deliver = deliver
        self._session = Session(self._peer, deliver, asyncio.get_running_loop())

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
        """Have one message handled; for a request this returns when it is answered. Raises `ShuttingDown`."""
        session = self._session
        if session is None or self._closed.is_set():
            raise ShuttingDown("the session is closed", may_have_run=False)
        if written is not None:
            written()  # handling begins in this very step, so nothing can overtake it
        if message.is_answer:
            if not session.answered(message):
                logger.debug("the client answered a question that nobody waits for")
        elif message.kind is Kind.NOTIFICATION:
            if message.method == _CANCELLED:
                self._cancel(message)
            elif self._group is not None:
                # in a task, for it may ask the client (its roots, say), whose answer comes behind this notification
                notice = self._group.create_task(self._notice(message, session))
                self._notices.add(notice)
                notice.add_done_callback(self._notices.discard)
            else:
                await self._notice(message, session)
        else:
            await self._request(message, session)

    async def listen(self) -> None:
        """Stay until the link is closed. Notifications are handled in here; requests in their own `send`."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await self._closed.wait()
            finally:
                self._group = None
            for notice in self._notices:
                notice.cancel()

    async def close(self) -> None:
        """Cancel what runs, and tell whoever waits for the client that it has gone."""
        self._closed.set()
        for run in list(self._running.values()):
            run.drop()
        if self._session is not None:
            self._session.close()

    # --- Inside ------------------------------------------------------------------------------------------------

    async def _request(self, message: Message, session: Session) -> None:
        key = message.key
        async with asyncio.TaskGroup() as group:
            run = _Run(group.create_task(self._answer(message, session)), message.method)
            if key in self._running:
                self._running[key].drop()  # the client used an id twice: the older request gives way
            self._running[key] = run
            run.task.add_done_callback(lambda _: self._finished(key, run))
        if run.dropped:
            if self._closed.is_set():
                raise ShuttingDown("the session was closed")
            return  # a cancelled request has no answer
        # a handler may also cancel itself, which is no reason to leave the client waiting
        answer = _internal_error(message) if run.task.cancelled() else run.task.result()
        if self._deliver is not None:
            await self._deliver(answer, key)

    def _finished(self, key: Key, run: _Run) -> None:
        if self._running.get(key) is run:
            del self._running[key]

    async def _answer(self, message: Message, session: Session) -> Message:
        """Run the handler for a request; whatever it does, an answer comes out."""
        with session.during(message.key):
            try:
                returned = await self._call(message, session)
            except RpcError as error:
                return _rpc_error(message, error)
            except Fault as fault:
                return as_error(fault, message.id, _SOURCE)
            except (Exception, SystemExit):
                logger.exception("the handler failed on %s", message.method)
                return _internal_error(message)
        return _response(message, returned)

    async def _notice(self, message: Message, session: Session) -> None:
        try:
            await self._call(message, session)
        except (Exception, SystemExit):
            logger.exception("the handler failed on %s", message.method)

    async def _call(self, message: Message, session: Session) -> object:
        """Call the handler with a document of its own: it may do with it what it likes."""
        document = msg.parse_one(message.raw).doc
        if self._is_async:
            returned: object = self._handler(document, session)
        else:
            returned = await self._threads.run(cast(Callable[..., object], self._handler), document, session)
        return await returned if inspect.isawaitable(returned) else returned

    def _cancel(self, message: Message) -> None:
        target = message.params.get("requestId")
        if isinstance(target, str | int | float) and not isinstance(target, bool):
            run = self._running.get(key_of(target))
            if run is not None and run.method != "initialize":  # which may not be cancelled
                run.drop()


def _response(request: Message, returned: object) -> Message:
    """Return what the handler returned as the answer to this request."""
    if not isinstance(returned, dict) or "jsonrpc" not in returned:
        what = "None" if returned is None else f"a {type(returned).__name__} that is no JSON-RPC response"
        logger.error("the handler returned %s for the request %s", what, request.method)
        return _internal_error(request)
    try:
        answer = msg.from_document({**returned, "id": request.id})
    except Invalid as invalid:
        logger.error("the handler's response to %s cannot be sent: %s", request.method, invalid.reason)
        return _internal_error(request)
    if not answer.is_answer:
        logger.error("the handler returned a request instead of a response to %s", request.method)
        return _internal_error(request)
    return answer


def _rpc_error(request: Message, error: RpcError) -> Message:
    try:
        return msg.error(request.id, error.code, error.message, error.data)
    except (TypeError, ValueError, RecursionError):
        logger.exception("the data of an error for %s is no JSON", request.method)
        return msg.error(request.id, error.code, error.message)


def _internal_error(request: Message) -> Message:
    return msg.error(request.id, _INTERNAL, "internal error")


def connect_handler(handler: Handler) -> Connect:
    """Return the `Connect` that gives every peer a link to this handler. Raises TypeError for what is not callable."""
    if not callable(handler):
        raise TypeError(f"a handler is a function (message, session); this is a {type(handler).__name__}")
    threads = Threads()

    def connect(peer: Peer) -> HandlerLink:
        return HandlerLink(handler, peer, threads)

    return connect
