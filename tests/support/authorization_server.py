"""One fake authorization server, whose `dialect` says like whom it behaves. It counts and remembers every request.

A test changes its ways with `instead` (another answer of an endpoint, by the endpoint's name) and `edits` (what is
changed in a document before it is sent). The endpoints' names: metadata, register, authorize, consent, token, revoke,
device, verify, idp. The document of the redirect back to the client is called `redirect`.

It keeps the rules that a client has to keep as well: PKCE, redirect URIs, client authentication, one use of a code,
rotation that revokes the whole family when a refresh token comes twice.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import itertools
import json
import secrets
import time
import urllib.parse
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from aiohttp import web
from joserfc.jwk import ECKey, OctKey, RSAKey

from tests.support.dialects import Dialect
from tests.support.jwt_checks import Refused, check_assertion, check_proof, claims_of, header_of, signed

CODE_GRANT, REFRESH_GRANT = "authorization_code", "refresh_token"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
CLIENT_GRANT = "client_credentials"
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
AADSTS = (
    "AADSTS9010010: The resource parameter provided in the request doesn't match with the requested scopes. "
    "Trace ID: 0 Correlation ID: 0"
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Document = dict[str, Any]


class Asked(NamedTuple):
    """One request that came in. `what` is the endpoint's name, `place` the origin's: `mcp`, `auth` or `elsewhere`."""

    what: str
    place: str
    method: str
    path: str
    query: dict[str, str]
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(self.body.decode(), keep_blank_values=True))

    def header(self, name: str) -> str | None:
        return next((value for given, value in self.headers if given.lower() == name.lower()), None)


class Registered(NamedTuple):
    """A client. `method` None: whatever the server takes."""

    client_id: str
    secret: str | None = None
    method: str | None = None
    redirect_uris: tuple[str, ...] = ()
    key: ECKey | RSAKey | None = None


class Permission(NamedTuple):
    """What somebody agreed to. All tokens that come of it are one `family`."""

    family: int
    client_id: str
    scope: str
    resource: str | None
    redirect_uri: str = ""
    challenge: str = ""
    renewable: bool = True


class Access(NamedTuple):
    permission: Permission
    expires: float
    thumbprint: str | None
    """Of the key that its holder has to show (DPoP)."""


class Trouble(Exception):
    """An OAuth error."""

    def __init__(self, error: str, description: str = "", status: int = 400) -> None:
        super().__init__(f"{error} {description}")
        self.error = error
        self.description = description
        self.status = status


class AuthorizationServer:
    """See the module's text. `origins` is filled in by whoever makes it listen."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.origins: dict[str, str] = {}
        self.asked: list[Asked] = []
        self.instead: dict[str, Handler] = {}
        self.edits: dict[str, Callable[[Document], Document]] = {}
        self.clients: dict[str, Registered] = {}
        self.lifetime = 3600.0
        self.asks_for_consent = True
        """Whether a page with a button stands between the authorization URL and the redirect."""
        self.device_polls = 2
        """So many polls are answered with authorization_pending; below zero: nobody ever agrees."""
        self.nonce: str | None = None
        """The nonce that DPoP proofs have to carry here."""
        self.assertion_key = OctKey.generate_key(256)
        """The key of the company's identity provider and of the workload platform."""
        self.secrets: set[str] = set()
        """All that may never be seen in a log."""
        self.troubles: list[str] = []
        """Every OAuth error that was answered."""
        self.access: dict[str, Access] = {}
        self.refresh: dict[str, Permission] = {}
        self.spent: set[str] = set()
        """Refresh tokens that were used."""
        self.revoked: set[int] = set()
        """Families that are good for nothing any more."""
        self.changed = asyncio.Condition()
        self._codes: dict[str, Permission] = {}
        self._devices: dict[str, Permission] = {}
        self._requests: dict[str, dict[str, str]] = {}
        self._families = itertools.count(1)
        self._jtis: set[str] = set()

    # --- What tests ask and do ---

    @property
    def issuer(self) -> str:
        return f"{self.origins[self._home]}{self.dialect.issuer_path}{'/' if self.dialect.issuer_slash else ''}"

    @property
    def _home(self) -> str:
        return "mcp" if self.dialect.same_origin else "auth"

    def counts(self) -> Counter[str]:
        return Counter(asked.what for asked in self.asked)

    def of(self, what: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.what == what]

    def grants(self, grant: str) -> list[Asked]:
        """The token requests of one grant type."""
        return [asked for asked in self.of("token") if asked.form.get("grant_type") == grant]

    async def until(self, done: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait until a request has made this true."""
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(done)

    def register(self, client_id: str, secret: str | None = None, **fields: Any) -> Registered:
        """Make a client known by hand."""
        client = Registered(client_id, secret, **fields)
        self.clients[client_id] = client
        if secret is not None:
            self.secrets.add(secret)
        return client

    def permit(self, client_id: str, resource: str | None = None, scope: str = "") -> Permission:
        """Have somebody agree without any sign-in."""
        return Permission(next(self._families), client_id, scope, resource)

    def tokens_of(self, permission: Permission) -> Document:
        """Give tokens without any sign-in."""
        return self._tokens(permission, {}, None)

    def expire_access(self) -> None:
        """Make all access tokens bad, as if their time were over."""
        self.access.clear()

    def revoke_everything(self) -> None:
        self.revoked |= {permission.family for permission in self.refresh.values()}
        self.expire_access()

    def id_token(self, client_id: str, subject: str = "somebody") -> str:
        """What the company's identity provider gave at its own sign-in."""
        return self._jwt({"iss": self.idp, "aud": client_id, "sub": subject})

    def workload_token(self, audience: str | None = None, seconds: float = 300) -> str:
        """What a platform gives a workload."""
        claims = {"iss": "https://platform.example", "sub": "job", "aud": audience or self.issuer}
        return self._jwt(claims, seconds)

    @property
    def idp(self) -> str:
        return f"{self.origins['elsewhere']}/idp"

    def _jwt(self, claims: Document, seconds: float = 300, **header: str) -> str:
        now = int(time.time())
        whole = {"iat": now, "exp": now + seconds, "jti": secrets.token_hex(8), **claims}
        return self._secret(signed(whole, self.assertion_key, "HS256", **header))

    def _secret(self, text: str) -> str:
        self.secrets.add(text)
        return text

    # --- Routes ---

    def routes(self) -> dict[tuple[str, str], tuple[str, Handler]]:
        """Return (place, path) -> endpoint name and handler."""
        dialect, home = self.dialect, self._home
        tokens = "elsewhere" if dialect.token_elsewhere else home
        table: dict[tuple[str, str], tuple[str, Handler]] = {
            (home, dialect.authorize): ("authorize", self.authorize),
            (home, "/consent"): ("consent", self.consent),
            (tokens, dialect.token): ("token", self.token),
            (home, "/verify"): ("verify", self.verify),
            ("elsewhere", "/idp/token"): ("idp", self.identity_provider),
        }
        for what, path, place, handler in (
            ("register", dialect.register, home, self.registration),
            ("revoke", dialect.revoke, tokens, self.revocation),
            ("device", dialect.device, tokens, self.device),
        ):
            if path is not None:
                table[place, path] = (what, handler)
        places = {
            "oauth": f"/.well-known/oauth-authorization-server{dialect.issuer_path}",
            "oidc": f"{dialect.issuer_path}/.well-known/openid-configuration",
            "oidc-inserted": f"/.well-known/openid-configuration{dialect.issuer_path}",
        }
        for kind in dialect.documents:
            table[home, places[kind]] = ("metadata", self.metadata)
        return table

    def _answer(self, document: Document, status: int = 200) -> web.Response:
        headers = {"Cache-Control": "no-store"}
        if self.dialect.form_answers:
            text = urllib.parse.urlencode({name: value for name, value in document.items() if value is not None})
            return web.Response(
                text=text, content_type="application/x-www-form-urlencoded", status=status, headers=headers
            )
        return web.json_response(document, status=status, headers=headers)

    def _edited(self, what: str, document: Document) -> Document:
        edit = self.edits.get(what)
        return document if edit is None else edit(document)

    # --- Metadata and registration ---

    async def metadata(self, _: web.Request) -> web.Response:
        dialect, home = self.dialect, self.origins[self._home]
        tokens = self.origins["elsewhere" if dialect.token_elsewhere else self._home]
        found = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{home}{dialect.authorize}",
            "token_endpoint": f"{tokens}{dialect.token}",
            "registration_endpoint": None if dialect.register is None else f"{home}{dialect.register}",
            "revocation_endpoint": None if dialect.revoke is None else f"{tokens}{dialect.revoke}",
            "device_authorization_endpoint": None if dialect.device is None else f"{tokens}{dialect.device}",
            "response_types_supported": ["code"],
            "grant_types_supported": [CODE_GRANT, REFRESH_GRANT, DEVICE_GRANT, CLIENT_GRANT, JWT_GRANT],
            "code_challenge_methods_supported": dialect.challenge_methods,
            "token_endpoint_auth_methods_supported": dialect.auth_methods,
            "token_endpoint_auth_signing_alg_values_supported": ["ES256", "RS256"],
            "authorization_response_iss_parameter_supported": True if dialect.iss else None,
            "scopes_supported": dialect.scopes,
            "dpop_signing_alg_values_supported": dialect.dpop,
            "client_id_metadata_document_supported": True if dialect.client_documents else None,
        }
        return web.json_response(self._edited("metadata", {k: v for k, v in found.items() if v is not None}))

    async def registration(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        number = len(self.clients) + 1
        method = wanted.get("token_endpoint_auth_method", "client_secret_basic")
        if self.dialect.gives_secret and method == "none":
            method = "client_secret_basic"
        secret = None if method in ("none", "private_key_jwt") else f"client-secret-{secrets.token_hex(12)}/+="
        uris = tuple(wanted.get("redirect_uris", []))
        client = self.register(f"client {number}:+/%", secret, method=method, redirect_uris=uris)
        answer = {
            **wanted,
            "client_id": client.client_id,
            "client_id_issued_at": int(time.time()),
            "token_endpoint_auth_method": method,
        }
        if secret is not None:
            answer |= {"client_secret": secret, "client_secret_expires_at": 0}
        return web.json_response(self._edited("register", answer), status=201)

    # --- The browser's side ---

    async def authorize(self, request: web.Request) -> web.Response:
        given = dict(request.query)
        client = self._known(given.get("client_id", ""), given.get("redirect_uri", ""))
        if client is None or not self._fits(client, given.get("redirect_uri", "")):
            return web.Response(status=400, text="unknown client or redirect URI")
        wrong = self._wrong_request(given)
        if wrong is not None:
            return self._back(given, {"error": wrong[0], "error_description": wrong[1]})
        if not self.asks_for_consent:
            return self._agreed(given)
        number = secrets.token_hex(8)
        self._requests[number] = given
        return web.Response(
            text=_CONSENT.format(number=number, who=html.escape(client.client_id)), content_type="text/html"
        )

    def _wrong_request(self, given: dict[str, str]) -> tuple[str, str] | None:
        if given.get("response_type") != "code":
            return "unsupported_response_type", "only code"
        if given.get("code_challenge_method") != "S256" or len(given.get("code_challenge", "")) != 43:
            return "invalid_request", "PKCE with S256 is needed"
        if self.dialect.refuses_resource == "authorize" and "resource" in given:
            return "invalid_target", AADSTS
        return None

    def _known(self, client_id: str, redirect_uri: str) -> Registered | None:
        if self.dialect.client_documents and client_id.startswith("https://"):
            return Registered(client_id, None, "none", (redirect_uri,))
        return self.clients.get(client_id)

    def _fits(self, client: Registered, uri: str) -> bool:
        if self.dialect.loopback_ports:
            return _without_port(uri) in map(_without_port, client.redirect_uris)
        return uri in client.redirect_uris

    async def consent(self, request: web.Request) -> web.Response:
        form = await request.post()
        given = self._requests.pop(str(form.get("request", "")), None)
        if given is None:
            return web.Response(status=400, text="no such request")
        if form.get("decision") != "allow":
            return self._back(given, {"error": "access_denied", "error_description": "the person said no"})
        return self._agreed(given)

    def _agreed(self, given: dict[str, str]) -> web.Response:
        code = self._secret(f"code-{secrets.token_urlsafe(24)}")
        self._codes[code] = self._permission(given, given["client_id"], given["redirect_uri"], given["code_challenge"])
        return self._back(given, {"code": code})

    def _permission(
        self, given: dict[str, str], client_id: str, redirect_uri: str = "", challenge: str = ""
    ) -> Permission:
        wants = self.dialect.refresh_wants
        renewable = self.dialect.refresh != "never"
        if wants is not None and "=" in wants:
            name, _, value = wants.partition("=")
            renewable = renewable and given.get(name) == value
        elif wants is not None:
            renewable = renewable and wants in given.get("scope", "").split()
        return Permission(
            next(self._families),
            client_id,
            given.get("scope", ""),
            given.get("resource"),
            redirect_uri,
            challenge,
            renewable,
        )

    def _back(self, given: dict[str, str], parameters: Document) -> web.Response:
        whole = {**parameters, "state": given.get("state")}
        if self.dialect.iss:
            whole["iss"] = self.issuer
        whole = {name: value for name, value in self._edited("redirect", whole).items() if value is not None}
        separator = "&" if "?" in given["redirect_uri"] else "?"
        return web.Response(
            status=302, headers={"Location": f"{given['redirect_uri']}{separator}{urllib.parse.urlencode(whole)}"}
        )

    # --- The token endpoint ---

    async def token(self, request: web.Request) -> web.Response:
        form = dict(urllib.parse.parse_qsl((await request.read()).decode(), keep_blank_values=True))
        self.secrets |= {form[name] for name in ("code_verifier", "client_assertion", "assertion") if name in form}
        try:
            thumbprint = self._proof(request)
            client = self._client(request, form)
            permission = self._granted(form, client)
            return self._answer(self._edited("token", self._tokens(permission, form, thumbprint)))
        except Trouble as trouble:
            return self._troubled(trouble)

    def _troubled(self, trouble: Trouble) -> web.Response:
        self.troubles.append(str(trouble))
        document: Document = {"error": trouble.error, "error_description": trouble.description}
        answer = self._answer(document, 200 if self.dialect.errors_with_200 else trouble.status)
        if trouble.error == "use_dpop_nonce" and self.nonce is not None:
            answer.headers["DPoP-Nonce"] = self.nonce
        return answer

    def _proof(self, request: web.Request) -> str | None:
        proofs = request.headers.getall("DPoP", [])
        if not proofs or self.dialect.dpop is None:
            return None
        url = f"{request.scheme}://{request.host}{request.path}"
        try:
            return check_proof(proofs, "POST", url, token=None, nonce=self.nonce, seen=self._jtis)
        except Refused as refused:
            raise Trouble(
                "use_dpop_nonce" if str(refused) == "use_dpop_nonce" else "invalid_dpop_proof", str(refused)
            ) from None

    def _client(self, request: web.Request, form: dict[str, str]) -> Registered:
        """Return the authenticated client."""
        authorization = request.headers.get("Authorization", "")
        method, client_id, secret = "none", form.get("client_id", ""), None
        if authorization.startswith("Basic "):
            pair = base64.b64decode(authorization[6:]).decode().partition(":")
            method, client_id, secret = "client_secret_basic", *map(urllib.parse.unquote_plus, (pair[0], pair[2]))
        elif "client_secret" in form:
            method, secret = "client_secret_post", form["client_secret"]
        elif "client_assertion" in form:
            method = "private_key_jwt"
            client_id = client_id or _unverified_subject(form["client_assertion"])
        if authorization and "client_secret" in form:
            raise Trouble("invalid_request", "two ways of authentication")
        client = self._known(client_id, form.get("redirect_uri", ""))
        if client is None:
            raise Trouble("invalid_client", "no such client", 401)
        self._authenticated(client, method, secret, form)
        return client

    def _authenticated(self, client: Registered, method: str, secret: str | None, form: dict[str, str]) -> None:
        if client.method not in (None, method):
            raise Trouble("invalid_client", f"{method} instead of {client.method}", 401)
        if method == "private_key_jwt":
            if client.key is None:
                raise Trouble("invalid_client", "no key is known", 401)
            try:
                check_assertion(form, client.client_id, client.key, self.issuer, self._jtis)
            except Refused as refused:
                raise Trouble("invalid_client", str(refused), 401) from None
        elif secret != client.secret:
            raise Trouble("invalid_client", "wrong secret", 401)

    def _granted(self, form: dict[str, str], client: Registered) -> Permission:
        if self.dialect.refuses_resource == "token" and "resource" in form:
            raise Trouble("invalid_target", AADSTS)
        grant = form.get("grant_type")
        if grant == CODE_GRANT:
            return self._by_code(form, client)
        if grant == REFRESH_GRANT:
            return self._by_refresh(form, client)
        if grant == DEVICE_GRANT:
            return self._by_device(form)
        if grant == CLIENT_GRANT and client.method != "none":
            return self._permission(form, client.client_id)._replace(renewable=False)
        if grant == JWT_GRANT:
            return self._by_assertion(form, client)
        raise Trouble("unsupported_grant_type", str(grant))

    def _by_code(self, form: dict[str, str], client: Registered) -> Permission:
        permission = self._codes.pop(form.get("code", ""), None)
        verifier = form.get("code_verifier", "")
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if permission is None or permission.client_id != client.client_id:
            raise Trouble("bad_verification_code" if self.dialect.errors_with_200 else "invalid_grant", "code")
        if permission.redirect_uri != form.get("redirect_uri"):
            raise Trouble("invalid_grant", "redirect_uri")
        if permission.challenge != digest or not 43 <= len(verifier) <= 128:
            raise Trouble("invalid_grant", "code_verifier")
        if permission.resource != form.get("resource") and self.dialect.refuses_resource is None:
            raise Trouble("invalid_target", "not the resource of the authorization request")
        return permission

    def _by_refresh(self, form: dict[str, str], client: Registered) -> Permission:
        token = form.get("refresh_token", "")
        permission = self.refresh.get(token)
        if permission is None or permission.client_id != client.client_id or permission.family in self.revoked:
            raise Trouble("invalid_grant", "refresh token")
        if self.dialect.refresh == "rotates":
            if token in self.spent:
                self.revoked.add(permission.family)
                raise Trouble("invalid_grant", "a refresh token came twice: the family is revoked")
            self.spent.add(token)
        if form.get("resource") != permission.resource:
            raise Trouble("invalid_target", "another resource")
        return permission

    def _by_device(self, form: dict[str, str]) -> Permission:
        permission = self._devices.get(form.get("device_code", ""))
        if permission is None:
            raise Trouble("expired_token", "device code")
        if self.device_polls != 0:
            self.device_polls -= 1
            raise Trouble("authorization_pending")
        return self._devices.pop(form["device_code"])

    def _by_assertion(self, form: dict[str, str], client: Registered) -> Permission:
        try:
            claims = claims_of(form.get("assertion", ""), self.assertion_key, ["HS256"])
            kind = header_of(form["assertion"]).get("typ")
        except Refused as refused:
            raise Trouble("invalid_grant", str(refused)) from None
        if claims.get("aud") != self.issuer or claims.get("exp", 0) < time.time():
            raise Trouble("invalid_grant", "audience or expiry")
        if kind == "oauth-id-jag+jwt" and claims.get("client_id") != client.client_id:
            raise Trouble("invalid_grant", "another client")
        resource = claims.get("resource") if kind == "oauth-id-jag+jwt" else form.get("resource")
        permission = self._permission(form, client.client_id)
        return permission._replace(resource=resource, renewable=False)

    def _tokens(self, permission: Permission, form: dict[str, str], thumbprint: str | None) -> Document:
        dialect = self.dialect
        access = self._secret(f"access-{secrets.token_urlsafe(30)}")
        bearer = access
        document: Document = {"access_token": access, "token_type": "Bearer" if thumbprint is None else "DPoP"}
        if dialect.bearer_is_id_token or "openid" in permission.scope.split():
            document["id_token"] = self._jwt({"iss": self.issuer, "sub": "somebody", "aud": permission.client_id})
            bearer = document["id_token"] if dialect.bearer_is_id_token else access
        self.access[bearer] = Access(permission, time.time() + self.lifetime, thumbprint)
        if dialect.expires_in:
            seconds = int(self.lifetime)
            document["expires_in"] = str(seconds) if dialect.expires_as_text else seconds
        if permission.scope and form.get("grant_type") != REFRESH_GRANT:
            document["scope"] = permission.scope
        if permission.renewable and (form.get("grant_type") != REFRESH_GRANT or dialect.refresh == "rotates"):
            document["refresh_token"] = self._secret(f"refresh-{secrets.token_urlsafe(30)}")
            self.refresh[document["refresh_token"]] = permission
        return document

    # --- The other endpoints ---

    async def revocation(self, request: web.Request) -> web.Response:
        form = dict(urllib.parse.parse_qsl((await request.read()).decode()))
        try:
            self._client(request, form)
        except Trouble as trouble:
            return self._troubled(trouble)
        token = form.get("token", "")
        permission = self.refresh.get(token) or (self.access[token].permission if token in self.access else None)
        if permission is not None:
            self.revoked.add(permission.family)
        return web.Response(status=200)

    async def device(self, request: web.Request) -> web.Response:
        form = dict(urllib.parse.parse_qsl((await request.read()).decode()))
        client = self._known(form.get("client_id", ""), "")
        if client is None:
            return self._troubled(Trouble("invalid_client", "no such client", 401))
        code = self._secret(f"device-{secrets.token_urlsafe(24)}")
        self._devices[code] = self._permission(form, client.client_id)
        page = f"{self.origins[self._home]}/verify"
        answer: Document = {
            "device_code": code,
            "user_code": "WDJB-MJHT",
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code=WDJB-MJHT",
            "expires_in": 300,
            "interval": 1,
        }
        return self._answer(self._edited("device", answer))

    async def verify(self, _: web.Request) -> web.Response:
        """The page where a person enters the user code: whoever opens it agrees."""
        self.device_polls = 0
        return web.Response(text="The device is signed in.")

    async def identity_provider(self, request: web.Request) -> web.Response:
        """The token exchange of the company's identity provider, for an ID-JAG."""
        form = dict(urllib.parse.parse_qsl((await request.read()).decode()))
        try:
            claims = claims_of(form.get("subject_token", ""), self.assertion_key, ["HS256"])
        except Refused:
            return self._troubled(Trouble("invalid_grant", "subject_token"))
        wanted = {
            "grant_type": EXCHANGE_GRANT,
            "requested_token_type": ID_JAG,
            "subject_token_type": ID_TOKEN,
            "audience": self.issuer,
        }
        wrong = [name for name, value in wanted.items() if form.get(name) != value]
        if wrong or "resource" not in form or claims.get("iss") != self.idp:
            return self._troubled(Trouble("invalid_request", " ".join(wrong)))
        party = next((client for client in self.clients.values() if client.client_id != claims["aud"]), None)
        granted: Document = {
            "iss": self.idp,
            "sub": claims["sub"],
            "aud": self.issuer,
            "resource": form["resource"],
            "client_id": "" if party is None else party.client_id,
        }
        token = self._jwt(granted, typ="oauth-id-jag+jwt")
        return web.json_response({"access_token": token, "issued_token_type": ID_JAG, "token_type": "N_A"})


def _without_port(uri: str) -> str:
    parts = urllib.parse.urlsplit(uri)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"


def _unverified_subject(token: str) -> str:
    try:
        raw = token.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))["sub"])
    except (IndexError, ValueError, KeyError):
        return ""


_CONSENT = """<!doctype html>
<title>Sign in</title>
<h1>Allow {who}?</h1>
<form method="post" action="/consent">
<input type="hidden" name="request" value="{number}">
<button name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button>
</form>
"""
