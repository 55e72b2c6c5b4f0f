"""A running server as a command sees it: is it there, has it taken the file over, does a member answer. HTTP only."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http.origins import bare_host
from mcp_remote_py.core.redact import printable
from server_stub.core.roster import Front

_POLL = 0.1
_ANSWER = 5.0
_STARTS = 15.0
"""What a start may take beyond the time that the member has for its `initialize`."""


class State(NamedTuple):
    """What `/readyz` says."""

    config: str
    """The digest of the configuration that it runs."""
    warnings: tuple[str, ...]


def _new(state: State, before: State, expected: Sequence[str]) -> list[str]:
    known = {_placeless(text) for text in before.warnings}
    new = [text for text in state.warnings if _placeless(text) not in known]
    return [text for text in new if not any(other in text for other in expected)]


def _placeless(text: str) -> str:
    """A finding without its line: an edit above it moves it, and does not make it new."""
    return re.sub(r":\d+:", ":", text)


class Reply(NamedTuple):
    """An answer, or `status` 0: nobody is there."""

    status: int
    document: dict[str, Any]


class RunningServer:
    """One server, by its address."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._token = token

    def state(self) -> State | None:
        """Return what it runs; None where nobody answers, or something else does."""
        document = self._get("/readyz", _ANSWER).document
        config, warnings = document.get("config"), document.get("warnings")
        if not isinstance(config, str) or not isinstance(warnings, list):
            return None
        return State(config, tuple(printable(str(warning), 500) for warning in warnings))

    def wait_for(self, digest: str, before: State, seconds: float, expected: Sequence[str] = ()) -> str | None:
        """Wait until it runs this configuration and has no new warning. Returns what is wrong, None for nothing.

        `expected`: what is worth a warning in this configuration, and no trouble.
        """
        deadline = time.monotonic() + seconds
        while True:
            state = self.state()
            new = [] if state is None else _new(state, before, expected)
            if state is not None and state.config == digest and not new:
                return None
            if time.monotonic() > deadline or (state is not None and new and state.config == digest):
                break
            time.sleep(_POLL)
        if state is None:
            return "it does not answer any more"
        if new:
            return "it has new warnings: " + "; ".join(new)
        return f"it did not take the new file over within {seconds:g} s"

    def tools_of(self, name: str, initialize: float) -> Reply:
        """Ask for the tools of a member, which starts it if need be."""
        return self._get(f"/listtools/{quote(name, safe='')}", initialize + _STARTS)

    def members(self) -> dict[str, str] | None:
        """Return the state of each member by its name; nothing where it does not say, None where that wants a token."""
        reply = self._get("/health/servers", _ANSWER)
        if reply.status in (401, 403):
            return None
        rows = reply.document.get("servers")
        if not isinstance(rows, dict):
            return {}
        return {str(name): printable(str(row.get("state")), 40) for name, row in rows.items() if isinstance(row, dict)}

    def _get(self, path: str, seconds: float) -> Reply:
        import httpx

        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            # no proxy: who edits the file is on the machine of the server, or in its network
            with httpx.Client(trust_env=False, timeout=seconds, follow_redirects=False) as client:
                answer = client.get(self.url + path, headers=headers)
                document = answer.json() if answer.content else {}
        except (httpx.HTTPError, httpx.InvalidURL):
            return Reply(0, {})
        except ValueError:
            return Reply(answer.status_code, {})
        return Reply(answer.status_code, document if isinstance(document, dict) else {})


def why(reply: Reply) -> str:
    """Return what an answer says is wrong, for people."""
    if not reply.status:
        return "no answer"
    error = reply.document.get("error")
    error = error.get("message") if isinstance(error, dict) else error
    return f"{reply.status}: {printable(str(error), 500).rstrip('.')}" if error else f"status {reply.status}"


def address(given: str | None, front: Front, environ: Mapping[str, str]) -> str:
    """Return where the server is: as it was said, else by PORT and the head of the file, else the default."""
    if given is not None:
        if urlsplit(given).scheme not in ("http", "https") or not urlsplit(given).hostname:
            raise ConfigError(f"--server: {given!r} is no address. Write for example http://127.0.0.1:8080")
        return given
    port = environ.get("PORT", "")
    number = int(port) if port.isdecimal() and 0 < int(port) < 65536 else front.port or 8080
    host = bare_host(front.host or "127.0.0.1")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{number}"
