"""Grants: each way to ask a token endpoint for tokens. Flows over steps; who is asked, and why, is `signin`'s to know.

Sources: RFC 6749 sections 4.1.3, 4.4.2 and 6, RFC 7523 section 2.1, RFC 8628, RFC 8693, RFC 8707 section 2.2, RFC 9449
sections 5 and 8, the MCP extensions for client credentials and enterprise-managed authorization.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote_plus, urlencode

from mcp_remote_py.core.errors import Fault, SignInNeeded, TimedOut
from mcp_remote_py.core.http.headers import Headers
from mcp_remote_py.core.http.origins import place_of
from mcp_remote_py.core.oauth import addresses, client_auth, dpop, token_answer
from mcp_remote_py.core.oauth.client_auth import Fields
from mcp_remote_py.core.oauth.steps import Fetch, Fetched, Flow, Pause, Say, Senses, ShowCode
from mcp_remote_py.core.oauth.token_answer import Answer, Refusal
from mcp_remote_py.core.oauth.tokens import Party
from mcp_remote_py.core.redact import MASK

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  (a name of the protocol)
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105  (likewise)

FORM: Headers = (("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json"))
"""What every request of a form carries. Without `Accept`, GitHub answers with a form."""


class Asked(NamedTuple):
    """Where tokens are asked for, and as whom."""

    url: str
    issuer: str
    party: Party
    algorithms: tuple[str, ...] = ()
    """What it takes for signed client assertions; none: not known."""
    checked: bool = False
    """Whether the address comes from configuration, see `Fetch.origin_checked`."""


class TokenEndpoint:
    """One token endpoint during one flow. Knows the DPoP nonce it asked for last.

    `proofs`: with which algorithms DPoP proofs are signed, None for no proofs. `bound`: whether they have to be sent,
    as what is shown is bound to our key; else the flow goes on without them where nothing can be signed here.
    """

    def __init__(self, asked: Asked, *, proofs: tuple[str, ...] | None = None, bound: bool = False) -> None:
        self.asked = asked
        self.place = place_of(asked.url)
        self._proofs = proofs
        self._bound = bound
        self._nonce: str | None = None

    def ask(self, fields: Fields, senses: Senses) -> Flow[Answer | Refusal]:
        """Send a token request, once more where a nonce is wanted (RFC 9449 section 8). Raises `Fault`."""
        found = yield from self._ask_once(fields, senses)
        if isinstance(found, Refusal) and found.error == dpop.NONCE_ERROR and self._nonce and self._proofs is not None:
            found = yield from self._ask_once(fields, senses)
        if isinstance(found, Answer) and found.scheme == token_answer.DPOP and self._proofs is None:
            raise token_answer.broken(self.place, "brings a token that is bound to a key (DPoP), and no key was shown")
        return found

    def _ask_once(self, fields: Fields, senses: Senses) -> Flow[Answer | Refusal]:
        proof = yield from self._proof(senses)
        shown = yield from client_auth.show(self.asked.party, self.asked.issuer, self.asked.algorithms, senses)
        what = f"the token endpoint of {self.place}"
        body = urlencode([*fields, *shown.fields]).encode("ascii")
        fetched: Fetched = yield Fetch(
            what, "POST", self.asked.url, (*FORM, *shown.headers, *proof), body, self.asked.checked
        )
        self._nonce = dpop.nonce_of(fetched.headers) or self._nonce
        found = token_answer.read(fetched, self.place, senses.learn)
        return _masked(found, (*fields, *shown.fields)) if isinstance(found, Refusal) else found

    def _proof(self, senses: Senses) -> Flow[Headers]:
        if self._proofs is None:
            return ()
        claims = dpop.proof_claims("POST", self.asked.url, now=senses.now(), jti=senses.token(), nonce=self._nonce)
        try:
            proof = yield dpop.sign(claims, self._proofs)
        except Fault as fault:
            if self._bound:
                raise
            yield Say("info", f"Going on without DPoP, which {self.place} offers: {fault}")
            self._proofs = None
            return ()
        return ((dpop.HEADER, proof),)


_SECRET = frozenset(
    [
        "assertion",
        "client_assertion",
        "client_secret",
        "code",
        "code_verifier",
        "device_code",
        "refresh_token",
        "subject_token",
    ]
)
_SHORTEST = 4


def _masked(refusal: Refusal, sent: Fields) -> Refusal:
    """Return a refusal without what was sent: some servers repeat the code or the token that they refuse."""
    error, description = refusal.error, refusal.description
    for name, content in sent:
        if name in _SECRET and len(content) >= _SHORTEST:
            for spelling in (content, quote_plus(content)):
                error, description = error.replace(spelling, MASK), description.replace(spelling, MASK)
    return Refusal(error, description, refusal.status)


def form(grant_type: str, *pairs: tuple[str, str | None]) -> Fields:
    """Return the fields of a token request: those that have a value."""
    return (("grant_type", grant_type), *((name, value) for name, value in pairs if value))


# --- Device code (RFC 8628) ------------------------------------------------------------------------------------------

INTERVAL, SLOWER = 5.0, 5.0
"""Seconds between two questions where the server does not say, and what `slow_down` adds to it (section 3.5)."""
_LONGEST_INTERVAL = 300.0
_CODE_SECONDS = 900.0
_CODE_LENGTH = 200


class Device(NamedTuple):
    """What the device authorization endpoint gave."""

    device_code: str
    user_code: str
    verification_uri: str
    complete_uri: str | None
    life: float
    interval: float


def device_request(endpoint: TokenEndpoint, url: str, fields: Fields, senses: Senses) -> Flow[Device | Refusal]:
    """Ask for a code that a person enters elsewhere (section 3.1). `url`: the device authorization endpoint."""
    asked, place = endpoint.asked, place_of(url)
    shown = yield from client_auth.show(asked.party, asked.issuer, asked.algorithms, senses)
    body = urlencode([*fields, *shown.fields]).encode("ascii")
    fetched: Fetched = yield Fetch(
        f"the device authorization endpoint of {place}", "POST", url, (*FORM, *shown.headers), body, asked.checked
    )
    answer = token_answer.fields_of(fetched)
    refusal = token_answer.refusal_of(answer, fetched, place)
    if refusal is not None:
        return refusal
    device_code, user_code = answer.get("device_code"), answer.get("user_code")
    uri = answer.get("verification_uri") or answer.get("verification_url")  # Google writes url
    if not (isinstance(device_code, str) and device_code and isinstance(uri, str)):
        raise token_answer.broken(place, "has no device_code or no verification_uri in it")
    if not (isinstance(user_code, str) and user_code.isprintable() and 0 < len(user_code) <= _CODE_LENGTH):
        raise token_answer.broken(place, "has no user_code in it that could be shown")
    senses.learn(device_code)
    _check_uri(uri, place)
    interval = token_answer.seconds(answer.get("interval")) or INTERVAL
    return Device(
        device_code=device_code,
        user_code=user_code,
        verification_uri=uri,
        complete_uri=_complete(answer.get("verification_uri_complete")),
        life=token_answer.seconds(answer.get("expires_in")) or _CODE_SECONDS,
        interval=min(interval, _LONGEST_INTERVAL),
    )


def device_wait(
    endpoint: TokenEndpoint, device: Device, resource: str | None, named: str, senses: Senses
) -> Flow[Answer | Refusal]:
    """Show the code and ask until somebody has entered it. `resource`: what is sent; `named`: what people are told.

    Raises `SignInNeeded` when the code has expired, or was turned down.
    """
    until = senses.now() + device.life
    yield ShowCode(
        device.verification_uri, device.user_code, device.complete_uri, device.life, endpoint.asked.issuer, named
    )
    interval = device.interval
    while True:
        yield Pause(interval)
        if senses.now() >= until:
            raise _too_late(endpoint.place)
        try:
            found = yield from endpoint.ask(
                form(DEVICE_CODE, ("device_code", device.device_code), ("resource", resource)), senses
            )
        except Fault as fault:
            if not (fault.mends or isinstance(fault, TimedOut)):
                raise
            interval = min(interval * 2, _LONGEST_INTERVAL)  # section 3.5 asks for that after a time-out
            continue
        if isinstance(found, Answer):
            return found
        if found.error == "slow_down":
            interval = min(interval + SLOWER, _LONGEST_INTERVAL)
        elif found.error == "expired_token":
            raise _too_late(endpoint.place)
        elif found.error != "authorization_pending":
            return found


def _too_late(place: str) -> SignInNeeded:
    return SignInNeeded(
        f"Nobody entered the code at {place} before it expired.", hint="Try again: there will be a new code."
    )


def _check_uri(uri: str, place: str) -> None:
    problem = addresses.authorization_url_problem(uri)
    if problem is not None:
        raise token_answer.broken(place, f"has a verification_uri that is not shown: {problem}")


def _complete(uri: Any) -> str | None:
    """Return the address that has the code in it, where there is one that may be opened."""
    return uri if isinstance(uri, str) and addresses.authorization_url_problem(uri) is None else None


# --- In words --------------------------------------------------------------------------------------------------------

_HINTS = {
    "invalid_client": "Check --client-id and the client's secret, and whether the client still exists there.",
    "unauthorized_client": "The client's registration there has to allow this grant.",
    "unsupported_grant_type": "This authorization server does not have this grant; --grant names another one.",
    "invalid_grant": "What was shown is wrong, expired, used up, or was made for another server. Try again.",
    "invalid_scope": "Name scopes that may be had there: --scope 'one two'.",
    "invalid_target": "Name the resource as it is known there: --resource URL; or leave it out: --no-resource.",
    "access_denied": "The person, or a rule there, turned it down.",
    "invalid_dpop_proof": "Do without DPoP: --no-dpop. If this machine's clock is wrong, set it.",
    "use_dpop_nonce": "Do without DPoP: --no-dpop.",
}
_NO_HINT = "Whoever runs the authorization server can say more; --debug shows the exchange."


UNKNOWN_CLIENT = frozenset(["invalid_client", "unauthorized_client", "incorrect_client_credentials"])
"""What a server says to a client that it no longer knows; the last one is GitHub's word."""


def refused(refusal: Refusal, place: str) -> SignInNeeded:
    """Return the trouble that a token endpoint refused, in words."""
    return SignInNeeded(
        f"The authorization server {place} gave no token. It said: {refusal.words()}",
        hint=_HINTS.get(refusal.error, _NO_HINT),
    )
