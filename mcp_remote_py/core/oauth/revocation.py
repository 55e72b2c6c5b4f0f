"""Revocation: telling the authorization server that tokens are no longer wanted (RFC 7009). A flow over steps."""

from __future__ import annotations

from urllib.parse import urlencode

from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.http.origins import place_of
from mcp_remote_py.core.oauth import addresses, client_auth, grants
from mcp_remote_py.core.oauth.steps import Fetch, Fetched, Flow, Say, Senses
from mcp_remote_py.core.oauth.tokens import Grant


def revoke(grant: Grant, senses: Senses) -> Flow[bool]:
    """Revoke the tokens of a grant. Returns whether the server says that all of them are worth nothing any more.

    The refresh token goes first, as it is the one that lives long. Never raises a `Fault`: what is forgotten here is
    forgotten whether or not the server can be told; the log says why it could not.
    """
    url = grant.revocation_endpoint
    if url is None or addresses.endpoint_problem(url) is not None:
        return False
    for secret in grant.secrets():
        senses.learn(secret)
    wanted = [("refresh_token", grant.refresh_token), ("access_token", grant.access_token)]
    if grant.access_token == grant.id_token:
        wanted.pop()  # an ID token is no token that RFC 7009 knows
    done = []
    for hint, token in wanted:
        if token:
            try:
                done.append((yield from _revoke_one(url, grant, token, hint, senses)))
            except Fault as fault:
                yield Say("warning", f"A token could not be revoked: {fault}")
                return False
    return bool(done) and all(done)


def _revoke_one(url: str, grant: Grant, token: str, hint: str, senses: Senses) -> Flow[bool]:
    shown = yield from client_auth.show(grant.party, grant.issuer, (), senses)
    place = place_of(url)
    body = urlencode([("token", token), ("token_type_hint", hint), *shown.fields]).encode("ascii")
    checked = addresses.is_at(url, grant.resource)
    fetched: Fetched = yield Fetch(
        f"the revocation endpoint of {place}", "POST", url, (*grants.FORM, *shown.headers), body, checked
    )
    if 200 <= fetched.status < 300:
        return True
    yield Say("warning", f"{place} did not revoke the {hint.replace('_', ' ')} (HTTP {fetched.status})")
    return False
