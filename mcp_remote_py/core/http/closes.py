"""What the end of a WebSocket means: close code and reason in, fault out. Pure.

4001 and 4002 are the codes of deployed servers for "no token" and "wrong token"; 1008 (policy) before anything was
said means the same. Source: RFC 6455 section 7.4.
"""

from __future__ import annotations

from mcp_remote_py.core.credentials import Source
from mcp_remote_py.core.errors import Asked, Fault, Interrupted, PeerBroke, SignInNeeded, TooLarge
from mcp_remote_py.core.redact import printable

POLICY, TOO_BIG = 1008, 1009
ASKS_FOR_TOKEN = frozenset([4001, 4002])
_WORDS = {
    1000: "closed the connection",
    1001: "is going away and closed the connection",
    1011: "closed the connection because of an error of its own",
    1012: "is restarting and closed the connection",
    1013: "is overloaded and closed the connection",
}


def fault_of_peer(host: str, code: int, reason: str, *, heard: bool, source: Source | None = None) -> Fault:
    """Return what a close frame of the server means. `heard`: it had sent a message before; `source`: what gave the
    token that was sent."""
    said = printable(reason.strip(), 200).replace("\n", " ").replace("\t", " ")
    suffix = f": {said}" if said else ""
    if code in ASKS_FOR_TOKEN or (code == POLICY and not heard):
        if source is not None:
            text = f"{host} refused {source.what} (close code {code}){suffix}"
            return SignInNeeded(text, hint=source.mend, may_have_run=heard)
        fault = SignInNeeded(f"{host} asks for a sign-in (close code {code}){suffix}", may_have_run=heard)
        fault.asked = Asked()
        return fault
    if code == TOO_BIG:
        return TooLarge(
            f"{host} closed the connection because a message was too large for it (close code {code}){suffix}",
            hint="Send less in one call, or raise the server's own limit.",
            may_have_run=True,
        )
    return Interrupted(f"{host} {_WORDS.get(code, 'closed the connection')} (close code {code}){suffix}")


def fault_of_ours(host: str, code: int, limit: int) -> Fault:
    """Return what our own close frame means: what the server did that made us send it. `limit` is in bytes."""
    if code == TOO_BIG:
        return TooLarge(
            f"a message from {host} is larger than the limit of {limit} bytes",
            hint="Raise --max-message-size, or ask for less at once. The call has run on the server.",
            may_have_run=True,
        )
    if code == 1000:
        return Interrupted(f"the connection to {host} was closed from this side")
    return PeerBroke(f"{host} did not keep to the WebSocket protocol (close code {code})")


def fault_of_loss(host: str) -> Fault:
    """Return what it means that the connection is gone without a close frame."""
    return Interrupted(f"the connection to {host} broke")
