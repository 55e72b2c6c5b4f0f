"""Greeting: what the host hears while the server is not there, and when it has come. Messages in, messages out.

`initialize` is answered with what the server said last time; without that, with everything that a server could offer,
each part announced as changing. What the server turns out not to offer is answered with nothing in it.
Sources: 2025-11-25, "Lifecycle", "Logging" and the list_changed notifications. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import versions
from mcp_remote_py.core.message import Message

KINDS = ("tools", "prompts", "resources")
"""The capabilities whose lists can change."""
LOGGER = "mcp-remote-py"
_MEMBERS = {
    "tools/list": ("tools", "tools"),
    "prompts/list": ("prompts", "prompts"),
    "resources/list": ("resources", "resources"),
    "resources/templates/list": ("resources", "resourceTemplates"),
}
"""The lists: the capability that each belongs to, and the member that has its items."""
LISTS = tuple(_MEMBERS)


def made_up(initialize: Message, version: str) -> Message:
    """Return an answer to `initialize` in the place of a server of which nothing is known. `version` is our own."""
    asked = initialize.params.get("protocolVersion")
    known = isinstance(asked, str) and versions.is_known_legacy(asked)
    capabilities: dict[str, Any] = {kind: {"listChanged": True} for kind in KINDS}
    greeting = {
        "protocolVersion": asked if known else versions.LATEST_LEGACY,
        "capabilities": {**capabilities, "logging": {}},
        "serverInfo": {"name": LOGGER, "version": version},
    }
    return msg.result(_id(initialize), greeting)


def repeated(initialize: Message, remembered: Message, asked: object) -> Message:
    """Return what the server said last time, when it was asked for the version `asked`, as the answer to this one."""
    wanted = initialize.params.get("protocolVersion")
    answer = msg.with_id(remembered, _id(initialize))
    if wanted == asked or not isinstance(wanted, str) or not versions.is_known_legacy(wanted):
        return answer
    return msg.result(_id(initialize), {**remembered.result, "protocolVersion": wanted})


def empty_list(request: Message) -> Message | None:
    """Return the answer that a list has nothing in it; None where this asks for no list."""
    found = _MEMBERS.get(request.method or "")
    return None if found is None else msg.result(_id(request), {found[1]: []})


def lacking(request: Message, capabilities: Mapping[str, Any]) -> Message | None:
    """Return the answer for what we announced and this server does not offer; None where the server is to answer."""
    found = _MEMBERS.get(request.method or "")
    if found is not None and found[0] not in capabilities:
        return empty_list(request)
    if request.method == "logging/setLevel" and "logging" not in capabilities:
        return msg.result(_id(request), {})
    return None


def list_changed(kinds: list[str]) -> list[Message]:
    """Return the notifications that these lists have changed."""
    return [msg.notification(f"notifications/{kind}/list_changed") for kind in kinds]


def changed_kinds(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the kinds whose capability is another one now."""
    return [kind for kind in KINDS if before.get(kind) != after.get(kind)]


def kind_of(method: str) -> str:
    """Return the capability that a list belongs to."""
    return _MEMBERS[method][0]


def log_line(level: str, text: str) -> Message:
    """Return a log message from us for the host's user."""
    return msg.notification("notifications/message", {"level": level, "logger": LOGGER, "data": text})


def url_elicitation(
    initialize: Message | None, revision: str | None, identifier: str, url: str, text: str
) -> Message | None:
    """Return the request that has the host show a URL; None where it does not offer that.

    Source: 2025-11-25, "Elicitation", URL mode. Nothing depends on the answer.
    """
    offered = initialize.params.get("capabilities") if initialize is not None else None
    elicitation = offered.get("elicitation") if isinstance(offered, dict) else None
    if not isinstance(elicitation, dict) or not isinstance(elicitation.get("url"), dict):
        return None
    if not versions.has_url_elicitation(revision):
        return None
    params = {"mode": "url", "elicitationId": identifier, "url": url, "message": text}
    return msg.request(identifier, "elicitation/create", params)


def elicited(identifier: str) -> Message:
    """Return the notification that what a URL was shown for is done."""
    return msg.notification("notifications/elicitation/complete", {"elicitationId": identifier})


def _id(request: Message) -> msg.JsonId:
    if request.id is None:
        raise ValueError("only a request can be answered")
    return request.id
