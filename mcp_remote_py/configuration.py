"""From resolved options to settings: everything that one option alone does not decide. Reads no environment itself."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, cast

from mcp_remote_py import credential_settings
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http.origins import bare_host, is_loopback
from mcp_remote_py.core.options import Level, Resolved
from mcp_remote_py.option_table import WAYS, is_old_timeout
from mcp_remote_py.settings import (
    Limits,
    Logging,
    Network,
    Settings,
    Strategy,
    Target,
    Timeouts,
    Tls,
    TrustFile,
)

SCHEMES = ("https", "http", "wss", "ws")
PING_SECONDS = 30.0
_TRUST_VARIABLES = (
    ("NODE_EXTRA_CA_CERTS", False),
    ("SSL_CERT_FILE", False),
    ("SSL_CERT_DIR", True),
    ("REQUESTS_CA_BUNDLE", False),
    ("CURL_CA_BUNDLE", False),
)
"""Variables that name certificates, and whether they name folders. REQUESTS_CA_BUNDLE may name either."""


class Inputs(NamedTuple):
    """What the outside world gives: the environment, a function that reads a text file or raises OSError, and what
    separates the folders of a search path (`os.pathsep`)."""

    environ: Mapping[str, str]
    read_text: Callable[[str], str]
    path_separator: str = ":"


def build(url: str | None, resolved: Resolved, inputs: Inputs) -> Settings:
    """Make the settings. Raises `ConfigError` for whatever cannot work."""
    values, environ = resolved.values, inputs.environ
    notes: list[str] = []
    url, where = _url_and_origin(url, resolved)
    strategy, ws_auth = _strategy(resolved, environ)
    url, strategy = _match_scheme(check_url(url, where), strategy, where)
    _check_plain(url, allow=bool(values["allow_http"]))
    credentials = credential_settings.build(resolved, environ, inputs.read_text)
    if not credentials.has_token and ws_auth == "message":
        raise ConfigError("--ws-auth message needs a token: set MCP_AUTH_TOKEN.")
    if is_old_timeout(resolved.texts.get("timeout", "")):
        notes.append(
            f"{resolved.origins['timeout']}: a bare number of 1000 or more is read as milliseconds, "
            f"so this is {values['timeout']:g} s. Write 100s or 2m to be clear."
        )
    return Settings(
        target=Target(url, ws_auth),
        strategy=strategy or "http-first",
        credentials=credentials.settings,
        timeouts=_timeouts(values),
        tls=_tls(values, inputs),
        network=_network(resolved, environ),
        limits=Limits(values["max_message_size"], values["max_in_flight"]),
        logging=Logging(_log_level(values), values["log_file"], values["log_format"], values["log_bodies"]),
        secrets=(*credentials.secrets, *_secrets_of_url(url), *_secrets_of_proxies(values, environ)),
        notes=(*notes, *credentials.notes),
    )


def _log_level(values: dict[str, Any]) -> str:
    return "debug" if values["debug"] else "error" if values["silent"] else values["log_level"]


def _timeouts(values: dict[str, Any]) -> Timeouts:
    return Timeouts(
        connect=values["connect_timeout"],
        first_byte=values["first_byte_timeout"],
        idle=values["idle_timeout"],
        request=values["timeout"],
        tools=tuple(values["tool_timeout"]),
        dead_peer=values["dead_peer_timeout"],
        ping=values["ping_interval"] or (PING_SECONDS if values["keep_alive"] else None),
        drain=values["drain"] or 0.0,
    )


def _url_and_origin(url: str | None, resolved: Resolved) -> tuple[str, str]:
    if url is not None:
        return url, "the URL"
    if resolved.values["url"]:
        return resolved.values["url"], resolved.origins["url"]
    raise ConfigError(
        "No URL was given. Write: mcp-remote-py https://example.com/mcp   (or set MCP_REMOTE_URL; --help has the rest)"
    )


def check_url(text: str, where: str) -> str:
    """Return the URL without its fragment. Raises `ConfigError` that says what is wrong with it."""
    text = text.strip()
    if any(character.isspace() or ord(character) < 32 or ord(character) == 127 for character in text):
        raise ConfigError(f"{where} has a blank or a control character in it.")
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError:
        raise ConfigError(f"{where} is no valid URL: check the host and the port.") from None
    scheme = parts.scheme.lower()
    if scheme not in SCHEMES:
        if "://" in text:
            suggestion = options.did_you_mean(scheme, SCHEMES)
            raise ConfigError(f"{where}: the scheme {scheme!r} is none of {', '.join(SCHEMES)}.{suggestion}")
        raise ConfigError(f"{where}: {text!r} has no scheme. Write the whole URL, for example https://example.com/mcp")
    if not parts.hostname:
        raise ConfigError(f"{where} has no host.")
    if port == 0:
        raise ConfigError(f"{where} has the port 0, which no server listens on.")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"{where} has a user name or password in it, where others can read it. Pass --basic USER, with the "
            "password in MCP_REMOTE_PY_BASIC_PASSWORD or in a file (--basic-password-file)."
        )
    return urllib.parse.urlunsplit((scheme, parts.netloc, parts.path, parts.query, ""))


def _strategy(resolved: Resolved, environ: Mapping[str, str]) -> tuple[Strategy | None, Literal["header", "message"]]:
    """Return what was asked for, None where nothing was, and how a WebSocket server gets the token."""
    values, origins, levels = resolved.values, resolved.origins, resolved.levels
    spoken: list[tuple[Level, str, str]] = [
        (levels[name], origins[name], name.replace("_", "-"))
        for name in ("http_only", "sse_only", "ws_only")
        if values[name]
    ]
    if values["transport"] is not None:
        spoken.append((levels["transport"], origins["transport"], WAYS[values["transport"]]))
    highest = max((level for level, _, _ in spoken), default=Level.DEFAULT)
    asked = {where: way for level, where, way in spoken if level is highest}
    if len(set(asked.values())) > 1:
        raise ConfigError(f"{' and '.join(asked)} contradict each other. Keep one of them.")
    ws_auth = values["ws_auth"]
    mode = environ.get("MCP_MODE", "")
    if highest < Level.ENVIRONMENT and mode:
        if mode == "websocket":
            asked = {"MCP_MODE": "ws-only"}
            if environ.get("MCP_AUTH_TOKEN", "").strip():  # without a token there is no first message to send
                ws_auth = ws_auth or "message"
        elif mode in ("remote", "http"):
            asked = {"MCP_MODE": "http-first"}
        else:
            raise ConfigError(
                f"MCP_MODE: {mode!r} is not a way to reach a server. Write websocket, http or remote; "
                "to run a server, use mcp-remote-server."
            )
    way = next(iter(asked.values()), None)
    return cast("Strategy | None", way), ws_auth or "header"


def _match_scheme(url: str, strategy: Strategy | None, where: str) -> tuple[str, Strategy | None]:
    scheme, rest = url.split(":", 1)
    if scheme in ("ws", "wss"):
        if strategy not in (None, "ws-only"):
            raise ConfigError(f"{where} begins with {scheme}://, which --transport {strategy} does not speak.")
        return url, "ws-only"
    if strategy == "ws-only":
        return {"http": "ws", "https": "wss"}[scheme] + ":" + rest, strategy
    return url, strategy


def _check_plain(url: str, *, allow: bool) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme in ("http", "ws") and not allow and not is_loopback(parts.hostname or ""):
        secure = {"http": "https", "ws": "wss"}[parts.scheme]
        raise ConfigError(
            f"{parts.scheme}://{parts.hostname} is not encrypted: anyone on the way could read the token and the data. "
            f"Use {secure}://, or pass --allow-http if you trust the network."
        )


def _tls(values: dict[str, Any], inputs: Inputs) -> Tls:
    """Files are only named here; `net.tls.check` tries them."""
    environ = inputs.environ
    trusted = [TrustFile(path, "--ca-bundle") for path in values["ca_bundle"]]
    for name, is_folder in _TRUST_VARIABLES:
        text = environ.get(name, "")
        paths = text.split(inputs.path_separator) if is_folder else [text]
        trusted += [TrustFile(path, name, is_folder) for path in paths if path]
    password_variable = values["client_key_password_env"]
    if password_variable and password_variable not in environ:
        raise ConfigError(f"--client-key-password-env: the variable {password_variable} is not set.")
    if values["client_key"] and not values["client_cert"]:
        raise ConfigError("--client-key needs --client-cert, the certificate that belongs to the key.")
    return Tls(
        trusted=tuple(trusted),
        client_cert=values["client_cert"],
        client_key=values["client_key"],
        client_password=environ[password_variable] if password_variable else None,
        insecure=tuple(bare_host(host) for host in values["insecure"]),
    )


def _network(resolved: Resolved, environ: Mapping[str, str]) -> Network:
    values = resolved.values
    return Network(
        proxy=values["proxy"] or "system",
        variables=_proxy_variables(environ),
        redirect_to=tuple(values["allow_redirect_to"]),
        cookies=not values["no_cookies"],
        ipv4=values["ipv4"],
    )


def _proxy_variables(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Both cases count, the lower one wins. In a CGI program HTTP_PROXY is what a client sent (httpoxy): not read."""
    found: dict[str, str] = {}
    for kind in ("https", "http", "all", "no"):
        upper = "" if kind == "http" and "REQUEST_METHOD" in environ else environ.get(f"{kind.upper()}_PROXY", "")
        text = environ.get(f"{kind}_proxy", "") or upper
        if text.strip():
            found[kind] = text.strip()
    return tuple(found.items())


def _secrets_of_url(url: str) -> tuple[str, ...]:
    """What stands in the query of the URL counts as secret."""
    return tuple(content for _, content in urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))


def _secrets_of_proxies(values: dict[str, Any], environ: Mapping[str, str]) -> tuple[str, ...]:
    found: list[str] = []
    for text in (values["proxy"] or "", *(value for _, value in _proxy_variables(environ))):
        userinfo = text.rpartition("@")[0].rpartition("//")[2]
        if userinfo:
            password = userinfo.partition(":")[2]
            found += [userinfo, urllib.parse.unquote(userinfo), password, urllib.parse.unquote(password)]
    return tuple(secret for secret in found if secret)
