"""Who may ask, whatever the request looks like; and that the documents have the fields of seed 001, and no secret."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from mcp_remote_py.core.redact import Redactor
from server_stub.core.access import Doors
from server_stub.core.operators import (
    Asking,
    Refusal,
    Shown,
    list_document,
    may_ask,
    moment,
    resources_document,
    servers_document,
    state_of,
    status_of,
    unknown_document,
)
from server_stub.core.roster import Command, Manners, Member, Remote
from server_stub.core.usage import MEGABYTE, Usage
from server_stub.core.vitals import Running, State, Vitals

HOST = ("Host", "127.0.0.1:8080")
NOW = 1750933800.0
TOKENS = ("first admin token", "second")


def asking(*headers: tuple[str, str], method: str = "GET", peer: str | None = "127.0.0.1") -> Asking:
    host = () if any(name.lower() == "host" for name, _ in headers) else (HOST,)
    return Asking(method, peer, "127.0.0.1", (*host, *headers))


def refused(one: Asking, *tokens: str, doors: Doors | None = None) -> int | None:
    refusal = may_ask(one, tokens, doors or Doors())
    return None if refusal is None else refusal.status


# --- Without a token -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8080", "LOCALHOST.", "[::1]:1"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_this_machine_may_look(peer: str, host: str, method: str) -> None:
    assert refused(asking(("Host", host), method=method, peer=peer)) is None


@pytest.mark.parametrize("peer", [None, "", "10.0.0.7", "192.0.2.1", "fe80::1", "127.0.0.1.evil.example"])
def test_another_machine_may_not(peer: str | None) -> None:
    assert refused(asking(peer=peer)) == 403


@pytest.mark.parametrize("host", ["evil.example", "10.0.0.7:8080", "localhost.evil.example", "", "a b", "localhost@x"])
def test_a_host_that_is_not_loopback_may_not(host: str) -> None:
    assert refused(asking(("Host", host))) == 403


def test_a_request_without_a_host_or_with_two_may_not() -> None:
    assert refused(Asking("GET", "127.0.0.1", "127.0.0.1", ())) == 403
    assert refused(asking(HOST, HOST)) == 403


def test_the_oldest_http_is_taken_for_a_proxy_that_was_told_nothing() -> None:
    assert refused(asking()._replace(is_old=True)) == 403
    assert refused(asking(("Authorization", f"Bearer {TOKENS[1]}"))._replace(is_old=True), *TOKENS) is None


@pytest.mark.parametrize(
    "name",
    [
        "Forwarded",
        "X-Forwarded-For",
        "x-forwarded-host",
        "X-FORWARDED-PROTO",
        "X-Forwarded-Anything",
        "X-Forwarded",
        "X-Real-IP",
        "Via",
        "CF-Connecting-IP",
        "True-Client-IP",
    ],
)
@pytest.mark.parametrize("value", ["127.0.0.1", "for=127.0.0.1", ""])
def test_what_was_passed_on_for_somebody_may_not(name: str, value: str) -> None:
    assert refused(asking((name, value))) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", " Cross-Site "])
def test_a_page_of_another_site_may_not_even_without_an_origin(site: str) -> None:
    assert refused(asking(("Sec-Fetch-Site", site))) == 403


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_an_address_typed_into_a_browser_may(site: str) -> None:
    assert refused(asking(("Sec-Fetch-Site", site))) is None


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", ""])
@pytest.mark.parametrize("tokens", [(), TOKENS])
def test_a_foreign_page_may_not_with_or_without_a_token(origin: str, tokens: tuple[str, ...]) -> None:
    one = asking(("Origin", origin), ("Authorization", f"Bearer {TOKENS[0]}"))
    assert refused(one, *tokens) == 403


def test_a_loopback_page_may_and_a_listed_one_with_a_token() -> None:
    assert refused(asking(("Origin", "http://localhost:3000"))) is None
    page = ("Origin", "https://ops.example")
    doors = Doors(origins=("https://ops.example",))
    assert refused(asking(page, ("Authorization", "Bearer second")), *TOKENS, doors=doors) is None
    for open_doors in (doors, Doors(cors_origins=("*",))):
        assert refused(asking(page), doors=open_doors) == 403, "what is open to all pages is what the servers offer"
    assert refused(asking(("Origin", "http://localhost"), page)) == 403


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "OPTIONS", "get"])
def test_nobody_may_change_anything_without_a_token_and_is_told_how_to_mend_it(method: str) -> None:
    for headers in ((), (("Authorization", "Bearer guess"),), (("X-API-Key", ""),)):
        refusal = may_ask(asking(*headers, method=method), (), Doors())
        assert isinstance(refusal, Refusal)
        assert refusal.status == 403
        assert "--admin-token-env" in refusal.document["hint"]
        assert "--admin-token-file" in refusal.document["hint"]


# --- With a token ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("token", TOKENS)
def test_whoever_has_a_token_may_do_everything_from_anywhere(method: str, token: str) -> None:
    far = (("Host", "mcp.example.com"), ("X-Forwarded-For", "192.0.2.1"))
    for proof in (("Authorization", f"Bearer {token}"), ("authorization", f"bearer {token}"), ("X-API-Key", token)):
        assert refused(asking(*far, proof, method=method, peer="10.0.0.7"), *TOKENS) is None


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ((), False),
        ((("Authorization", "Basic Zmlyc3Q6eA=="),), False),
        ((("Authorization", "Bearer "),), False),
        ((("Authorization", "Bearer wrong"),), True),
        ((("Authorization", "Bearer first admin toke"),), True),
        ((("X-API-Key", "first admin token2"),), True),
        ((("Authorization", "Bearer \udcff"),), True),
        ((("Authorization", "Bearer second"), ("Authorization", "Bearer wrong")), False),
    ],
)
def test_without_the_right_one_it_is_401_with_a_challenge_also_for_this_machine(
    method: str, headers: tuple[tuple[str, str], ...], error: bool
) -> None:
    refusal = may_ask(asking(*headers, method=method), TOKENS, Doors())
    assert refusal is not None
    assert refusal.status == 401
    challenge = dict(refusal.headers)["WWW-Authenticate"]
    assert challenge.startswith("Bearer ")
    assert ('error="invalid_token"' in challenge) is error
    assert "admin token" not in json.dumps(refusal.document).replace("admin token is", "").replace("admin token of", "")


# --- Documents -------------------------------------------------------------------------------------------------------


def plainly(text: str) -> str:
    return text


def member(name: str = "memory", what: Command | Remote | None = None, **fields: Any) -> Member:
    return Member(name, what or Command(("npx", "-y", "@modelcontextprotocol/server-memory")), **fields)


def shown(one: Member | None = None, state: State = State.READY, sessions: int = 0, **vitals: Any) -> Shown:
    return Shown(one or member(), Vitals(state, **vitals), sessions)


@pytest.mark.parametrize("seconds", [0.0, 59.999, 951782399.0, 951868800.9, NOW, 4107542400.0, -1.0])
def test_moments_are_what_the_calendar_of_python_says(seconds: float) -> None:
    moment_ = dt.datetime.fromtimestamp(seconds // 1, dt.UTC)
    assert moment(seconds) == moment_.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("one", "status", "state"),
    [
        (shown(), "healthy", "ready"),
        (shown(state=State.STOPPED), "unknown", "stopped"),
        (shown(state=State.STARTING), "unknown", "starting"),
        (shown(state=State.STOPPED, consecutive_fails=1), "unhealthy", "stopped"),
        (shown(state=State.STARTING, consecutive_fails=2), "unhealthy", "starting"),
        (shown(consecutive_fails=1), "healthy", "ready"),
        (shown(state=State.DEGRADED), "unhealthy", "degraded"),
        (shown(state=State.COOLING), "unhealthy", "cooling"),
        (shown(state=State.FAILED), "unhealthy", "failed"),
        (shown(member(invalid="no command"), State.STOPPED), "unhealthy", "invalid"),
        (shown(member(enabled=False), State.STOPPED), "unknown", "disabled"),
        (shown(member(enabled=False, invalid="no command"), State.STOPPED), "unknown", "disabled"),
    ],
)
def test_a_status_is_what_the_last_check_said(one: Shown, status: str, state: str) -> None:
    assert (status_of(one), state_of(one)) == (status, state)


def test_the_health_document_has_the_fields_of_the_seed() -> None:
    good = shown(sessions=2, last_check=NOW - 15, response=0.1204, running=(Running(123, NOW - 100, 2),))
    bad = shown(member("git"), State.COOLING, consecutive_fails=3, restarts=2, why="exit 1: token-123456")
    document = servers_document([good, bad, shown(member("time"), State.STOPPED)], NOW, _redactor().scrub)
    assert document["timestamp"] == "2025-06-26T10:30:00Z"
    assert document["summary"] == {"total": 3, "healthy": 1, "unhealthy": 1, "unknown": 1}
    assert list(document["servers"]) == ["memory", "git", "time"]
    assert document["servers"]["memory"] == {
        "name": "memory",
        "status": "healthy",
        "lastCheck": "2025-06-26T10:29:45Z",
        "responseTimeMs": 120,
        "consecutiveFails": 0,
        "restartCount": 0,
        "state": "ready",
        "sessions": 2,
        "children": 1,
        "why": None,
    }
    git = document["servers"]["git"]
    assert (git["status"], git["consecutiveFails"], git["restartCount"]) == ("unhealthy", 3, 2)
    assert git["why"] == "exit 1: [secret]"
    assert git["lastCheck"] is git["responseTimeMs"] is None


def _redactor() -> Redactor:
    redactor = Redactor()
    redactor.add("token-123456")
    return redactor


def test_the_resources_document_has_the_fields_of_the_seed_and_sums_that_fit() -> None:
    found = [Usage("a", 5, 100 * MEGABYTE, 300 * MEGABYTE, 2.04, 3), Usage("b", 9, 50 * MEGABYTE, MEGABYTE, None, 1)]
    assert resources_document(found, NOW) == {
        "timestamp": "2025-06-26T10:30:00Z",
        "processes": [
            {
                "pid": 5,
                "name": "a",
                "memoryMB": 100.0,
                "cpuPercent": 2.0,
                "virtualMB": 300.0,
                "residentMB": 100.0,
                "processes": 3,
            },
            {
                "pid": 9,
                "name": "b",
                "memoryMB": 50.0,
                "cpuPercent": 0.0,
                "virtualMB": 1.0,
                "residentMB": 50.0,
                "processes": 1,
            },
        ],
        "summary": {
            "processCount": 2,
            "totalMemoryMB": 150.0,
            "totalCPU": 2.0,
            "averageMemoryMB": 75.0,
            "averageCPU": 1.0,
        },
    }


def test_no_children_are_no_division_by_nothing() -> None:
    document = resources_document([], NOW, "psutil is not installed")
    assert set(document["summary"].values()) == {0}
    assert document["note"] == "psutil is not installed"


def test_the_list_names_the_oldest_child_and_all_of_them() -> None:
    running = (Running(300, 9.0, 1), Running(100, 5.0, 0), Running(200, 7.0, 1))
    (entry,) = list_document([shown(running=running, sessions=2)], plainly)["servers"]
    assert entry["pid"] == 100
    assert entry["children"] == [100, 200, 300]
    assert entry["running"] is True
    assert (entry["command"], entry["args"]) == ("npx", ["-y", "@modelcontextprotocol/server-memory"])
    assert (entry["sessions"], entry["disabled"], entry["share"]) == (2, False, "session")


def test_what_does_not_run_has_no_pid_and_says_why() -> None:
    members = [shown(member("a", enabled=False), State.STOPPED), shown(member("b", invalid="no such program"))]
    document = list_document(members, plainly)
    assert document["count"] == 2
    a, b = document["servers"]
    assert (a["running"], a["pid"], a["children"], a["disabled"], a["state"]) == (False, None, [], True, "disabled")
    assert (b["running"], b["state"], b["why"]) == (False, "invalid", "no such program")


def test_a_remote_member_has_an_address_in_place_of_a_command() -> None:
    what = Remote("https://u:p@h/mcp?key=abcdef", "sse", (("X-Team", "header-value"),))
    (entry,) = list_document([shown(member(what=what), running=(Running(None, 1.0, 1),))], plainly)["servers"]
    assert (entry["url"], entry["type"], entry["running"], entry["pid"]) == ("https://h/mcp", "sse", True, None)
    assert "command" not in entry
    assert "args" not in entry


def test_no_document_holds_a_secret_of_the_file() -> None:
    words = ("docker", "run", "-e", "PLAIN=env-value", "--token", "token-123456", "it-is token-123456", "img")
    manners = Manners(tokens=("member-token",))
    members = [
        shown(member("a", Command(words, None, (("VARIABLE", "own-env-value"),)), manners=manners)),
        shown(member("b", Command((), "SECRET=abc run --header 'X-A: header-value' token-123456"))),
        shown(member("c", Remote("https://h/mcp", "auto", (("X-A", "header-value"),)), invalid="bad token-123456")),
    ]
    for document in (list_document(members, _redactor().scrub), servers_document(members, NOW, _redactor().scrub)):
        text = json.dumps(document)
        for secret in ("env-value", "token-123456", "member-token", "header-value", "VARIABLE", "abc"):
            assert secret not in text


def test_an_unknown_name_is_told_the_known_ones() -> None:
    assert unknown_document("x", ["a", "b"]) == {"error": "There is no server of this name.", "servers": ["a", "b"]}
    assert unknown_document("", ["a"])["error"] == "Name a server."
