"""From resolved options to settings: everything that one option alone does not decide. Reads no environment itself."""

from __future__ import annotations

import os
import sys
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, cast

from mcp_remote_py import credential_settings, surroundings
from mcp_remote_py.arguments import file_name
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http import proxies
from mcp_remote_py.core.http.headers import has
from mcp_remote_py.core.http.origins import is_loopback, named_host
from mcp_remote_py.core.options import Level, Resolved
from mcp_remote_py.option_table import WAYS, is_old_timeout
from mcp_remote_py.settings import (
    Credentials,
    Limits,
    Logging,
    Network,
    Settings,
    Shaping,
    SignIn,
    Strategy,
    Target,
    Timeouts,
    Tls,
    TrustFile,
    Visibility,
)
from mcp_remote_py.sign_in_options import SIGN_IN_OPTIONS

NO_URL = "No URL was given. Write: mcp-remote-py https://example.com/mcp   (or set MCP_REMOTE_URL; --help has the rest)"
MODE, UNVERIFIED = "MCP_MODE", "NODE_TLS_REJECT_UNAUTHORIZED"
MCP_REMOTE_HOME = "MCP_REMOTE_CONFIG_DIR"
"""Where mcp-remote keeps its tokens, which are taken over."""
SCHEMES = ("https", "http", "wss", "ws")
PING_SECONDS = 30.0
HEARTBEAT_SECONDS = 10.0


class Inputs(NamedTuple):
    """What the outside world gives: the environment, a function that reads a text file or raises OSError, and what
    separates the folders of a search path (`os.pathsep`)."""

    environ: Mapping[str, str]
    read_text: Callable[[str], str]
    path_separator: str = ":"


def build(resolved: Resolved, inputs: Inputs) -> Settings:
    """Make the settings. Raises `ConfigError` for whatever cannot work."""
    values, environ = resolved.values, inputs.environ
    notes: list[str] = []
    if not values["url"]:
        raise ConfigError(NO_URL)
    where = resolved.origins["url"]
    strategy, way_from, is_old_websocket = _strategy(resolved, environ)
    url, strategy = _match_scheme(check_url(values["url"], where), strategy, where, way_from)
    _check_plain(url, allow=bool(values["allow_http"]))
    credentials = credential_settings.build(resolved, environ, inputs.read_text)
    ws_auth: Literal["header", "message"] = values["ws_auth"] or "header"
    if is_old_websocket and resolved.levels["ws_auth"] < Level.ENVIRONMENT:
        # without a token there is no first message to send
        ws_auth = "message" if credentials.has_token else "header"
    elif ws_auth == "message" and not credentials.has_token:
        raise ConfigError(f"{resolved.origins['ws_auth']}: message needs a token. Set MCP_AUTH_TOKEN.")
    sign_in, of_sign_in, about_sign_in = _sign_in(resolved, inputs, credentials.settings)
    if is_old_timeout(resolved.texts.get("timeout", "")):
        notes.append(
            f"{resolved.origins['timeout']}: a bare number of 1000 or more is read as milliseconds, "
            f"so this is {values['timeout']:g} s. Write 100s or 2m to be clear."
        )
    if environ.get(UNVERIFIED, "").strip() == "0" and url.startswith(("https:", "wss:")):
        notes.append(f"{UNVERIFIED}=0 has no effect here: certificates are verified. --ca-bundle FILE trusts one more.")
    return Settings(
        target=Target(url, ws_auth),
        strategy=strategy or "http-first",
        credentials=credentials.settings,
        timeouts=_timeouts(resolved),
        tls=_tls(resolved, inputs),
        network=_network(resolved, environ),
        limits=Limits(
            values["max_message_size"], values["max_in_flight"], values["max_header_size"], values["max_depth"]
        ),
        logging=Logging(
            _log_level(resolved), values["log_file"], values["log_format"], values["log_bodies"], values["trace"]
        ),
        shaping=_shaping(values),
        sign_in=sign_in,
        home=values["home"] or _usual_home(environ),
        cache=not values["no_cache"],
        secrets=(
            *credentials.secrets,
            *of_sign_in,
            *surroundings.secrets_of_url(url),
            *_secrets_of_proxies(values, environ),
        ),
        notes=(*notes, *credentials.notes, *about_sign_in),
    )


def _log_level(resolved: Resolved) -> str:
    """The highest level wins; within one, --debug wins over --silent, and that over --log-level."""
    values, levels = resolved.values, resolved.levels
    asked = [(levels[name], word) for name, word in (("debug", "debug"), ("silent", "error")) if values[name]]
    return max([*asked, (levels["log_level"], str(values["log_level"]))], key=lambda pair: pair[0])[1]


def _sign_in(
    resolved: Resolved, inputs: Inputs, credentials: Credentials
) -> tuple[SignIn, tuple[str, ...], tuple[str, ...]]:
    """Return the settings, what is secret in them, and notes."""
    home = os.path.expanduser(inputs.environ.get(MCP_REMOTE_HOME, "") or "~/.mcp-auth")
    if all(resolved.levels[option.name] is Level.DEFAULT for option in SIGN_IN_OPTIONS):
        return SignIn(mcp_remote_home=home), (), ()
    from mcp_remote_py import sign_in_settings

    in_file = credentials.header_file.headers if credentials.header_file else ()
    with_token = credentials.authorization is not None or has((*credentials.headers, *in_file), "authorization")
    built = sign_in_settings.build(resolved, inputs.environ, inputs.read_text, with_token=with_token)
    return built.settings._replace(mcp_remote_home=home), built.secrets, built.notes


def _shaping(values: Mapping[str, Any]) -> Shaping:
    return Shaping(
        tools=Visibility(values["ignore_tool"], values["only_tool"]),
        prompts=Visibility(values["ignore_prompt"], values["only_prompt"]),
        resources=Visibility(values["ignore_resource"], values["only_resource"]),
        read_only=values["read_only"],
        names=values["normalize_names"],
        pins=values["pin_tools"],
        heartbeat=values["heartbeat_interval"] or (HEARTBEAT_SECONDS if values["heartbeat"] else None),
        host_timeout=values["host_timeout"],
        keep_results=values["keep_results"],
        max_result=values["max_result_size"],
    )


def _usual_home(environ: Mapping[str, str]) -> str:
    """Where programs of this operating system keep what they remember; on Windows not in AppData, of which the Claude
    Desktop of the Store shows its children a copy that nobody else sees (docs/decisions/0006-sign-in.md)."""
    if sys.platform == "win32":
        return os.path.join(os.path.expanduser("~"), ".mcp-remote-py")
    if sys.platform == "darwin":
        folder = "~/Library/Application Support"
    else:
        folder = environ.get("XDG_STATE_HOME") or "~/.local/state"
    return os.path.join(os.path.expanduser(folder), "mcp-remote-py")


def _timeouts(resolved: Resolved) -> Timeouts:
    values, levels = resolved.values, resolved.levels
    is_told = levels["ping_interval"] > Level.DEFAULT and levels["ping_interval"] >= levels["keep_alive"]
    ping = values["ping_interval"] if is_told or not values["keep_alive"] else PING_SECONDS
    lower = [options.named_seconds(text, where) for _, where, text in reversed(resolved.below["tool_timeout"])]
    return Timeouts(
        connect=values["connect_timeout"],
        first_byte=values["first_byte_timeout"],
        idle=values["idle_timeout"],
        request=values["timeout"],
        tools=(*lower, *values["tool_timeout"]),
        dead_peer=values["dead_peer_timeout"],
        ping=ping,
        drain=values["drain"] or 0.0,
        hold=values["hold"] or 0.0,
        greet_after=values["greet_after"],
        reuse_idle=values["reuse_idle"] or 0.0,
    )


def check_url(text: str, where: str) -> str:
    """Return the URL without its fragment. Raises `ConfigError` that says what is wrong with it."""
    text = text.strip()
    if any(character.isspace() or ord(character) < 32 or ord(character) == 127 for character in text):
        apart = ' Each option is an entry of its own: "args": ["URL", "--option", "value"].' if " -" in text else ""
        raise ConfigError(f"{where} has a blank or a control character in it.{apart}")
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError:
        raise ConfigError(f"{where} is no valid URL: check the host and the port.") from None
    scheme = parts.scheme.lower()
    if scheme not in SCHEMES:
        if scheme and "://" in text:
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


def _strategy(resolved: Resolved, environ: Mapping[str, str]) -> tuple[Strategy | None, str, bool]:
    """Return what was asked for, None where nothing was; by what; and whether it was MCP_MODE=websocket."""
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
    mode = environ.get(MODE, "").strip().lower()
    if mode and highest < Level.ENVIRONMENT:
        if mode == "websocket":
            return "ws-only", MODE, True
        if mode not in ("remote", "http"):
            from mcp_remote_py import compat

            raise ConfigError(compat.mode(mode))
        asked = (
            {MODE: "http-first"} if asked else {}
        )  # where nothing else was asked, the scheme of the URL may say more
    where, way = next(iter(asked.items()), ("", None))
    return cast("Strategy | None", way), where, False


def _match_scheme(url: str, strategy: Strategy | None, where: str, way_from: str) -> tuple[str, Strategy | None]:
    scheme, rest = url.split(":", 1)
    if scheme in ("ws", "wss"):
        if strategy not in (None, "ws-only"):
            raise ConfigError(f"{where} begins with {scheme}://, which {strategy} ({way_from}) does not speak.")
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


def _tls(resolved: Resolved, inputs: Inputs) -> Tls:
    """Files are only named here; `net.tls.check` tries them."""
    values, origins, environ = resolved.values, resolved.origins, inputs.environ
    trusted = [TrustFile(path, origins["ca_bundle"]) for path in values["ca_bundle"]]
    trusted += [TrustFile(file_name(path, where), where) for _, where, path in resolved.below["ca_bundle"]]  # all add
    trusted += surroundings.trust_files(environ, inputs.path_separator)
    password_variable = values["client_key_password_env"]
    password = None
    if password_variable:
        password = options.variable(password_variable, origins["client_key_password_env"], environ)
    if values["client_key"] and not values["client_cert"]:
        raise ConfigError(f"{origins['client_key']} needs --client-cert, the certificate that belongs to the key.")
    return Tls(
        trusted=tuple(trusted),
        client_cert=values["client_cert"],
        client_key=values["client_key"],
        client_password=password,
        insecure=tuple(_insecure(host, origins["insecure"]) for host in values["insecure"]),
    )


def _insecure(text: str, where: str) -> str:
    try:
        return named_host(text)
    except ValueError:
        raise ConfigError(
            f"{where}: {text!r} is not the name of one host. Write it alone, for example mcp.example.com or "
            "mcp.example.com:8443; there are no patterns."
        ) from None


def _network(resolved: Resolved, environ: Mapping[str, str]) -> Network:
    values = resolved.values
    return Network(
        proxy=proxies.check_setting(values["proxy"], resolved.origins["proxy"]) if values["proxy"] else "system",
        variables=surroundings.proxy_variables(environ),
        redirect_to=tuple(values["allow_redirect_to"]),
        cookies=not values["no_cookies"],
        ipv4=values["ipv4"],
        library=values["http_library"],
    )


def _secrets_of_proxies(values: dict[str, Any], environ: Mapping[str, str]) -> tuple[str, ...]:
    variables = surroundings.proxy_variables(environ)
    return surroundings.secrets_of_proxies((values["proxy"] or "", *(value for _, value in variables)))
