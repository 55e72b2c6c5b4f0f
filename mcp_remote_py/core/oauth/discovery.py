"""Discovery: from a server that asks for a sign-in to the authorization server that it trusts. A flow of fetches.

First the metadata of the resource (the challenge's address, the path form, the root form), then that of the
authorization server it names. A 4xx, a redirect or a body without JSON means that nothing is there, so the next place
is asked; a 5xx or 429 says nothing of the kind and ends the flow with its cause. No address is asked twice.

Sources: the authorization chapters of 2025-03-26 to 2026-07-28, RFC 9728, RFC 8414, OpenID Connect Discovery 1.0.
"""

from __future__ import annotations

from typing import NamedTuple

from mcp_remote_py.core import versions
from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.core.http import retry_after
from mcp_remote_py.core.http.headers import PROTOCOL_VERSION
from mcp_remote_py.core.http.origins import place_of
from mcp_remote_py.core.oauth import addresses, metadata, preferences, providers
from mcp_remote_py.core.oauth.challenge import Challenge
from mcp_remote_py.core.oauth.metadata import Resource, ServerMetadata
from mcp_remote_py.core.oauth.preferences import Preferences
from mcp_remote_py.core.oauth.steps import Document, Fetch, Fetched, Flow, Say
from mcp_remote_py.core.redact import printable

HEADERS = (("Accept", "application/json"), (PROTOCOL_VERSION, versions.LATEST_LEGACY))
"""What every request of discovery carries; the version is asked for by 2025-03-26 and harmless later."""

_MOST_SERVERS = 5
"""Authorization servers of a resource that are tried."""
_SHOWN = 200
_WITHOUT_PERSON = frozenset([preferences.CLIENT_CREDENTIALS, preferences.ENTERPRISE, preferences.ASSERTION])
"""Grants that need a token endpoint and nothing else."""
_TELL = "Tell whoever runs the server. "


class Found(NamedTuple):
    """Whom to ask for what. `resource_named`: it was the metadata that named the resource.

    `scopes`: what the resource lists; None where it does not say, empty where it wants none to be sent.
    """

    resource: str
    resource_named: bool
    scopes: tuple[str, ...] | None
    server: ServerMetadata


def discover(server_url: str, challenge: Challenge | None, preferences: Preferences) -> Flow[Found]:
    """Find the authorization server of an MCP server. Raises `SignInNeeded` with the cause where there is none."""
    return (yield from _Discovery(server_url, challenge, preferences).run())


class _Discovery:
    """One run: what was asked and what came, so that nothing is asked twice."""

    def __init__(self, server_url: str, challenge: Challenge | None, wishes: Preferences) -> None:
        try:
            self._origin = str(addresses.place(server_url))
        except ValueError:
            raise SignInNeeded("The server's URL names no host where a sign-in could be looked for.") from None
        self._url = server_url
        self._challenge = challenge
        self._wishes = wishes
        self._answers: dict[str, Fetched] = {}
        self._strange_issuer: str | None = None
        given = (self._origin, wishes.issuer, wishes.token_endpoint)
        self._known = tuple(url for url in given if url is not None)

    def run(self) -> Flow[Found]:
        resource = yield from self._resource()
        if self._wishes.token_endpoint is not None and self._wishes.grant in _WITHOUT_PERSON:
            server = self._configured(self._wishes.token_endpoint, resource)
        else:
            server = yield from self._server(resource)
        self._check(server)
        named = resource is not None and self._wishes.resource is None
        fallback = metadata.canonical(self._url) if resource is None else resource.resource
        return Found(
            self._wishes.resource if self._wishes.resource is not None else fallback,
            named,
            None if resource is None else resource.scopes,
            server,
        )

    # --- The resource ------------------------------------------------------------------------------------------------

    def _resource(self) -> Flow[Resource | None]:
        what = f"the resource metadata of {place_of(self._url)}"
        for url in (yield from self._resource_locations()):
            document = yield from self._document(what, url)
            found = None if document is None else metadata.read_resource(document)
            if found is not None:
                self._check_resource(found)
                return found
            if document is not None:
                yield Say("warning", f"{place_of(url)} publishes resource metadata that names no resource: not used")
        return None

    def _resource_locations(self) -> Flow[tuple[str, ...]]:
        places = metadata.resource_locations(self._url)
        named = self._challenge.resource_metadata if self._challenge is not None else None
        if named is None:
            return places
        problem = addresses.document_problem(named, self._url)
        if problem is not None:
            ours = place_of(self._url)
            yield Say("warning", f"{ours} names an address of its metadata that is not asked, as {problem}")
            return places
        return tuple(dict.fromkeys((named, *places)))

    def _check_resource(self, found: Resource) -> None:
        if metadata.denotes(found.resource, self._url) or found.resource == self._wishes.resource:
            return
        raise SignInNeeded(
            f"The metadata of {place_of(self._url)} is for another resource, {_quoted(found.resource)}: "
            "no sign-in was begun.",
            hint=f"{_TELL}If you know that this is its right name, pass it with --resource.",
        )

    # --- The authorization server ------------------------------------------------------------------------------------

    def _server(self, resource: Resource | None) -> Flow[ServerMetadata]:
        issuers, bound = self._issuers(resource)
        for issuer in issuers:
            found = yield from self._metadata(issuer, bound=bound)
            if found is not None:
                return self._with_wishes(found)
            if self._strange_issuer is not None:
                raise self._elsewhere() if bound else self._mismatch(issuer, self._strange_issuer)
        if resource is None and addresses.is_at(issuers[0], self._origin):
            return self._with_wishes(metadata.guessed(self._origin))
        raise SignInNeeded(
            f"The authorization server of {place_of(self._url)}, {_quoted(issuers[0])}, publishes no metadata.",
            hint=f"{_TELL}Its metadata would be at {_quoted(metadata.server_locations(issuers[0])[0])}.",
        )

    def _issuers(self, resource: Resource | None) -> tuple[tuple[str, ...], bool]:
        """Return whom to ask, best first, and whether only the configured issuer will do.

        A configured one is asked where it is listed or nobody is; else it still says whose metadata is believed.
        """
        wanted = self._wishes.issuer if self._wishes.issuer is None else self._allowed_wish(self._wishes.issuer)
        if resource is None or not resource.authorization_servers:
            if wanted is None:
                return (self._origin,), False
            return ((wanted,) if addresses.is_at(wanted, self._origin) else (wanted, self._origin)), True
        listed = tuple(dict.fromkeys(resource.authorization_servers))
        if wanted is not None:
            fitting = tuple(issuer for issuer in listed if metadata.is_issuer(issuer, wanted))
            if fitting:
                return fitting[:1], True
        allowed = tuple(issuer for issuer in listed if addresses.issuer_problem(issuer) is None)
        if not allowed:
            raise SignInNeeded(
                f"{place_of(self._url)} names an authorization server that may not be used, {_quoted(listed[0])}: "
                f"{addresses.issuer_problem(listed[0])}.",
                hint=f"{_TELL}An authorization server has to be https, or on this machine.",
            )
        return allowed[:_MOST_SERVERS], wanted is not None and self._has_credentials()

    def _allowed_wish(self, issuer: str) -> str:
        problem = addresses.issuer_problem(issuer)
        if problem is not None:
            raise SignInNeeded(
                f"The issuer that is configured, {_quoted(issuer)}, may not be used: {problem}.",
                hint="Give the issuer as the authorization server writes it.",
            )
        return issuer

    def _has_credentials(self) -> bool:
        """Whether we hold what only the configured authorization server may see."""
        wishes = self._wishes
        return wishes.client is not None or wishes.grant in _WITHOUT_PERSON

    def _metadata(self, issuer: str, *, bound: bool) -> Flow[ServerMetadata | None]:
        """Fetch an issuer's metadata; None where there is none that may be used. `bound`: only the configured one."""
        what = f"the metadata of the authorization server {place_of(issuer)}"
        wanted = self._wishes.issuer
        believed = tuple(each for each in (None if bound else issuer, wanted) if each is not None)
        self._strange_issuer = None
        for url in metadata.server_locations(issuer):
            document = yield from self._document(what, url)
            if document is None or not (document.keys() & {"issuer", *metadata.ENDPOINTS}):
                continue
            named = document.get("issuer")
            fitting = next((each for each in believed if metadata.is_issuer(named, each)), None)
            if fitting is None:
                self._strange_issuer = named if isinstance(named, str) else ""
                yield Say("warning", f"{place_of(url)} publishes metadata of another issuer: not used")
                continue
            # a placeholder is no issuer: what was asked is
            own = str(named) if addresses.issuer_problem(named) is None else fitting
            return ServerMetadata(own, document)
        return None

    def _mismatch(self, issuer: str, named: str) -> SignInNeeded:
        said = f"names the issuer {_quoted(named)}" if named else "names no issuer"
        mend = "The two have to be the same, letter by letter (RFC 8414 section 3.3)."
        if addresses.issuer_problem(named) is None:
            mend += f" If you know that both belong to one provider, pass --auth-issuer {_quoted(named)}"
        return SignInNeeded(
            f"The metadata of the authorization server {_quoted(issuer)} {said}: it was not used.", hint=_TELL + mend
        )

    def _elsewhere(self) -> SignInNeeded:
        return SignInNeeded(
            f"The authorization server of {place_of(self._url)} is not the one that is configured here, "
            f"{_quoted(self._wishes.issuer or '')}, but {_quoted(self._strange_issuer or 'one without a name')}. "
            "Nothing was sent there.",
            hint="If that is right, configure it: --auth-issuer, and the credentials that belong to it.",
        )

    def _configured(self, token_endpoint: str, resource: Resource | None) -> ServerMetadata:
        """Return what is known without any metadata: the token endpoint, and whose it is."""
        listed = () if resource is None else resource.authorization_servers
        own = next((issuer for issuer in listed if addresses.is_at(issuer, token_endpoint)), None)
        try:
            origin = str(addresses.place(token_endpoint))
        except ValueError:
            origin = self._origin  # the check of the endpoint says what is wrong
        issuer = self._wishes.issuer or own or origin
        return ServerMetadata(issuer, {"token_endpoint": token_endpoint}, known=self._known)

    def _with_wishes(self, server: ServerMetadata) -> ServerMetadata:
        document = server.document
        if self._wishes.token_endpoint is not None:
            document = {**document, "token_endpoint": self._wishes.token_endpoint}
        return server._replace(document=document, known=self._known)

    # --- Checks ------------------------------------------------------------------------------------------------------

    def _check(self, server: ServerMetadata) -> None:
        """Refuse a server that cannot be used for the grant that is wanted."""
        needed = ["token_endpoint"]
        if self._wishes.grant == preferences.CODE:
            needed.append("authorization_endpoint")
        if self._wishes.grant == preferences.DEVICE:
            needed.append("device_authorization_endpoint")
        for name in needed:
            problem = server.problem(name)
            if problem is not None:
                raise SignInNeeded(
                    f"The {name} of the authorization server {_quoted(server.issuer)} cannot be used: {problem}.",
                    hint=_endpoint_hint(name, problem),
                )
        if self._wishes.grant == preferences.CODE:
            self._check_pkce(server)

    def _check_pkce(self, server: ServerMetadata) -> None:
        methods = server.code_challenge_methods
        if server.guessed or (methods is not None and metadata.S256 in methods):
            return
        if methods is not None:
            raise SignInNeeded(
                f"The authorization server {_quoted(server.issuer)} does not offer PKCE with S256, the only kind that "
                "is safe.",
                hint=_TELL.strip(),
            )
        if self._wishes.assume_pkce or providers.knows_s256(server.issuer):
            return
        raise SignInNeeded(
            f"The authorization server {_quoted(server.issuer)} does not say that it supports PKCE "
            "(code_challenge_methods_supported).",
            hint="If you know that it does, pass --assume-pkce.",
        )

    # --- Fetching ----------------------------------------------------------------------------------------------------

    def _document(self, what: str, url: str) -> Flow[Document | None]:
        """Fetch a document. None where there is none. Raises `SignInNeeded` for a 5xx or 429."""
        answer = self._answers.get(url)
        if answer is None:
            answer = yield Fetch(what, "GET", url, HEADERS, origin_checked=addresses.is_at(url, *self._known))
            self._answers[url] = answer
        if answer.status >= 500 or answer.status == 429:
            raise failed(what, url, answer)
        return metadata.read(answer.body) if 200 <= answer.status < 300 else None


def failed(what: str, url: str, answer: Fetched) -> SignInNeeded:
    """Return the fault for an answer that says nothing about what was asked, but that something is wrong there."""
    wait = retry_after.seconds(answer.headers.get("retry-after", ""), answer.headers.get("date", ""))
    fault = SignInNeeded(
        f"Signing in failed: {what} could not be had, as {place_of(url)} answered with HTTP {answer.status}.",
        hint="Try again in a while. If it stays so, tell whoever runs it.",
        http_status=answer.status,
    )
    fault.retry_after = wait
    return fault


def _endpoint_hint(name: str, problem: str) -> str:
    if name == "token_endpoint":
        return f"{_TELL}If you know the right one, pass --token-endpoint URL."
    if name == "device_authorization_endpoint" and problem == "it is missing":
        return "It offers no sign-in with a device code. Leave --device-code out, or pass --no-browser."
    return _TELL.strip()


def _quoted(text: str) -> str:
    return printable(text, _SHOWN)
