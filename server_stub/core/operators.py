"""Operators: who may ask how the members fare, and the documents they get. Pure; the field names are seed 001's.

While no admin token is configured, whoever is on this machine may look, and nobody may change anything. "On this
machine" means: a loopback peer that named a loopback host, and no sign that somebody else's request was passed on to
us, by a reverse proxy or by a web page. With a token, whoever has it may do everything, from anywhere.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from mcp_remote_py.core.days import date_of
from mcp_remote_py.core.http.origins import is_loopback
from server_stub.core.access import Doors, credential_of, origin_allowed, split_host
from server_stub.core.masking import masked_line, masked_url, masked_words
from server_stub.core.roster import Command, Member, Remote
from server_stub.core.usage import Usage, megabytes
from server_stub.core.vitals import State, Vitals

Redact = Callable[[str], str]

# --- Who may ask -----------------------------------------------------------------------------------------------------

NOT_EVEN_LOCAL = "No admin token is configured, and this request changes something."
NOT_LOCAL = "No admin token is configured, so only this machine itself is answered."
MEND = "Start the server with --admin-token-env VARIABLE or --admin-token-file FILE, and send that token as bearer."
FOREIGN_PAGE = "This Origin is not allowed here."

_PASSED_ON = frozenset(
    [
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-forwarded-for",
        "x-envoy-external-address",
        "true-client-ip",
        "cf-connecting-ip",
        "cf-ray",
        "fastly-client-ip",
    ]
)
_FROM_ELSEWHERE = ("cross-site", "same-site")


class Asking(NamedTuple):
    """What is known of a request."""

    method: str
    peer: str | None
    """The address at the other end of the connection; None where it is unknown."""
    local: str | None
    """The address at our end."""
    headers: tuple[tuple[str, str], ...]
    is_old: bool = False
    """It is HTTP/1.0, which nginx speaks, with our own address as Host, unless it is told better."""

    def all_of(self, name: str) -> list[str]:
        """Return the values of a header, in the order in which they came."""
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def reads(self) -> bool:
        return self.method in ("GET", "HEAD")


class Refusal(NamedTuple):
    """Why not."""

    status: int
    document: dict[str, Any]
    headers: tuple[tuple[str, str], ...] = ()


def may_ask(asking: Asking, tokens: Sequence[str], doors: Doors) -> Refusal | None:
    """Return why this request is refused; None where it is not.

    `doors`: which pages may ask with a token. Without one only loopback pages may, whoever may use the servers.
    """
    pages = doors if tokens else Doors()
    if not all(origin_allowed(origin, asking.local, pages) for origin in asking.all_of("origin")):
        return Refusal(403, {"error": FOREIGN_PAGE})
    if tokens:
        return _with_token(asking, tokens)
    if not is_local(asking):
        return Refusal(403, {"error": NOT_LOCAL, "hint": MEND})
    return None if asking.reads else Refusal(403, {"error": NOT_EVEN_LOCAL, "hint": MEND})


def _with_token(asking: Asking, tokens: Sequence[str]) -> Refusal | None:
    challenge = 'Bearer realm="mcp-remote-server operators"'
    authorization, api_keys = asking.all_of("authorization"), asking.all_of("x-api-key")
    if len(authorization) > 1 or len(api_keys) > 1:
        credential = None  # who reads another one than we do would be let in by us
    else:
        credential = credential_of(next(iter(authorization), None), next(iter(api_keys), None))
    if credential is None:
        document = {"error": "An admin token is needed.", "hint": "Send it as Authorization: Bearer TOKEN."}
        return Refusal(401, document, (("WWW-Authenticate", challenge),))
    given = credential.token.encode("utf-8", "surrogateescape")
    known = [hmac.compare_digest(given, token.encode("utf-8", "surrogateescape")) for token in tokens]
    if any(known):  # all were compared: how long that takes tells nothing
        return None
    wrong = f'{challenge}, error="invalid_token", error_description="This is no admin token of this server"'
    return Refusal(401, {"error": "This is no admin token of this server."}, (("WWW-Authenticate", wrong),))


def is_local(asking: Asking) -> bool:
    """Whether a request was made on this machine, by a program that meant us, and not passed on for somebody."""
    hosts = asking.all_of("host")
    named = split_host(hosts[0]) if len(hosts) == 1 else None
    if asking.peer is None or not is_loopback(asking.peer) or named is None or not is_loopback(named[0]):
        return False
    if asking.is_old:
        return False
    # a page's request without a body bears no Origin, and a name that a page made point to us is no loopback name;
    # newer browsers say where a request comes from
    if any(site.strip().lower() in _FROM_ELSEWHERE for site in asking.all_of("sec-fetch-site")):
        return False
    return not any(name.lower() in _PASSED_ON or name.lower().startswith("x-forwarded") for name, _ in asking.headers)


# --- Documents -------------------------------------------------------------------------------------------------------


class Shown(NamedTuple):
    """A member as operators see it."""

    member: Member
    vitals: Vitals
    sessions: int


def moment(seconds: float) -> str:
    """Return Unix time as ISO 8601 in UTC, to the second: `2025-06-26T10:30:00Z`."""
    days, rest = divmod(int(seconds // 1), 86400)
    year, month, day = date_of(days)
    return f"{year:04}-{month:02}-{day:02}T{rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}Z"


def status_of(shown: Shown) -> str:
    """Return `healthy`, `unhealthy` or `unknown`: what the last check said, where one was due."""
    if not shown.member.enabled:
        return "unknown"
    if shown.member.invalid is not None or shown.vitals.state in (State.DEGRADED, State.COOLING, State.FAILED):
        return "unhealthy"
    if shown.vitals.state is State.READY:
        return "healthy"
    return "unhealthy" if shown.vitals.consecutive_fails else "unknown"  # it did not come up when it was last wanted


def state_of(shown: Shown) -> str:
    """Return the state of supervision, or why there is none: `disabled`, `invalid`."""
    if not shown.member.enabled:
        return "disabled"
    return shown.vitals.state.value if shown.member.invalid is None else "invalid"


def why_of(shown: Shown, redact: Redact) -> str | None:
    """Return why a member does not run, or what was wrong last."""
    why = shown.member.invalid or shown.vitals.why
    return None if why is None else redact(why)


def servers_document(members: Iterable[Shown], now: float, redact: Redact) -> dict[str, Any]:
    """Return the answer of `/health/servers`. `now`: Unix time."""
    servers = {shown.member.name: _health(shown, redact) for shown in members}
    statuses = [entry["status"] for entry in servers.values()]
    counts = {status: statuses.count(status) for status in ("healthy", "unhealthy", "unknown")}
    return {"timestamp": moment(now), "servers": servers, "summary": {"total": len(servers), **counts}}


def _health(shown: Shown, redact: Redact) -> dict[str, Any]:
    vitals = shown.vitals
    return {
        "name": shown.member.name,
        "status": status_of(shown),
        "lastCheck": None if vitals.last_check is None else moment(vitals.last_check),
        "responseTimeMs": None if vitals.response is None else round(vitals.response * 1000),
        "consecutiveFails": vitals.consecutive_fails,
        "restartCount": vitals.restarts,
        "state": state_of(shown),
        "sessions": shown.sessions,
        "children": len(vitals.running),
        "why": why_of(shown, redact),
    }


def resources_document(found: Sequence[Usage], now: float, note: str | None = None) -> dict[str, Any]:
    """Return the answer of `/health/resources`. `note`: why there are no numbers."""
    memory = sum(usage.resident for usage in found)
    cpu = sum(usage.cpu or 0.0 for usage in found)
    count = len(found)
    summary = {
        "processCount": count,
        "totalMemoryMB": megabytes(memory),
        "totalCPU": round(cpu, 1),
        "averageMemoryMB": megabytes(memory // count) if count else 0.0,
        "averageCPU": round(cpu / count, 1) if count else 0.0,
    }
    document = {"timestamp": moment(now), "processes": [_process(usage) for usage in found], "summary": summary}
    return document if note is None else {**document, "note": note}


def _process(usage: Usage) -> dict[str, Any]:
    return {
        "pid": usage.pid,
        "name": usage.name,
        "memoryMB": megabytes(usage.resident),
        "cpuPercent": round(usage.cpu or 0.0, 1),
        "virtualMB": megabytes(usage.virtual),
        "residentMB": megabytes(usage.resident),
        "processes": usage.processes,
    }


def list_document(members: Iterable[Shown], redact: Redact) -> dict[str, Any]:
    """Return the answer of `/listmcp`."""
    servers = [_listed(shown, redact) for shown in members]
    return {"count": len(servers), "servers": servers}


def _listed(shown: Shown, redact: Redact) -> dict[str, Any]:
    running = shown.vitals.running
    pids = [one.pid for one in sorted(running, key=lambda one: one.since) if one.pid is not None]
    return {
        "name": shown.member.name,
        "running": bool(running),
        "pid": pids[0] if pids else None,
        "children": pids,
        **_what(shown.member.what, redact),
        "disabled": not shown.member.enabled,
        "state": state_of(shown),
        "share": shown.member.manners.share,
        "sessions": shown.sessions,
        "why": why_of(shown, redact),
    }


def _what(what: Command | Remote, redact: Redact) -> dict[str, Any]:
    """What is run, or reached: never a variable's or a header's value. What looks like a secret is masked."""
    if isinstance(what, Remote):
        return {"url": redact(masked_url(what.url)), "type": what.wire}
    if what.shell is not None:
        return {"command": redact(masked_line(what.shell)), "args": [], "shell": True}
    known = [redact(word) for word in what.words]
    words = masked_words(known)
    return {"command": words[0] if words else "", "args": words[1:]}


def unknown_document(name: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the 404 for a name that no member has."""
    return {"error": "There is no server of this name." if name else "Name a server.", "servers": list(names)}
