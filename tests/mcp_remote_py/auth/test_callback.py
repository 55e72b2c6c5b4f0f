"""The callback, over real sockets: what ends the wait, what does not, and what a browser is shown."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mcp_remote_py.auth import callback as module
from mcp_remote_py.auth.callback import LARGEST_HEAD, LARGEST_LINE, MOST_VISITS, Callback
from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.settings import SignIn
from tests.support.examples import examples
from tests.support.host import clean_environment, python_command

USUAL = SignIn()
SERVER = "https://mcp.example.com/mcp"
STATE = "s" * 43
GOOD = f"code=abc123&state={STATE}"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as one:
        one.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


class Answer:
    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("ascii").split("\r\n")
        self.status = int(lines[0].split()[1]) if lines[0] else 0
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        self.text = self.body.decode()


async def send(port: int, raw: bytes, host: str = "127.0.0.1") -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(raw)
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def ask(uri: str, query: str = "", method: str = "GET", host: str = "127.0.0.1") -> Answer:
    parts = urlsplit(uri)
    target = parts.path + (f"?{query}" if query else "")
    raw = f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nCookie: a=b\r\n\r\n".encode()
    return Answer(await send(parts.port or 80, raw, host))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110  nobody tells when this is so
            await asyncio.sleep(0.01)


class Waiting:
    """A callback that listens and waits for STATE."""

    def __init__(self, callback: Callback, uri: str, query: asyncio.Task[str]) -> None:
        self.callback = callback
        self.uri = uri
        self.query = query
        self.port = urlsplit(uri).port or 0


@contextlib.asynccontextmanager
async def waiting(
    sign_in: SignIn = USUAL, *, visit_seconds: float = 10.0, hold_seconds: float = 20.0
) -> AsyncIterator[Waiting]:
    callback = Callback(sign_in, SERVER, free_port(), visit_seconds=visit_seconds, hold_seconds=hold_seconds)
    async with asyncio.TaskGroup() as group:
        uri = await callback.listen()
        query = group.create_task(callback.query(STATE))
        await asyncio.sleep(0)
        try:
            yield Waiting(callback, uri, query)
        finally:
            query.cancel()
            callback.close()


async def signed_in(place: Waiting, problem: str | None = None, query: str = GOOD) -> Answer:
    """Come back with the code, and return what the browser is shown after the conclusion."""
    async with asyncio.TaskGroup() as group:
        browser = group.create_task(ask(place.uri, query))
        async with asyncio.timeout(5):
            assert await place.query == query
        assert not browser.done()
        await place.callback.conclude(problem)
        return await browser


# --- The way it should go --------------------------------------------------------------------------------------------


async def test_the_browser_comes_back_and_is_told_when_the_sign_in_worked() -> None:
    async with waiting() as place:
        answer = await signed_in(place)
    assert answer.status == 200
    assert "Signed in to mcp.example.com" in answer.text


async def test_the_page_of_a_sign_in_that_failed_says_so_and_not_why() -> None:
    async with waiting() as place:
        answer = await signed_in(place, "the server said <b>invalid_grant</b> abc123")
    assert answer.status == 502
    assert "Not signed in to mcp.example.com" in answer.text
    assert "invalid_grant" not in answer.text
    assert "abc123" not in answer.text


async def test_an_error_of_the_authorization_server_ends_the_wait_and_is_not_shown() -> None:
    query = f"error=access_denied&error_description=%3Cscript%3Eboo&state={STATE}"
    async with waiting() as place:
        answer = await signed_in(place, "refused", query)
    assert "boo" not in answer.text
    assert "denied" not in answer.text


async def test_the_page_is_locked_down() -> None:
    async with waiting() as place:
        answer = await signed_in(place)
    policy = answer.headers["content-security-policy"]
    style = re.search("<style>(.*)</style>", answer.text)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<(script|a|img|link|iframe|form|base|object)\b|href|src=|http", answer.text)


async def test_the_name_of_the_server_is_escaped() -> None:
    callback = Callback(SignIn(), "https://x'><b>.example/mcp", free_port())
    async with asyncio.TaskGroup() as group:
        uri = await callback.listen()
        query = group.create_task(callback.query(STATE))
        browser = group.create_task(ask(uri, GOOD))
        await query
        await callback.conclude(None)
        answer = await browser
    callback.close()
    assert "<b>" not in answer.text
    assert "&lt;b&gt;" in answer.text


async def test_a_success_url_is_where_the_browser_is_sent_after_success_alone() -> None:
    sign_in = SignIn(success_url="https://intranet.example/done?a=1")
    async with waiting(sign_in) as place:
        answer = await signed_in(place)
    assert (answer.status, answer.headers["location"]) == (303, "https://intranet.example/done?a=1")
    assert answer.headers["referrer-policy"] == "no-referrer"
    async with waiting(sign_in) as place:
        answer = await signed_in(place, "no")
    assert answer.status == 502
    assert "location" not in answer.headers


async def test_a_success_url_cannot_add_a_header() -> None:
    async with waiting(SignIn(success_url="https://e.example/\r\nSet-Cookie: a=b\u2028é")) as place:
        answer = await signed_in(place)
    assert "set-cookie" not in answer.headers
    assert answer.headers["location"].startswith("https://e.example/%0D%0ASet-Cookie:%20a=b")


async def test_a_browser_that_waits_too_long_hears_that_the_outcome_is_open() -> None:
    async with waiting(hold_seconds=0.1) as place:
        answer = await ask(place.uri, GOOD)
        assert await place.query == GOOD
        await place.callback.conclude(None)  # nobody is there any more
    assert answer.status == 200
    assert "not finished yet" in answer.text
    assert "Signed in" not in answer.text


async def test_closing_tells_a_browser_that_waits_that_it_did_not_work() -> None:
    async with waiting() as place, asyncio.TaskGroup() as group:
        browser = group.create_task(ask(place.uri, GOOD))
        await place.query
        place.callback.close()
        assert (await browser).status == 502


async def test_closing_leaves_no_connection_open_and_cuts_no_answer() -> None:
    async with waiting() as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(f"GET /oauth/callback?{GOOD} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await place.query
        await place.callback.conclude(None)
        place.callback.close()
        await until(lambda: not place.callback._open)
        assert Answer(await reader.read()).text.endswith("</html>\n")
        writer.close()


async def test_closing_ends_the_wait() -> None:
    callback = Callback(SignIn(), SERVER, free_port())
    await callback.listen()
    with pytest.raises(SignInNeeded, match="given up"):
        async with asyncio.timeout(5):
            await _closed_meanwhile(callback)


async def _closed_meanwhile(callback: Callback) -> str:
    asyncio.get_running_loop().call_soon(callback.close)
    return await callback.query(STATE)


# --- What does not end the wait --------------------------------------------------------------------------------------

MARK = "zzz-marker-zzz"
STRANGE = [
    ("GET", "/", "", 404),
    ("GET", "/favicon.ico", "", 404),
    ("GET", "/oauth/callback/", GOOD, 404),
    ("GET", f"/{MARK}", GOOD, 404),
    ("POST", "/oauth/callback", GOOD, 405),
    ("HEAD", "/oauth/callback", GOOD, 405),
    ("OPTIONS", "/oauth/callback", GOOD, 405),
    (MARK.upper(), "/oauth/callback", GOOD, 405),
    ("GET", "/oauth/callback", "", 400),
    ("GET", "/oauth/callback", f"code={MARK}", 400),
    ("GET", "/oauth/callback", f"code=a&state={MARK}", 400),
    ("GET", "/oauth/callback", f"code=a&state={STATE}{MARK}", 400),
    ("GET", "/oauth/callback", f"code=a&state={STATE[1:]}", 400),
    ("GET", "/oauth/callback", f"code=a&state={STATE}&state={MARK}", 400),
    ("GET", "/oauth/callback", f"state={STATE}", 400),
    ("GET", "/oauth/callback", f"code=&state={STATE}", 400),
    ("GET", "/oauth/callback", f"error={MARK}&error_description={MARK}", 400),
    ("GET", "/oauth/callback", f"code=a&state={'s' * 42}%C3%BF", 400),
    ("GET", "/oauth/callback", "&".join(f"a{i}=1" for i in range(200)) + f"&{GOOD}", 400),
]


@pytest.mark.parametrize(("method", "path", "query", "status"), STRANGE)
async def test_a_strange_request_is_refused_reflects_nothing_and_does_not_end_the_wait(
    method: str, path: str, query: str, status: int
) -> None:
    async with waiting() as place:
        answer = await ask(place.uri.replace("/oauth/callback", path), query, method)
        assert answer.status == status
        assert MARK not in str(answer.headers) + answer.text
        assert MARK.upper() not in str(answer.headers) + answer.text
        assert "content-security-policy" in answer.headers
        assert (method == "HEAD") == (answer.body == b"")
        assert (await signed_in(place)).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n\r\n",
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
        b"GET /oauth/callback?" + GOOD.encode() + b" HTTP/1.1\r\n\r\n",  # without a host
        b"GET /oauth/callback?" + GOOD.encode() + b"\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://127.0.0.1/oauth/callback?" + GOOD.encode() + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /oauth/callback HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_and_does_not_end_the_wait(raw: bytes) -> None:
    async with waiting(visit_seconds=0.5) as place:
        answer = await send(place.port, raw)
        assert answer == b"" or Answer(answer).status in (400, 404)
        assert (await signed_in(place)).status == 200


async def test_a_second_valid_return_is_refused() -> None:
    async with waiting() as place, asyncio.TaskGroup() as group:
        first = group.create_task(ask(place.uri, GOOD))
        assert await place.query == GOOD
        second = await ask(place.uri, f"code=other&state={STATE}")
        assert second.status == 409
        await place.callback.conclude(None)
        assert (await ask(place.uri, GOOD)).status == 409
        assert (await first).status == 200


async def test_a_refused_return_is_said_once_in_the_log_without_what_it_held(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mcp_remote_py")
    async with waiting() as place:
        for _ in range(3):
            await ask(place.uri, f"code={MARK}&state={MARK}")
        await signed_in(place)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert MARK not in caplog.text
    assert "abc123" not in caplog.text
    assert STATE not in caplog.text


async def test_another_sign_in_has_another_state() -> None:
    async with waiting() as place:
        await signed_in(place)
        async with asyncio.TaskGroup() as group:
            again = group.create_task(place.callback.query("t" * 43))
            await asyncio.sleep(0)
            assert (await ask(place.uri, GOOD)).status == 409
            browser = group.create_task(ask(place.uri, f"code=n&state={'t' * 43}"))
            assert await again == f"code=n&state={'t' * 43}"
            await place.callback.conclude(None)
            assert (await browser).status == 200


async def test_a_return_that_is_quicker_than_we_are_is_not_lost() -> None:
    callback = Callback(SignIn(), SERVER, free_port())
    uri = await callback.listen()
    async with asyncio.TaskGroup() as group:
        wrong = group.create_task(ask(uri, f"code=a&state={MARK}"))
        browser = group.create_task(ask(uri, GOOD))
        await until(lambda: len(callback._early) == 2)
        assert (await ask(uri, "code=a")).status == 400  # what can never fit does not wait
        assert await callback.query(STATE) == GOOD
        assert (await wrong).status == 400
        await callback.conclude(None)
        assert (await browser).status == 200
    callback.close()


async def test_a_second_return_that_is_quicker_than_we_are_is_not_lost() -> None:
    """As where a parameter was refused, and the same person is asked again at once: browsers remember who agreed."""
    other = f"code=n&state={'t' * 43}"
    async with waiting() as place:
        await signed_in(place)
        async with asyncio.TaskGroup() as group:
            browser = group.create_task(ask(place.uri, other))
            await until(lambda: len(place.callback._early) == 1)
            assert (await ask(place.uri, GOOD)).status == 409
            assert await place.callback.query("t" * 43) == other
            await place.callback.conclude(None)
            assert (await browser).status == 200


async def test_a_return_for_which_nobody_comes_to_wait_is_refused_in_time() -> None:
    callback = Callback(SignIn(), SERVER, free_port(), visit_seconds=0.1)
    uri = await callback.listen()
    assert (await ask(uri, GOOD)).status == 400
    callback.close()


# --- Bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /oauth/callback?a=" + b"a" * LARGEST_LINE,
        b"GET /oauth/callback?a=" + b"a" * LARGEST_LINE + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * LARGEST_HEAD,
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: a\r\n" * (LARGEST_HEAD // 6 + 1) + b"\r\n",
    ],
)
async def test_a_head_over_the_limit_is_refused(raw: bytes) -> None:
    async with waiting() as place:
        answer = await send(place.port, raw)
        assert answer == b"" or Answer(answer).status == 431
        assert (await signed_in(place)).status == 200


async def test_the_cookies_of_everything_that_ever_ran_on_localhost_do_no_harm() -> None:
    async with waiting() as place, asyncio.TaskGroup() as group:
        raw = b"GET /oauth/callback?%b HTTP/1.1\r\nHost: localhost\r\nCookie: a=%b\r\n\r\n" % (
            GOOD.encode(),
            b"b" * 30000,
        )
        browser = group.create_task(send(place.port, raw))
        assert await place.query == GOOD
        await place.callback.conclude(None)
        assert Answer(await browser).status == 200


async def test_a_slow_client_is_dropped_and_holds_up_nobody() -> None:
    async with waiting(visit_seconds=0.2) as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(b"GET /oauth/callback?")
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        assert (await signed_in(place)).status == 200


async def test_the_return_may_come_in_pieces() -> None:
    async with waiting() as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        for byte in f"GET /oauth/callback?{GOOD} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode():
            writer.write(bytes([byte]))
            await writer.drain()
        assert await place.query == GOOD
        await place.callback.conclude(None)
        assert Answer(await reader.read()).status == 200
        writer.close()


async def test_a_browser_that_gave_up_does_no_harm() -> None:
    async with waiting() as place:
        _, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(f"GET /oauth/callback?{GOOD} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert await place.query == GOOD
        writer.transport.abort()
        await asyncio.sleep(0.05)
        await place.callback.conclude(None)


async def test_a_client_that_shuts_its_own_half_gets_its_answer() -> None:
    async with waiting() as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(f"GET /oauth/callback?{GOOD} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        writer.write_eof()
        assert await place.query == GOOD
        await place.callback.conclude(None)
        assert Answer(await reader.read()).status == 200
        writer.close()


async def test_a_body_or_a_second_request_is_dropped() -> None:
    async with waiting() as place:
        raw = f"GET /oauth/callback?{GOOD} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        first = b"POST /oauth/callback HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n"
        assert Answer(await send(place.port, first + raw)).status == 405
        assert not place.query.done()


async def test_connections_that_say_nothing_cannot_keep_the_browser_out() -> None:
    async with waiting() as place:
        idle = [await asyncio.open_connection("127.0.0.1", place.port) for _ in range(MOST_VISITS + 20)]
        assert (await signed_in(place)).status == 200
        assert len(place.callback._visits) <= MOST_VISITS
        for _, writer in idle:
            writer.close()


async def test_many_at_once_and_only_one_of_them_counts() -> None:
    async with waiting() as place:
        answers = await asyncio.gather(
            *(ask(place.uri, f"code=a&state={MARK}") for _ in range(50)),
            *(ask(place.uri.replace("oauth", "other")) for _ in range(50)),
            signed_in(place),
        )
    assert sorted(answer.status for answer in answers) == [200] + [400] * 50 + [404] * 50


@hypothesis_settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=4), st.booleans())
def test_whatever_is_sent_the_wait_goes_on(pieces: list[bytes], with_beginning: bool) -> None:
    async def scenario() -> None:
        async with waiting(visit_seconds=0.05) as place:
            begin = b"GET /oauth/callback?state=" if with_beginning else b""
            await send(place.port, begin + b"".join(pieces))
            assert not place.query.done()
            assert (await signed_in(place)).status == 200

    asyncio.run(scenario())


# --- Where it listens ------------------------------------------------------------------------------------------------


async def test_the_redirect_uri_is_made_of_the_settings() -> None:
    port = free_port()
    callback = Callback(SignIn(), SERVER, port)
    assert await callback.listen() == f"http://localhost:{port}/oauth/callback"
    callback.close()
    callback = Callback(SignIn(callback_host="127.0.0.1", callback_port=port, callback_path="/cb"), SERVER, 1)
    assert await callback.listen() == f"http://127.0.0.1:{port}/cb"
    callback.close()


@needs_ipv6
async def test_it_listens_on_both_loopback_addresses_and_on_nothing_else() -> None:
    async with waiting() as place:
        addresses = {one.getsockname()[0] for server in place.callback._servers for one in server.sockets}
        assert addresses == {"127.0.0.1", "::1"}
        assert (await ask(place.uri, host="::1")).status == 400
        assert (await ask(place.uri, host="127.0.0.1")).status == 400


async def test_a_host_that_is_not_loopback_stays_in_the_uri_and_we_listen_on_loopback_all_the_same() -> None:
    async with waiting(SignIn(callback_host="signin.corp.example")) as place:
        assert place.uri.startswith("http://signin.corp.example:")
        addresses = {one.getsockname()[0] for server in place.callback._servers for one in server.sockets}
        assert addresses <= {"127.0.0.1", "::1"}
        assert (await signed_in(place)).status == 200


@needs_ipv6
async def test_an_ipv6_host_is_written_with_brackets() -> None:
    async with waiting(SignIn(callback_host="::1")) as place:
        assert place.uri == f"http://[::1]:{place.port}/oauth/callback"


async def test_a_port_that_is_taken_is_left_alone_and_another_one_is_served() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        callback = Callback(SignIn(), SERVER, port)
        uri = await callback.listen()
        assert urlsplit(uri).port != port
        assert (await ask(uri)).status == 400
        callback.close()


@needs_ipv6
async def test_a_port_that_somebody_has_on_the_other_loopback_address_is_not_used_for_localhost() -> None:
    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::1", 0))
        other.listen()
        port = other.getsockname()[1]
        callback = Callback(SignIn(), SERVER, port)
        assert urlsplit(await callback.listen()).port != port
        callback.close()
        callback = Callback(SignIn(callback_host="127.0.0.1"), SERVER, port)
        assert urlsplit(await callback.listen()).port == port
        callback.close()


async def test_nobody_else_can_have_the_port_while_we_listen() -> None:
    async with waiting() as place:
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0")):
            with socket.socket(family) as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if hasattr(socket, "SO_REUSEPORT"):
                    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                with pytest.raises(OSError):  # noqa: PT011  by bind or by listen, as the system likes
                    _listen(other, address, place.port)


def _listen(one: socket.socket, address: str, port: int) -> None:
    one.bind((address, port))
    one.listen()


async def test_the_first_registered_uri_that_can_be_served_is_served() -> None:
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        registered = (
            "https://app.example/cb",
            "http://elsewhere.example/cb",
            f"http://localhost:{taken}/oauth/callback",
            f"http://127.0.0.1:{port}/other/path",
            f"http://localhost:{free_port()}/oauth/callback",
        )
        callback = Callback(SignIn(), SERVER, free_port())
        uri = await callback.listen(registered)
        assert uri == registered[3]
        async with asyncio.TaskGroup() as group:
            query = group.create_task(callback.query(STATE))
            browser = group.create_task(ask(uri, GOOD))
            assert await query == GOOD
            await callback.conclude(None)
            assert (await browser).status == 200
        callback.close()


async def test_a_port_that_was_asked_for_is_preferred_among_the_registered() -> None:
    port = free_port()
    registered = (f"http://localhost:{free_port()}/oauth/callback", f"http://localhost:{port}/oauth/callback")
    callback = Callback(SignIn(callback_port=port), SERVER, 1)
    assert await callback.listen(registered) == registered[1]
    callback.close()


async def test_with_no_registered_uri_that_can_be_served_another_one_is_offered() -> None:
    port = free_port()
    callback = Callback(SignIn(), SERVER, port)
    registered = ("https://app.example/cb", "http://[::1", "http://u@localhost:1/cb", "http://localhost:0/", "nonsense")
    assert await callback.listen(registered) == f"http://localhost:{port}/oauth/callback"
    callback.close()


async def test_a_loopback_uri_without_a_port_is_registered_for_any_port() -> None:
    port = free_port()
    callback = Callback(SignIn(), SERVER, port)
    assert await callback.listen(("http://127.0.0.1/cb",)) == f"http://127.0.0.1:{port}/cb"
    callback.close()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        callback = Callback(SignIn(), SERVER, other.getsockname()[1])
        uri = urlsplit(await callback.listen(("http://127.0.0.1/cb",)))
        assert (uri.hostname, uri.path) == ("127.0.0.1", "/cb")
        callback.close()


async def test_it_can_listen_again_at_the_same_port() -> None:
    port = free_port()
    callback = Callback(SignIn(), SERVER, port)
    first = await callback.listen()
    assert await callback.listen((first,)) == first
    assert (await ask(first)).status == 400
    callback.close()


async def test_without_any_port_it_says_what_else_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_listening", lambda *_: "taken")
    with pytest.raises(SignInNeeded, match="no port") as caught:
        await Callback(SignIn(), SERVER, 1).listen()
    assert "--device-code" in caught.value.hint


async def test_without_ipv6_on_this_machine_the_other_address_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    real = module._listening
    monkeypatch.setattr(
        module, "_listening", lambda family, *rest: "absent" if family == socket.AF_INET6 else real(family, *rest)
    )
    async with waiting() as place:
        assert (await signed_in(place)).status == 200


CHILD = """
import asyncio, sys
from mcp_remote_py.auth.callback import Callback
from mcp_remote_py.settings import SignIn

async def main():
    callback = Callback(SignIn(), "https://mcp.example.com/mcp", int(sys.argv[1]))
    print(await callback.listen(), flush=True)
    await callback.query("s" * 43)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
async def test_a_killed_process_frees_its_port_at_once_even_with_a_browser_connected() -> None:
    port = free_port()
    child = await asyncio.create_subprocess_exec(
        *python_command(CHILD), str(port), stdout=asyncio.subprocess.PIPE, env=clean_environment()
    )
    try:
        assert child.stdout is not None
        uri = (await child.stdout.readline()).decode().strip()
        assert uri == f"http://localhost:{port}/oauth/callback"
        assert (await ask(uri)).status == 400
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /oauth/callback?{GOOD} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await writer.drain()
    finally:
        child.kill()
        await child.wait()
    callback = Callback(SignIn(), SERVER, port)
    assert await callback.listen() == uri
    callback.close()
    with contextlib.suppress(ConnectionResetError):
        await reader.read()
    writer.close()
