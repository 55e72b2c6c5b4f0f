"""What the options about signing in come to: `settings.SignIn`, checked, with what is secret in it. Starts nothing.

Imported only where one of them is given.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http.origins import is_loopback
from mcp_remote_py.core.oauth import preferences as wishes
from mcp_remote_py.core.oauth.preferences import AUTH_METHODS, Client, Enterprise, Preferences
from mcp_remote_py.core.options import Level, Resolved
from mcp_remote_py.settings import SignIn
from mcp_remote_py.sign_in_options import SIGN_IN_OPTIONS

ReadText = Callable[[str], str]
_FLOW = frozenset(
    ["client_id", "redirect_uri", "response_type", "state", "code_challenge", "code_challenge_method", "scope"]
)
"""What belongs to the flow itself, and so cannot be a parameter of one's own."""


class Built(NamedTuple):
    """The settings, what may never be seen, and what the user should hear."""

    settings: SignIn
    secrets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class _Reader:
    """The options, and how to read what they name. Remembers what is secret."""

    def __init__(self, resolved: Resolved, environ: Mapping[str, str], read_text: ReadText) -> None:
        self._resolved = resolved
        self._environ = environ
        self._read_text = read_text
        self.secrets: list[str] = []

    def value(self, name: str) -> Any:
        return self._resolved.values[name]

    def text(self, name: str) -> str | None:
        """The value; None where it was not given, or is empty."""
        return (self._resolved.values[name] or "").strip() or None

    def where(self, name: str) -> str:
        return self._resolved.origins[name]

    def is_given(self, name: str) -> bool:
        return self._resolved.levels[name] > Level.DEFAULT

    def secret(self, *names: str) -> str | None:
        """Return the secret of the highest of several options: its value, or what the variable or file holds."""
        given = [name for name in names if self.text(name) is not None]
        highest = max((self._resolved.levels[name] for name in given), default=Level.DEFAULT)
        found = [name for name in given if self._resolved.levels[name] is highest]
        if len(found) > 1:
            raise ConfigError(f"{' and '.join(map(self.where, found))} both give the same secret. Keep one of them.")
        return self._secret_of(found[0]) if found else None

    def _secret_of(self, name: str) -> str:
        text, where = self.text(name) or "", self.where(name)
        if name.endswith("_env"):
            text = options.variable(text, where, self._environ)
        elif name.endswith("_file"):
            text = self.file(text, f"{where} {text}").rstrip("\r\n")
        if not text.strip():
            raise ConfigError(f"{where}: the secret is empty.")
        self.secrets.append(text)
        return text

    def file(self, path: str, where: str) -> str:
        try:
            return self._read_text(path)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"{where}: cannot be read ({reason}).{options.unexpanded(path)}") from None
        except ValueError:
            raise ConfigError(f"{where}: this is no name of a file.") from None

    def json(self, name: str) -> dict[str, Any] | None:
        """Return the object of an option in JSON, with its variables replaced; `@FILE` reads it from there."""
        text, where = self.text(name), self.where(name)
        if text is None:
            return None
        if text.startswith("@"):
            text = self.file(os.path.expanduser(text[1:]), f"{where} {text}")
        self.secrets.extend(self._environ.get(variable, "") for variable in options.variables_in(text))
        try:
            found = msg.value_of(text)
        except (ValueError, RecursionError):
            raise ConfigError(f"{where}: this is no JSON.") from None
        if not isinstance(found, dict):
            raise ConfigError(f'{where}: this is no JSON object. Write for example {{"client_id": "..."}}')
        return {key: self._expanded(content, where) for key, content in found.items()}

    def _expanded(self, content: Any, where: str) -> Any:
        return options.expand(content, where, self._environ) if isinstance(content, str) else content

    def url(self, name: str, *, plain: bool = False) -> str | None:
        """Return a URL: https, or http on this machine; `plain`: any http."""
        text, where = self.text(name), self.where(name)
        if text is None:
            return None
        try:
            parts = urllib.parse.urlsplit(text)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            raise ConfigError(f"{where} is no valid URL: check the host and the port.") from None
        if any(character.isspace() or ord(character) < 33 or ord(character) == 127 for character in text):
            raise ConfigError(f"{where} has a blank or a control character in it.")
        if parts.scheme.lower() not in ("https", "http") or not host:
            raise ConfigError(f"{where}: {text!r} is no URL. Write for example https://auth.example.com")
        if parts.scheme.lower() == "http" and not plain and not is_loopback(host):
            raise ConfigError(f"{where}: credentials are sent there, so it must begin with https://")
        return text


def build(resolved: Resolved, environ: Mapping[str, str], read_text: ReadText, *, with_token: bool) -> Built:
    """Return what was said. `with_token`: an `Authorization` is configured, so no sign-in starts.

    Raises `ConfigError`.
    """
    reader = _Reader(resolved, environ, read_text)
    given = [option.name for option in SIGN_IN_OPTIONS if reader.is_given(option.name)]
    settings = _settings(reader)
    notes: tuple[str, ...] = ()
    if reader.where("client_secret") == "--client-secret":
        notes = (
            "--client-secret: others on this machine can see it in the process list. Better: the variable "
            "MCP_REMOTE_PY_CLIENT_SECRET, or --client-secret-file FILE.",
        )
    if with_token and given:
        notes += (f"an Authorization is configured, so nobody signs in: {reader.where(given[0])} has no effect.",)
    return Built(settings, tuple(dict.fromkeys(secret for secret in reader.secrets if secret)), notes)


def _settings(reader: _Reader) -> SignIn:
    path = reader.text("private_key")
    key = None if path is None else reader.file(path, f"{reader.where('private_key')} {path}")
    if key is not None:
        if "-----BEGIN" not in key:
            raise ConfigError(f"{reader.where('private_key')} {path}: this is no key in PEM (-----BEGIN ...).")
        reader.secrets.append(key)
    return SignIn(
        preferences=_preferences(reader, has_key=key is not None),
        browser=not reader.value("no_browser"),
        callback_host=reader.text("callback_host") or "localhost",
        callback_port=reader.value("callback_port"),
        callback_path=_path(reader),
        success_url=reader.url("auth_success_url", plain=True),
        timeout=reader.value("auth_timeout"),
        private_key=key,
        assertion_file=reader.text("assertion_file"),
        token_store=reader.value("token_store"),
        private_hosts=tuple(host.lower() for host in reader.value("allow_private_auth")),
    )


def _preferences(reader: _Reader, *, has_key: bool) -> Preferences:
    grant, where = _grant(reader)
    client = _client(reader, has_key=has_key)
    if grant == wishes.CLIENT_CREDENTIALS and client is None:
        raise ConfigError(f"{where} needs --client-id ID, and --client-secret-env VAR or --private-key FILE.")
    if grant == wishes.ASSERTION and reader.text("assertion_file") is None:
        raise ConfigError(f"{where} needs --assertion-file FILE, the platform's JWT.")
    return Preferences(
        grant=grant,
        client=client,
        client_metadata_url=_metadata_url(reader),
        client_metadata=reader.json("static_oauth_client_metadata"),
        issuer=reader.url("auth_issuer"),
        token_endpoint=reader.url("token_endpoint"),
        scope=None if reader.text("scope") is None else " ".join((reader.text("scope") or "").split()),
        resource=reader.url("resource", plain=True),
        with_resource=not reader.value("no_resource"),
        authorize_params=tuple(
            _parameter(text, reader.where("authorize_param")) for text in reader.value("authorize_param") or ()
        ),
        assume_pkce=reader.value("assume_pkce"),
        with_dpop=not reader.value("no_dpop"),
        use_id_token=reader.value("use_id_token"),
        has_private_key=has_key,
        signing_alg=reader.value("signing_alg"),
        enterprise=_enterprise(reader) if grant == wishes.ENTERPRISE else None,
    )


def _grant(reader: _Reader) -> tuple[str, str]:
    """Return the grant, and what named it."""
    short = {"client_credentials": wishes.CLIENT_CREDENTIALS, "device_code": wishes.DEVICE}
    asked = {reader.where(name): grant for name, grant in short.items() if reader.value(name)}
    if reader.is_given("grant"):
        asked[f"{reader.where('grant')} {reader.value('grant')}"] = reader.value("grant")
    if len(set(asked.values())) > 1:
        raise ConfigError(f"{' and '.join(asked)} contradict each other. Keep one of them.")
    where, grant = next(iter(asked.items()), ("", wishes.CODE))
    return grant, where


def _client(reader: _Reader, *, has_key: bool) -> Client | None:
    info = reader.json("static_oauth_client_info")
    secret = reader.secret("client_secret", "client_secret_env", "client_secret_file")
    client_id, method = reader.text("client_id"), reader.value("token_auth_method")
    if info is not None:
        where = reader.where("static_oauth_client_info")
        if client_id is not None:
            raise ConfigError(f"{reader.where('client_id')} and {where} both name a client. Keep one of them.")
        client_id, theirs = info.get("client_id"), info.get("client_secret")
        if not isinstance(client_id, str) or not client_id:
            raise ConfigError(f'{where} has no "client_id", which is a text.')
        if isinstance(theirs, str) and theirs:
            reader.secrets.append(theirs)
            secret = secret or theirs
        known = info.get("token_endpoint_auth_method")
        method = method or (known if known in AUTH_METHODS else None)
    if client_id is None:
        if secret is not None:
            raise ConfigError("A client secret needs the id that belongs to it: --client-id ID.")
        return None
    uris = (info or {}).get("redirect_uris")
    if method == "private_key_jwt" and not has_key:
        raise ConfigError(f"{reader.where('token_auth_method')}: private_key_jwt needs --private-key FILE.")
    if method in ("client_secret_basic", "client_secret_post") and secret is None:
        raise ConfigError(f"{reader.where('token_auth_method')}: {method} needs --client-secret-env VAR.")
    redirects = tuple(uri for uri in uris if isinstance(uri, str)) if isinstance(uris, list) else ()
    return Client(client_id, secret, method, redirects)


def _enterprise(reader: _Reader) -> Enterprise:
    missing = [
        f"--{name.replace('_', '-')}"
        for name in ("idp_issuer", "idp_client_id", "idp_id_token_env")
        if not reader.text(name)
    ]
    if missing:
        raise ConfigError(f"--grant enterprise-managed needs {' and '.join(missing)}, too.")
    return Enterprise(
        issuer=reader.url("idp_issuer") or "",
        token_endpoint=reader.url("idp_token_endpoint"),
        client_id=reader.text("idp_client_id") or "",
        client_secret=reader.secret("idp_client_secret_env"),
        id_token=reader.secret("idp_id_token_env") or "",
    )


def _metadata_url(reader: _Reader) -> str | None:
    url = reader.url("client_metadata_url")
    if url is not None and not url.lower().startswith("https://"):
        raise ConfigError(f"{reader.where('client_metadata_url')}: such a client id is an https URL (or leave it out).")
    if url is not None and urllib.parse.urlsplit(url).path in ("", "/"):
        raise ConfigError(f"{reader.where('client_metadata_url')}: such a URL has a path, for example /client.json")
    return url


def _parameter(text: str, where: str) -> tuple[str, str]:
    name, equals, content = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise ConfigError(
            f"{where}: {text!r} is no parameter. Write KEY=VALUE, for example audience=https://example.com"
        )
    if name == "resource":
        raise ConfigError(f"{where}: for the resource there is --resource URL, which holds for the token request, too.")
    if name in _FLOW:
        instead = " Use --scope." if name == "scope" else ""
        raise ConfigError(f"{where}: {name} belongs to the sign-in itself and is made for each.{instead}")
    return name, content


def _path(reader: _Reader) -> str:
    path = reader.text("callback_path") or "/oauth/callback"
    path = path if path.startswith("/") else f"/{path}"
    if any(character in "?#\\" or not 32 < ord(character) < 127 for character in path):
        raise ConfigError(f"{reader.where('callback_path')}: {path!r} is no path. Write for example /oauth/callback")
    return path
