"""Sign-in: from a server that refused to a set of tokens. The whole flow, over steps.

Discover whom to ask, make ready to listen, settle who we are, choose the scopes, then the grant that was wanted. It
keeps registrations; tokens are kept by whoever drives the flow, under the lease.

Sources: MCP "Authorization" 2025-03-26 to 2026-07-28, the extensions for client credentials and enterprise-managed
authorization, RFC 6749, 7636, 8628, 8707, 9207, 9449.
"""

from __future__ import annotations

from typing import NamedTuple

from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.core.http.origins import place_of
from mcp_remote_py.core.oauth import (
    addresses,
    assertions,
    brakes,
    discovery,
    dpop,
    grants,
    issued,
    pkce,
    providers,
    redirect,
    registration,
    scopes,
)
from mcp_remote_py.core.oauth import preferences as known
from mcp_remote_py.core.oauth.challenge import Challenge
from mcp_remote_py.core.oauth.discovery import Found
from mcp_remote_py.core.oauth.grants import Asked, TokenEndpoint
from mcp_remote_py.core.oauth.issued import Context
from mcp_remote_py.core.oauth.metadata import ServerMetadata
from mcp_remote_py.core.oauth.preferences import Preferences
from mcp_remote_py.core.oauth.steps import Authorize, Flow, Listen, Say, Senses
from mcp_remote_py.core.oauth.token_answer import Answer, Refusal
from mcp_remote_py.core.oauth.tokens import Grant, Party

INSUFFICIENT = "insufficient_scope"


def sign_in(
    server_url: str,
    challenge: Challenge | None,
    status: int,
    preferences: Preferences,
    senses: Senses,
    older: Grant | None = None,
) -> Flow[Grant]:
    """Sign in to an MCP server, and return what came of it.

    `challenge` and `status`: how the server refused. `older`: the tokens that it refused; a 403 for want of scopes asks
    for what these have and for what the challenge names. Raises a `Fault` with a text for people.
    """
    found = yield from discovery.discover(server_url, challenge, preferences)
    _check_issuer(found.server, server_url, preferences, older)
    context = _context(server_url, found, challenge, status, preferences, older)
    yield Say("info", f"Signing in to {context.named} at the authorization server {found.server.issuer}")
    run = _SignIn(found.server, context, preferences, senses)
    if preferences.grant == known.CODE:
        return (yield from run.by_code())
    if preferences.grant == known.DEVICE:
        return (yield from run.by_device())
    return (yield from run.without_person())


def is_step_up(challenge: Challenge | None, status: int) -> bool:
    """Whether a server refused for want of scopes: another 403 is not mended by signing in (PROTOCOL.md 6.7)."""
    return status == 403 and challenge is not None and challenge.error == INSUFFICIENT


def _check_issuer(server: ServerMetadata, server_url: str, preferences: Preferences, older: Grant | None) -> None:
    """Raises `SignInNeeded` where a given client would be shown to another authorization server than before.

    Credentials belong to the issuer they are for (2026-07-28); the MCP server, which names the issuer, may not move
    them. Where the issuer is configured, discovery has compared it.
    """
    client = preferences.client
    if client is None or older is None or preferences.issuer is not None or older.issuer == server.issuer:
        return
    if older.party.client_id == client.client_id:
        raise SignInNeeded(
            f"{place_of(server_url)} now names another authorization server, {place_of(server.issuer)} instead of "
            f"{place_of(older.issuer)}. The client that is configured was not shown to it.",
            hint=f"If that is right: {brakes.reset_command(server_url)}, and configure a client of the new one.",
        )


def _context(
    server_url: str,
    found: Found,
    challenge: Challenge | None,
    status: int,
    preferences: Preferences,
    older: Grant | None,
) -> Context:
    for_person = preferences.grant in (known.CODE, known.DEVICE)
    challenged = None if challenge is None else challenge.scope
    scope = scopes.first(challenged, found.scopes, preferences.scope, found.server.scopes, for_person=for_person)
    if is_step_up(challenge, status):
        scope = scopes.union(scope, None if older is None else older.scope, challenged)
    if preferences.use_id_token and scope is not None:
        scope = scopes.union("openid", scope)  # without it there is no ID token (OpenID Connect Core 3.1.2.1)
    return Context(
        issuer=found.server.issuer,
        server_url=server_url,
        resource=found.resource if preferences.with_resource else None,
        named=found.resource if preferences.with_resource else server_url,
        scope=scope,
        kind=preferences.grant,
        use_id_token=preferences.use_id_token,
        audiences=issued.audiences(server_url, found.resource, preferences),
        revocation_endpoint=found.server.revocation_endpoint,
    )


class _Here(NamedTuple):
    """Who we are in this sign-in. `recalled`: by a registration of an earlier one, which may have been forgotten."""

    party: Party
    recalled: bool


_No = Refusal | redirect.Denied | None
"""A round without tokens: what the server said. None: the code was used up, and another one will do."""


class _SignIn:
    """One sign-in, after discovery. `context` changes once, where the server turns out not to take `resource`."""

    def __init__(self, server: ServerMetadata, context: Context, preferences: Preferences, senses: Senses) -> None:
        self._server = server
        self._context = context
        self._preferences = preferences
        self._senses = senses

    # --- With a person -----------------------------------------------------------------------------------------------

    def by_code(self) -> Flow[Grant]:
        """The authorization code grant, in a browser."""
        client = self._preferences.client
        redirect_uri: str = yield Listen(() if client is None else client.redirect_uris)
        here = yield from self._identify(redirect_uri)
        while True:
            endpoint = self._endpoint(here.party)
            found = yield from self._code_round(endpoint, redirect_uri)
            if isinstance(found, Answer):
                return issued.grant(found, self._context, endpoint.asked, self._senses.now())
            here = yield from self._after(found, here, redirect_uri)

    def by_device(self) -> Flow[Grant]:
        """The device authorization grant: a person signs in elsewhere."""
        here = yield from self._identify("")
        url = self._server.device_authorization_endpoint
        if url is None:
            raise SignInNeeded(f"The authorization server {self._place} has no device authorization endpoint.")
        while True:
            endpoint = self._endpoint(here.party)
            context = self._context
            fields = _present(("scope", context.scope), ("resource", context.resource))
            device = yield from grants.device_request(endpoint, url, fields, self._senses)
            if isinstance(device, Refusal):
                here = yield from self._after(device, here, "")
                continue
            found = yield from grants.device_wait(endpoint, device, context.resource, context.named, self._senses)
            if isinstance(found, Answer):
                return issued.grant(found, context, endpoint.asked, self._senses.now())
            here = yield from self._after(found, here, "")

    def _code_round(self, endpoint: TokenEndpoint, redirect_uri: str) -> Flow[Answer | _No]:
        """Send a person to the authorization server once, and redeem the code that comes back."""
        senses, context = self._senses, self._context
        proof, state = pkce.proof(senses.token()), senses.token()
        senses.learn(proof.verifier)  # not the state: it stands in the URL that a person may have to copy from the log
        url = self._authorization_url(endpoint.asked.party, redirect_uri, proof.challenge, state)
        query = yield Authorize(url, redirect_uri, state, self._server.issuer, context.named)
        back = redirect.returned(query, state, self._server.issuer, self._server.iss_parameter_supported)
        if isinstance(back, redirect.Denied):
            return back
        senses.learn(back.code)
        fields = grants.form(
            "authorization_code",
            ("code", back.code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", proof.verifier),
        )
        found = yield from endpoint.ask((*fields, *_present(("resource", context.resource))), senses)
        if isinstance(found, Refusal) and self._wants_no_resource(found.description):
            yield from self._leave_resource_out()
            found = yield from endpoint.ask(fields, senses)
            if isinstance(found, Refusal) and found.error == "invalid_grant":
                return None  # the code was used up by the first question: another one is needed
        return found

    def _authorization_url(self, party: Party, redirect_uri: str, challenge: str, state: str) -> str:
        endpoint = self._server.authorization_endpoint
        if endpoint is None:
            raise SignInNeeded(f"The authorization server {self._place} has no authorization endpoint.")
        own = {
            "response_type": "code",
            "client_id": party.client_id,
            "redirect_uri": redirect_uri,
            "code_challenge": challenge,
            "code_challenge_method": pkce.METHOD,
            "state": state,
            **dict(_present(("scope", self._context.scope), ("resource", self._context.resource))),
        }
        extra = dict(providers.extra_parameters(self._server.issuer))
        if scopes.OFFLINE in scopes.split(self._context.scope or ""):
            extra.setdefault("prompt", "consent")  # OpenID Connect Core section 11 asks for it
        extra.update(self._preferences.authorize_params)
        url = redirect.authorization_url(endpoint, own, extra.items())
        problem = addresses.authorization_url_problem(url)
        if problem is not None:
            raise SignInNeeded(
                f"The authorization server {self._place} names an address to sign in at that is not opened: {problem}.",
                hint="This may be an attack. Tell whoever runs the server.",
            )
        return url

    # --- Without a person --------------------------------------------------------------------------------------------

    def without_person(self) -> Flow[Grant]:
        """Client credentials, a platform's assertion, or enterprise-managed authorization."""
        party = yield from self._register("", None)
        endpoint = self._endpoint(party)
        found = yield from self._ask_alone(endpoint)
        if isinstance(found, Refusal) and self._wants_no_resource(found.description):
            yield from self._leave_resource_out()
            found = yield from self._ask_alone(endpoint)
        if isinstance(found, Refusal):
            raise grants.refused(found, endpoint.place)
        return issued.grant(found, self._context, endpoint.asked, self._senses.now())

    def _ask_alone(self, endpoint: TokenEndpoint) -> Flow[Answer | Refusal]:
        context, kind = self._context, self._preferences.grant
        if kind == known.ENTERPRISE:
            return (yield from assertions.by_enterprise(endpoint, context, self._preferences, self._senses))
        if kind == known.ASSERTION:
            return (yield from assertions.by_platform(endpoint, context, self._preferences, self._senses))
        fields = grants.form("client_credentials", ("scope", context.scope), ("resource", context.resource))
        return (yield from endpoint.ask(fields, self._senses))

    # --- Who we are --------------------------------------------------------------------------------------------------

    def _identify(self, redirect_uri: str) -> Flow[_Here]:
        recalled = yield from registration.recall(self._server.issuer, redirect_uri, self._context.scope)
        party = yield from self._register(redirect_uri, recalled)
        return _Here(party, party == recalled)

    def _register(self, redirect_uri: str, recalled: Party | None) -> Flow[Party]:
        return (
            yield from registration.identify(
                self._server, self._preferences, redirect_uri, self._context.scope, recalled, self._senses
            )
        )

    def _endpoint(self, party: Party) -> TokenEndpoint:
        url = self._server.token_endpoint
        if url is None:
            raise SignInNeeded(f"The authorization server {self._place} has no token endpoint.")
        asked = Asked(url, self._server.issuer, party, self._server.auth_signing_algs, self._server.is_known(url))
        wanted = self._preferences.with_dpop and not self._preferences.use_id_token
        usable = dpop.usable(self._server.dpop_algs) if wanted else ()
        return TokenEndpoint(asked, proofs=usable or None)

    # --- After a refusal ---------------------------------------------------------------------------------------------

    def _after(self, no: _No, here: _Here, redirect_uri: str) -> Flow[_Here]:
        """Mend what can be mended, each thing once, and return as whom to go on. Raises `SignInNeeded` otherwise."""
        if no is None:
            return here
        if self._wants_no_resource(no.description):
            yield from self._leave_resource_out()
            return here
        if no.error in grants.UNKNOWN_CLIENT and here.recalled:
            yield Say("info", f"{self._place} no longer knows the client that was registered there: registering anew")
            yield from registration.forget(self._server.issuer, redirect_uri)
            return _Here((yield from self._register(redirect_uri, None)), recalled=False)
        if isinstance(no, redirect.Denied):
            raise redirect.denial(no, self._server.issuer)
        raise grants.refused(no, self._place)

    def _wants_no_resource(self, description: str) -> bool:
        return self._context.resource is not None and providers.rejects_resource(description)

    def _leave_resource_out(self) -> Flow[None]:
        yield Say("info", f"{self._place} does not take the parameter resource (RFC 8707): going on without it")
        self._context = self._context._replace(resource=None)

    @property
    def _place(self) -> str:
        return place_of(self._server.issuer)


def _present(*pairs: tuple[str, str | None]) -> tuple[tuple[str, str], ...]:
    """Return the parameters that have a value."""
    return tuple((name, value) for name, value in pairs if value)
