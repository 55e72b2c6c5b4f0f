"""Metadata: what a resource and an authorization server publish about themselves. Bytes in, checked documents out.

A document is read leniently in its form (a member of a wrong type is as good as none) and strictly in what it claims:
a resource's has to denote the server that we talk to, an authorization server's the issuer that was asked.

Sources: RFC 9728 sections 2 and 3, RFC 8414 sections 2 and 3, OpenID Connect Discovery 1.0, RFC 8628 section 4,
RFC 9207 section 3, RFC 9449 section 5.1, the draft of client ID metadata documents.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.oauth import addresses, scopes
from mcp_remote_py.core.oauth.steps import Document

S256 = "S256"
ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "registration_endpoint",
    "revocation_endpoint",
    "device_authorization_endpoint",
)
"""The members that we would open or ask."""

_MOST = 1000
"""Items of a list that are read."""
_TENANT = "{tenantid}"
_TENANT_HOSTS = frozenset(["login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn"])
"""Entra's documents for `common`, `organizations` and `consumers` name an issuer with this placeholder in its path
(https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc)."""
_UNQUOTED = "%/:=&?~+!$,;'@()*"


class Resource(NamedTuple):
    """The metadata of a protected resource. `scopes`: None where it does not say, empty where none is wanted."""

    resource: str
    authorization_servers: tuple[str, ...]
    scopes: tuple[str, ...] | None


class ServerMetadata(NamedTuple):
    """What an authorization server says of itself. The endpoints that are returned may be used, others are None."""

    issuer: str
    """As its document writes it: what `iss` and the names of what is kept are compared with, letter by letter."""
    document: Document
    guessed: bool = False
    """Whether there was no document, so that the paths of 2025-03-26 are tried."""
    known: tuple[str, ...] = ()
    """URLs that the user gave: what has their origin needs no suspicion of leading into a private network."""

    @property
    def authorization_endpoint(self) -> str | None:
        return self._endpoint("authorization_endpoint")

    @property
    def token_endpoint(self) -> str | None:
        return self._endpoint("token_endpoint")

    @property
    def registration_endpoint(self) -> str | None:
        return self._endpoint("registration_endpoint")

    @property
    def revocation_endpoint(self) -> str | None:
        return self._endpoint("revocation_endpoint")

    @property
    def device_authorization_endpoint(self) -> str | None:
        return self._endpoint("device_authorization_endpoint")

    @property
    def code_challenge_methods(self) -> tuple[str, ...] | None:
        """The methods of PKCE; None where none is named."""
        return self._texts("code_challenge_methods_supported") or None

    @property
    def auth_methods(self) -> tuple[str, ...] | None:
        """How clients authenticate at the token endpoint; None where it does not say (then RFC 8414 means basic)."""
        return self._texts("token_endpoint_auth_methods_supported") or None

    @property
    def auth_signing_algs(self) -> tuple[str, ...]:
        """The algorithms of signed client assertions; empty where it does not say."""
        return self._texts("token_endpoint_auth_signing_alg_values_supported") or ()

    @property
    def dpop_algs(self) -> tuple[str, ...]:
        """The algorithms of DPoP proofs; empty: it does not know DPoP."""
        return self._texts("dpop_signing_alg_values_supported") or ()

    @property
    def grant_types(self) -> tuple[str, ...] | None:
        return self._texts("grant_types_supported") or None

    @property
    def scopes(self) -> tuple[str, ...] | None:
        named = self._texts("scopes_supported")
        return None if named is None else scopes.of_list(named)

    @property
    def iss_parameter_supported(self) -> bool:
        """Whether every redirect back carries `iss` (RFC 9207)."""
        return self.document.get("authorization_response_iss_parameter_supported") is True

    @property
    def client_id_metadata_document_supported(self) -> bool:
        return self.document.get("client_id_metadata_document_supported") is True

    def problem(self, name: str) -> str | None:
        """Return why this endpoint cannot be used: a phrase, "it is missing" where there is none; None if it can."""
        url = self.document.get(name)
        if url is None:
            return "it is missing"
        return addresses.endpoint_problem(url, self.issuer if self.guessed and url not in self.known else None)

    def is_known(self, url: str) -> bool:
        """Whether a URL has the origin of one that the user gave: `origin_checked` of a step."""
        return addresses.is_at(url, *self.known)

    def _endpoint(self, name: str) -> str | None:
        found = self.document.get(name)
        return found if isinstance(found, str) and self.problem(name) is None else None

    def _texts(self, name: str) -> tuple[str, ...] | None:
        return _texts(self.document.get(name))


def guessed(origin: str) -> ServerMetadata:
    """Return the default paths of 2025-03-26 at an origin without metadata."""
    paths = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "registration_endpoint": "/register"}
    return ServerMetadata(origin, {name: origin + path for name, path in paths.items()}, guessed=True)


def read(body: bytes) -> Document | None:
    """Return the JSON object of a body; None for anything else."""
    try:
        document = msg.value_of(body.decode("utf-8-sig").strip(" \t\r\n"))
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def read_resource(document: Document) -> Resource | None:
    """Return what a resource says of itself; None where the document cannot be one (`resource` is required)."""
    resource = document.get("resource")
    if not isinstance(resource, str) or not resource:
        return None
    servers = _texts(document.get("authorization_servers")) or ()
    listed = document.get("scopes_supported")
    if isinstance(listed, str):
        return Resource(resource, servers, scopes.split(listed))
    named = _texts(listed)
    return Resource(resource, servers, None if named is None else scopes.of_list(named))


def is_issuer(named: object, asked: str) -> bool:
    """Whether a document's `issuer` is the one that was asked, letter by letter (RFC 8414 section 3.3).

    Two exceptions: an origin alone may have a slash at its end or not, and Entra's placeholder stands for a tenant.
    """
    if not isinstance(named, str):
        return False
    if named == asked:
        return True
    if named.rstrip("/") == asked.rstrip("/") and abs(len(named) - len(asked)) == 1:
        return urlsplit(asked).path in ("", "/")
    return _is_tenant_of(named, asked)


def _is_tenant_of(named: str, asked: str) -> bool:
    parts = urlsplit(asked)
    if parts.scheme != "https" or parts.netloc not in _TENANT_HOSTS or not parts.path.endswith("/v2.0"):
        return False
    return named == f"https://{parts.netloc}/{_TENANT}/v2.0" and parts.path.count("/") == 2


def denotes(resource: str, server_url: str) -> bool:
    """Whether a resource identifier means the server at this URL: the same origin, and a path that its begins with.

    Compared are whole segments; a slash at the end does not count. A query has to be part of the server's.
    """
    try:
        if addresses.place(resource) != addresses.place(server_url):
            return False
        named, ours = urlsplit(resource), urlsplit(server_url)
        if "@" in named.netloc or "#" in resource:
            return False
        prefix, path = _segments(named), _segments(ours)
        if path[: len(prefix)] != prefix:
            return False
        return set(parse_qsl(named.query, keep_blank_values=True)) <= set(parse_qsl(ours.query, keep_blank_values=True))
    except ValueError:
        return False  # what cannot be read denotes nothing


def canonical(server_url: str) -> str:
    """Return the resource identifier of a server that names none: no user, query, fragment or added slash.

    The query stays out as it would be shown to the authorization server, and it may hold a key.
    """
    path = urlsplit(server_url).path
    return str(addresses.place(server_url)) + ("" if path == "/" else quote(path, safe=_UNQUOTED))


def resource_locations(server_url: str) -> tuple[str, ...]:
    """Return where a resource's metadata can be: with the path (and query) of the server's URL, and at its root."""
    parts = urlsplit(server_url)
    root = f"{addresses.place(server_url)}/.well-known/oauth-protected-resource"
    path = quote(parts.path.rstrip("/"), safe=_UNQUOTED)
    query = f"?{quote(parts.query, safe=_UNQUOTED)}" if parts.query else ""
    return tuple(dict.fromkeys((root + path + query, root)))


def server_locations(issuer: str) -> tuple[str, ...]:
    """Return where an issuer's metadata can be, in the order of the specification."""
    origin, path = str(addresses.place(issuer)), urlsplit(issuer).path.rstrip("/")
    inserted = (f"{origin}/.well-known/oauth-authorization-server{path}", f"{origin}/.well-known/openid-configuration")
    if not path:
        return inserted
    return (inserted[0], inserted[1] + path, f"{origin}{path}/.well-known/openid-configuration")


def _segments(parts: SplitResult) -> list[str]:
    return [unquote(segment) for segment in parts.path.rstrip("/").split("/")]


def _texts(value: object) -> tuple[str, ...] | None:
    """Return the texts of a list; None where there is no list."""
    if not isinstance(value, list):
        return None
    return tuple(item for item in value[:_MOST] if isinstance(item, str))
