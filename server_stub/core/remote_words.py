"""Words for trouble with a member that is a remote server: a fault of the bridge's wires in, one for operators out.

The wires say what to do at the bridge's command line. Here there is none: there is a member of a configuration file,
and the environment of the server. Pure.
"""

from __future__ import annotations

import re

from mcp_remote_py.core.credentials import NOT_TAKEN, Source
from mcp_remote_py.core.errors import Fault, SessionLost, SignInNeeded

_SIGN_IN = (
    "Nobody can sign in on a server: put a valid token into the `headers` of this member, for example "
    '"Authorization": "Bearer ${TOKEN}".'
)
GIVEN = Source("the token in its `headers`", f"{NOT_TAKEN} Renew it in the `headers` of this member.")
"""What gave the `Authorization` that was sent."""
_BEGINS_ANEW = "The session ends with this; a new one begins with `initialize`."
_CA_BUNDLE = re.compile(r"with --ca-bundle FILE(?: \(in [^)]*\))?")
_IN_BRACKETS = re.compile(r" \([^()]*--[a-z][^()]*\)")
_OF_THE_BRIDGE = re.compile(r"(?:^|[^-\w])--[a-z]|MCP_AUTH_TOKEN|MCP server in the host")
_SENTENCE = re.compile(r"(?<=[.!?]) (?=[A-Z-])")


def of_member(fault: Fault, name: str) -> Fault:
    """Return the same trouble, named after the member, with what an operator of the server can do about it."""
    text = _IN_BRACKETS.sub("", str(fault))
    return fault.restated(f"{name}: {text}", hint=_hint(fault))


def _hint(fault: Fault) -> str:
    hint = _CA_BUNDLE.sub("in the variable NODE_EXTRA_CA_CERTS of this server", fault.hint)
    kept = [sentence for sentence in _SENTENCE.split(hint) if not _OF_THE_BRIDGE.search(sentence)]
    if isinstance(fault, SignInNeeded) and len(kept) < len(_SENTENCE.split(hint)):
        return _SIGN_IN
    if isinstance(fault, SessionLost):
        return _BEGINS_ANEW
    return " ".join(kept)
