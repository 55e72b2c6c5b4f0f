"""Client authentication at a token endpoint: none, secret in the body, secret as Basic, a signed assertion.

Sources: RFC 6749 section 2.3.1, RFC 7521 section 4.2, RFC 7523 section 3, and the MCP extension
`oauth-client-credentials`, by which the audience of an assertion is the issuer.
"""

from __future__ import annotations

import base64
import math
from typing import NamedTuple
from urllib.parse import quote_plus

from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.core.http.headers import Headers
from mcp_remote_py.core.oauth.steps import Flow, Senses, Sign
from mcp_remote_py.core.oauth.tokens import Party

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 120
"""The life of an assertion. It is used once, at once; the rest is for clocks that differ."""

Fields = tuple[tuple[str, str], ...]
"""The fields of a form, in their order."""


class Shown(NamedTuple):
    """What a request carries to say who we are."""

    headers: Headers = ()
    fields: Fields = ()


def show(party: Party, issuer: str, algorithms: tuple[str, ...], senses: Senses) -> Flow[Shown]:
    """Say who we are, to this issuer. `algorithms`: what it takes for signed assertions, none where it is not known."""
    if party.method == "private_key_jwt":
        assertion = yield Sign("client", algorithms, {"typ": "JWT"}, _claims(party.client_id, issuer, senses))
        senses.learn(assertion)
        return Shown(
            fields=(
                ("client_id", party.client_id),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", assertion),
            )
        )
    if party.method == "none":
        # without a client the assertion alone says who asks (RFC 7521 section 4.1)
        return Shown(fields=(("client_id", party.client_id),) if party.client_id else ())
    if party.client_secret is None:
        raise SignInNeeded(
            f"The client that is registered for {party.method} has no secret here.",
            hint="Give it: --client-secret-env NAME or --client-secret-file FILE.",
        )
    senses.learn(party.client_secret)
    if party.method == "client_secret_basic":
        header = basic(party.client_id, party.client_secret)
        senses.learn(header)
        return Shown(headers=(("Authorization", header),))
    return Shown(fields=(("client_id", party.client_id), ("client_secret", party.client_secret)))


def basic(client_id: str, secret: str) -> str:
    """Return the value of `Authorization`: id and secret are form-urlencoded first (RFC 6749 section 2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")


def _claims(client_id: str, issuer: str, senses: Senses) -> dict[str, object]:
    now = math.floor(senses.now())
    return {
        "iss": client_id,
        "sub": client_id,
        "aud": issuer,
        "iat": now,
        "exp": now + ASSERTION_SECONDS,
        "jti": senses.token(),
    }
