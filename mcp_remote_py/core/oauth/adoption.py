"""Adoption: tokens that another program got, made ours. What they lack (issuer, endpoints) is looked up."""

from __future__ import annotations

from mcp_remote_py.core.oauth import discovery
from mcp_remote_py.core.oauth.challenge import Challenge
from mcp_remote_py.core.oauth.preferences import Preferences
from mcp_remote_py.core.oauth.steps import Flow
from mcp_remote_py.core.oauth.tokens import Grant


def adopt(draft: Grant, server_url: str, challenge: Challenge | None, preferences: Preferences) -> Flow[Grant | None]:
    """Return the tokens of `draft` as a grant that can be renewed; None where they are another issuer's.

    `draft.issuer` is empty where nobody knows it: then the tokens are those of the server's own authorization server,
    for which the other program had looked in the same places. Raises a `Fault` as a sign-in does.
    """
    found = yield from discovery.discover(server_url, challenge, preferences)
    server = found.server
    if server.token_endpoint is None or (draft.issuer and draft.issuer != server.issuer):
        return None
    return draft._replace(
        issuer=server.issuer,
        resource=found.resource if preferences.with_resource else server_url,
        token_endpoint=server.token_endpoint,
        revocation_endpoint=server.revocation_endpoint,
        with_resource=preferences.with_resource,
    )
