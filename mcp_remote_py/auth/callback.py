"""Callback: waits on this machine for the browser to come back from a sign-in (RFC 8252 section 7.3).

It listens on 127.0.0.1 and ::1 alone, whatever host the redirect URI names. Whoever can reach that (any program here,
any page in any browser here) can send it anything, so: only a GET of the one path with the one `state` ends the wait,
once; nothing of a request comes back in an answer; heads are bounded in size and time, and so are connections. The
browser is answered when it is known how the sign-in ended, so that the page says the truth.

A protocol for each connection, not a task: nothing here waits, and nothing can be left over.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import logging
import socket
import sys
from typing import NamedTuple, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

from mcp_remote_py.auth import callback_page
from mcp_remote_py.auth.callback_page import Page
from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.core.http.origins import is_loopback, place_of
from mcp_remote_py.settings import SignIn

_LOG = logging.getLogger("mcp_remote_py.auth.callback")

LARGEST_LINE = 8 * 1024
"""Bytes of a request's first line, which is all that is read of it."""
LARGEST_HEAD = 64 * 1024
"""Bytes of a head. A browser adds the cookies of everything that ever ran on `localhost`, whatever its port."""
VISIT_SECONDS = 10.0
"""How long a connection may take to send its request, and to take its answer."""
HOLD_SECONDS = 20.0
"""How long the browser waits for the outcome before it is told that there is none yet."""
MOST_VISITS = 200
"""Connections that have not asked yet; the oldest gives way to the next."""
MOST_EARLY = 16
"""Requests that may have come back before it is known which one is waited for."""
_BACKLOG = 128
_MOST_FIELDS = 100
_FREE_PORT_TRIES = 20
_NO_SUCH_ADDRESS = frozenset(
    code for name in ("EADDRNOTAVAIL", "EAFNOSUPPORT", "EPROTONOSUPPORT") if (code := getattr(errno, name, None))
)


class _Place(NamedTuple):
    """Where the browser comes back to."""

    uri: str
    host: str
    port: int
    path: str


class Callback:
    """See the module's text. For one sign-in at a time; `close` when it is over."""

    def __init__(
        self,
        sign_in: SignIn,
        server_url: str,
        port: int,
        *,
        visit_seconds: float = VISIT_SECONDS,
        hold_seconds: float = HOLD_SECONDS,
    ) -> None:
        """`port`: the one that is wanted, where the client's registration names none."""
        self._host = sign_in.callback_host
        self._port = sign_in.callback_port or port
        self._prefers_own = sign_in.callback_port is not None
        self._default_path = sign_in.callback_path
        self._server = place_of(server_url)
        self._signed_in = callback_page.signed_in(self._server, sign_in.success_url)
        self._visit_seconds = visit_seconds
        self._hold_seconds = hold_seconds
        self._path = self._default_path
        self._servers: list[asyncio.Server] = []
        self._visits: dict[_Visit, None] = {}
        """The connections that have not asked yet, the oldest first."""
        self._open: set[_Visit] = set()
        """All of them, those that have their answer and are not closed yet included."""
        self._state: str | None = None
        self._spent: str | None = None
        self._coming: asyncio.Future[str] | None = None
        self._early: dict[_Visit, str] = {}
        self._held: _Visit | None = None
        self._holding: asyncio.TimerHandle | None = None
        self._has_warned = False

    async def listen(self, registered: tuple[str, ...] = ()) -> str:
        """Listen, and return the redirect URI that is served from now on.

        It is the first of `registered` that can be served; with none of them, or none given, one made of the settings;
        where that port is taken, one with a free port. Raises `SignInNeeded` where no port at all can be had.
        """
        self._stop()
        wanted = self._own(self._port)
        for place in (*self._servable(registered), wanted):
            sockets = _bound(place.host, place.port)
            if sockets is not None:
                return await self._serve(place, sockets)
            _LOG.info("Port %d, to which the browser should come back, belongs to another program.", place.port)
        for _ in range(_FREE_PORT_TRIES):
            port = _free_port()
            sockets = None if port is None else _bound(self._host, port)
            if port is not None and sockets is not None:
                _LOG.warning("Port %d is taken; the browser will come back to port %d.", wanted.port, port)
                return await self._serve(self._own(port, registered), sockets)
        raise SignInNeeded(
            "the browser cannot come back to this machine: no port of 127.0.0.1 can be listened on",
            hint="--no-browser takes the address by hand, --device-code needs no way back.",
        )

    async def query(self, state: str) -> str:
        """Wait for the browser, and return the query of its request. Of all requests only one with this `state` counts.

        Whoever waits bounds the time. Raises `SignInNeeded` when this is closed meanwhile.
        """
        self._answer_held(callback_page.unfinished(self._server))
        self._state, self._coming = state, asyncio.get_running_loop().create_future()
        for visit, query in list(self._early.items()):
            del self._early[visit]
            self._came_back(visit, query)
        try:
            return await self._coming
        finally:
            self._state = self._coming = None

    async def conclude(self, problem: str | None) -> None:
        """Tell the browser how it ended: `problem` None for well. The page only says that there was one, not which."""
        self._answer_held(self._signed_in if problem is None else callback_page.failed(self._server))

    def close(self) -> None:
        """Stop listening. A browser that still waits is told that it did not work."""
        self._stop()
        self._answer_held(callback_page.failed(self._server))
        for visit in list(self._early):
            self.too_early(visit)
        for visit in list(self._visits):
            visit.abort()
        for visit in list(self._open):
            visit.finish()
        if self._coming is not None and not self._coming.done():
            self._coming.set_exception(SignInNeeded("the sign-in was given up before the browser came back"))

    # --- Where to listen ---------------------------------------------------------------------------------------

    def _own(self, port: int, registered: tuple[str, ...] = ()) -> _Place:
        """Return the place that the settings name, at this port; or one that is registered for any port."""
        for uri in registered:
            parts = urlsplit(uri)
            if self._is_ours(uri) and parts.port is None and is_loopback(parts.hostname or ""):
                return _place(parts.hostname or "", port, parts.path or "/")
        return _place(self._host, port, self._default_path)

    def _servable(self, registered: tuple[str, ...]) -> list[_Place]:
        """Return where a browser comes back to for the URIs that lead here, best first.

        A loopback URI without a port is registered for any port (RFC 8252 section 7.3).
        """
        places = []
        for uri in filter(self._is_ours, registered):
            parts = urlsplit(uri)
            host, path = parts.hostname or "", parts.path or "/"
            if parts.port is None and is_loopback(host):
                places.append(_place(host, self._port, path))
            else:
                places.append(_Place(uri, host, parts.port or 80, path))
        if self._prefers_own:
            places.sort(key=lambda place: place.port != self._port)
        return places

    def _is_ours(self, uri: str) -> bool:
        try:
            parts = urlsplit(uri)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return False
        is_plain = parts.scheme == "http" and "@" not in parts.netloc and not parts.fragment and port != 0
        return is_plain and (is_loopback(host) or host == self._host.lower())

    async def _serve(self, place: _Place, sockets: list[socket.socket]) -> str:
        loop = asyncio.get_running_loop()
        for listening in sockets:
            self._servers.append(await loop.create_server(lambda: _Visit(self), sock=listening, backlog=_BACKLOG))
        self._path = place.path
        _LOG.debug("The browser is waited for at port %d.", place.port)
        return place.uri

    def _stop(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    # --- Who comes ---------------------------------------------------------------------------------------------

    @property
    def visit_seconds(self) -> float:
        return self._visit_seconds

    def came(self, visit: _Visit) -> None:
        """Somebody has connected."""
        self._visits[visit] = None
        self._open.add(visit)
        if len(self._visits) > MOST_VISITS:
            next(iter(self._visits)).abort()

    def gone(self, visit: _Visit) -> None:
        """A connection is closed."""
        self._open.discard(visit)
        self.left(visit)

    def left(self, visit: _Visit) -> None:
        """A connection has asked, or is gone."""
        self._visits.pop(visit, None)
        self._early.pop(visit, None)

    def asked(self, visit: _Visit, method: str, target: str) -> None:
        """A request has come."""
        path, _, query = target.partition("?")
        if unquote(path) != unquote(self._path):
            visit.answer(callback_page.NOT_HERE)
        elif method != "GET":
            visit.answer(callback_page.WRONG_METHOD)
        elif self._is_early(query):
            self._early[visit] = query
        else:
            self._came_back(visit, query)

    def too_early(self, visit: _Visit) -> bool:
        """The time of a connection is over. Returns whether it has been answered, because it had come too early."""
        if self._early.pop(visit, None) is None:
            return False
        visit.answer(callback_page.NOT_EXPECTED)
        return True

    def _is_early(self, query: str) -> bool:
        """Whether this may be what will be waited for in a moment.

        The tab can be older than this process, and a browser that is quick comes back before we wait for it.
        """
        is_before = self._coming is None and not _fits(query, self._spent)
        return is_before and len(self._early) < MOST_EARLY and _state_of(query) is not None

    def _came_back(self, visit: _Visit, query: str) -> None:
        if _fits(query, self._state) and self._coming is not None and not self._coming.done():
            self._spent, self._state = self._state, None
            self._coming.set_result(query)
            self._hold(visit)
        elif _fits(query, self._spent):
            visit.answer(callback_page.SPENT)
        else:
            if not self._has_warned:
                self._has_warned = True
                _LOG.warning("A request that does not belong to this sign-in came to its callback; it was ignored.")
            visit.answer(callback_page.NOT_EXPECTED)

    def _hold(self, visit: _Visit) -> None:
        unfinished = callback_page.unfinished(self._server)
        visit.wait()
        self._held = visit
        self._holding = asyncio.get_running_loop().call_later(self._hold_seconds, self._answer_held, unfinished)

    def _answer_held(self, page: Page) -> None:
        if self._holding is not None:
            self._holding.cancel()
        if self._held is not None:
            self._held.answer(page)
        self._held = self._holding = None


class _Visit(asyncio.Protocol):
    """One connection: one request, one answer."""

    def __init__(self, callback: Callback) -> None:
        self._callback = callback
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST_HEAD)
        self._line = b""
        self._size = 0
        self._has_asked = False
        self._has_answer = False
        self._is_head = False
        self._is_over = False
        """Whether the other side sends no more."""
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._limit()
        self._callback.came(self)

    def data_received(self, data: bytes) -> None:
        if self._has_asked:
            return  # a second request on this connection, or a body that nobody wants
        self._size += len(data)
        if b"\n" not in self._line:
            self._line = (self._line + data)[: LARGEST_LINE + 1]
        if self._size > LARGEST_HEAD or (len(self._line) > LARGEST_LINE and b"\n" not in self._line):
            self._refuse(callback_page.TOO_LARGE)
            return
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError:
            self._refuse(callback_page.UNREADABLE)
            return
        if isinstance(event, h11.Request):
            self._has_asked = True
            self._callback.left(self)
            self._is_head = event.method == b"HEAD"
            self._callback.asked(self, event.method.decode("ascii"), event.target.decode("ascii"))

    def eof_received(self) -> bool:
        self._is_over = True
        return self._has_asked and not self._has_answer  # it may have shut only its own half

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # it is gone, whatever the reason
        self._has_answer = True
        self._callback.gone(self)
        if self._timer is not None:
            self._timer.cancel()

    def wait(self) -> None:
        """The answer comes later: until then there is no limit of time here."""
        if self._timer is not None:
            self._timer.cancel()

    def answer(self, page: Page) -> None:
        """Send the answer, and close in order. Without effect on a connection that is gone."""
        if self._has_answer:
            return
        self._has_answer = True
        self._limit()
        self._transport.write(page.to_bytes(without_body=self._is_head))
        if self._is_over or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()  # closed when the other side has read it: what it still sends must not cut it

    def finish(self) -> None:
        """Close as soon as the answer is out of our hands."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._callback.left(self)
        self._transport.abort()

    def _is_late(self) -> None:
        if not self._callback.too_early(self):
            self.abort()

    def _refuse(self, page: Page) -> None:
        self._has_asked = True
        self._callback.left(self)
        self.answer(page)

    def _limit(self) -> None:
        self.wait()
        self._timer = asyncio.get_running_loop().call_later(self._callback.visit_seconds, self._is_late)


def _fits(query: str, state: str | None) -> bool:
    """Whether a query is the end of the sign-in with this `state`."""
    found = _state_of(query)
    return None not in (found, state) and hmac.compare_digest(str(found).encode(), str(state).encode())


def _state_of(query: str) -> str | None:
    """Return the one `state` of a query that ends a sign-in, with a code or an error; None for any other query."""
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return None
    states = [value for name, value in fields if name == "state"]
    ends = any(value for name, value in fields if name in ("code", "error"))
    return states[0] if ends and len(states) == 1 else None


# --- Sockets ---------------------------------------------------------------------------------------------------------


def _place(host: str, port: int, path: str) -> _Place:
    written = f"[{host}]" if ":" in host else host
    return _Place(f"http://{written}:{port}{path}", host, port, path)


def _bound(host: str, port: int) -> list[socket.socket] | None:
    """Listen on both loopback addresses; None where the port cannot be had on each that the host may stand for.

    A port that is ours on one of them and somebody else's on the other would hand the code to them: a browser tries
    either for `localhost`.
    """
    ours = [_listening(socket.AF_INET, "127.0.0.1", port), _listening(socket.AF_INET6, "::1", port)]
    meant = {"127.0.0.1": ours[:1], "::1": ours[1:], "[::1]": ours[1:]}.get(host.lower(), ours)
    found = [one for one in ours if isinstance(one, socket.socket)]
    if "taken" not in meant and any(one in found for one in meant):
        return found
    for one in found:
        one.close()
    return None


def _listening(family: socket.AddressFamily, address: str, port: int) -> socket.socket | str:
    """Return a socket that listens; else "absent" where this machine has no such address, or "taken"."""
    try:
        found = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return "absent"
    try:
        if sys.platform == "win32":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # the port of a process that has died is free at once; two that listen never share it all the same
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        found.setblocking(False)  # noqa: FBT003  the socket's own way to say it
        found.bind((address, port))
        found.listen(_BACKLOG)
    except OSError as error:
        found.close()
        return "absent" if error.errno in _NO_SUCH_ADDRESS else "taken"
    return found


def _free_port() -> int | None:
    """Return a port that was free just now; None where there is no loopback address."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        found = _listening(family, address, 0)
        if isinstance(found, socket.socket):
            with found:
                return int(found.getsockname()[1])
    return None
