"""A small world for flows: an MCP server, its authorization server, a browser. Changed by each test as it needs."""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.oauth import signin
from mcp_remote_py.core.oauth.challenge import Challenge
from mcp_remote_py.core.oauth.preferences import Preferences
from mcp_remote_py.core.oauth.steps import Authorize, Document, Fetch, Fetched, Listen, Sign
from mcp_remote_py.core.oauth.tokens import Grant, Party
from tests.mcp_remote_py.core.oauth.playing import Answer, Knowing, Played, play, said

SERVER = "https://mcp.example.com/mcp"
ISSUER = "https://as.example.com"
RESOURCE_METADATA = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"
SERVER_METADATA = "https://as.example.com/.well-known/oauth-authorization-server"
AUTHORIZE, TOKEN, REGISTER = f"{ISSUER}/authorize", f"{ISSUER}/token", f"{ISSUER}/register"
DEVICE, REVOKE = f"{ISSUER}/device", f"{ISSUER}/revoke"
REDIRECT = "http://localhost:41409/oauth/callback"

_Result = TypeVar("_Result")


def fields(fetch: Fetch) -> dict[str, str]:
    """Return the form of a request. Each name once."""
    pairs = parse_qsl(fetch.body.decode(), keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def asked(url: str) -> dict[str, str]:
    """Return the parameters of an authorization URL. Each name once."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def header(fetch: Fetch, name: str) -> str | None:
    found = [content for known, content in fetch.headers if known.lower() == name.lower()]
    assert len(found) <= 1, found
    return found[0] if found else None


def jwt(**claims: object) -> str:
    """Return something in the form of a JWT, with these claims and no signature."""
    parts = ({"alg": "none"}, claims)
    return ".".join([*(base64.urlsafe_b64encode(msg.encode(part)).decode().rstrip("=") for part in parts), "c2ln"])


class World:
    """What is there, and who answers what. `play` runs a flow in it."""

    def __init__(self) -> None:
        self.knowing = Knowing()
        self.resource: Document = {"resource": SERVER, "authorization_servers": [ISSUER]}
        self.metadata: Document = {
            "issuer": ISSUER,
            "authorization_endpoint": AUTHORIZE,
            "token_endpoint": TOKEN,
            "registration_endpoint": REGISTER,
            "revocation_endpoint": REVOKE,
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
        }
        self.tokens: Document = {"access_token": "at-1", "token_type": "Bearer", "expires_in": 3600}
        self.answers: dict[str, Answer] = {}
        self.kept: dict[str, Document] = {}
        self.redirect_uri = REDIRECT
        self.back: Callable[[Authorize], str | Fault] = self.agreed
        self.signed: list[Sign] = []
        self.cannot_sign: Fault | None = None
        self.registrations = 0

    def agreed(self, step: Authorize) -> str:
        """A person who agrees. What comes back has the state, and no `iss`."""
        return urlencode({"code": "code-1", "state": step.state})

    def play(self, flow: Generator[Any, Any, _Result]) -> Played[_Result]:
        played = play(
            flow,
            {
                RESOURCE_METADATA: said(self.resource),
                SERVER_METADATA: said(self.metadata),
                TOKEN: lambda _: said(self.tokens),
                REGISTER: self._register,
                **self.answers,
            },
            kept=self.kept,
            others={Listen: lambda _: self.redirect_uri, Authorize: self.back, Sign: self._sign},
        )
        self.kept = played.kept
        return played

    def sign_in(
        self,
        preferences: Preferences | None = None,
        *,
        challenge: Challenge | None = None,
        status: int = 401,
        older: Grant | None = None,
    ) -> Played[Grant]:
        """Sign in to the MCP server."""
        wishes = preferences or Preferences()
        return self.play(signin.sign_in(SERVER, challenge, status, wishes, self.knowing.senses, older))

    def _register(self, fetch: Fetch) -> Fetched:
        self.registrations += 1
        uris = msg.value_of(fetch.body.decode()).get("redirect_uris", [])
        return said({"client_id": f"registered-{self.registrations}", "redirect_uris": uris}, 201)

    def _sign(self, step: Sign) -> str | Fault:
        self.signed.append(step)
        return self.cannot_sign or f"{step.key}-{len(self.signed)}"


def opened(played: Played[Any]) -> list[Authorize]:
    """Return where a browser was sent."""
    return [step for step in played.steps if isinstance(step, Authorize)]


def token_requests(played: Played[Any], url: str = TOKEN) -> list[dict[str, str]]:
    return [fields(fetch) for fetch in played.fetches if fetch.url == url]


def a_grant(**changes: Any) -> Grant:
    """Return tokens of an earlier sign-in."""
    known: Mapping[str, Any] = {
        "issuer": ISSUER,
        "resource": SERVER,
        "party": Party("client-1"),
        "token_endpoint": TOKEN,
        "access_token": "at-old",
        "refresh_token": "rt-old",
        "scope": "read write",
        "expires": 1_800_000_100.0,
        "obtained": 1_799_999_000.0,
        "revocation_endpoint": REVOKE,
    }
    return Grant(**{**known, **changes})
