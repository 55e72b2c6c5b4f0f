"""Names: under which name a thing is kept. Digests: nothing can be read from a listing, and no name is too long.

Credentials are bound to the issuer that gave them (2026-07-28, "Authorization"): its name is part of theirs.
"""

from __future__ import annotations

import hashlib

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.oauth.preferences import CODE, DEVICE, Preferences

FOLDER = "auth"
"""In the folder for what is remembered: where all of it is kept, a file for each name."""


def file_of(name: str) -> str:
    """Return the file of a name, in that folder."""
    return f"{name}.json"


def tokens(issuer: str, resource: str, client_id: str) -> str:
    """Return the name of the tokens of this client for this resource."""
    return f"tokens-{_digest(issuer, resource, client_id)}"


def registration(issuer: str, redirect_uri: str) -> str:
    """Return the name of a dynamic registration."""
    return f"client-{_digest(issuer, redirect_uri)}"


def server(url: str, account: str = "") -> str:
    """Return the name of what is known of an MCP server's sign-in: which tokens are in use, and when it was tried.

    `account` tells apart entries that sign in to one server in different ways (another client, another grant).
    """
    return f"server-{_digest(url, account)}"


def account(wishes: Preferences) -> str:
    """Return what tells entries apart that sign in to the same server in different ways; empty in the usual case.

    A code on another device is not another way: it is the same person, and the tokens are of the same kind.
    """
    client_id = "" if wishes.client is None else wishes.client.client_id
    grant = CODE if wishes.grant == DEVICE else wishes.grant
    said = (grant, client_id, wishes.client_metadata_url, wishes.issuer, wishes.resource)
    return "" if said == (CODE, "", None, None, None) else msg.encode(said).decode()


def _digest(*parts: str) -> str:
    return hashlib.sha256(msg.encode(parts)).hexdigest()[:40]
