"""From resolved options, and the head of a file of servers, to the settings. Reads what options name, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http.origins import bare_host
from mcp_remote_py.core.options import Given, Level, Resolved
from server_stub.core.access import Doors
from server_stub.core.addressing import DEFAULT_PATTERN
from server_stub.core.roster import Roster
from server_stub.option_table import OPTIONS, PREFIX, WHAT_TO_SERVE
from server_stub.settings import Auth, Child, Hosting, Jwt, Limits, Logbook, ServeSettings, Timing, check

_LISTS = ("auth_token_env", "admin_token_env", "jwt_alg", "allowed_host", "allowed_origin", "cors_origin")
"""Options whose variable holds several values, separated by commas."""

EXAMPLE = "mcp-remote-server --stdio -- npx -y @modelcontextprotocol/server-everything"


def with_lists(given: Given, environ: Mapping[str, str]) -> Given:
    """Return `given` with the comma-separated variables of options that were not on the command line."""
    found = dict(given)
    for option in OPTIONS:
        if option.name in _LISTS and option.name not in found:
            name = next((name for name in option.variables if environ.get(name)), None)
            pieces = [piece.strip() for piece in environ[name].split(",")] if name else []
            if name and any(pieces):
                found[option.name] = [(name, piece) for piece in pieces if piece]
    return found


class Inputs(NamedTuple):
    """What the outside world gives: the environment, and a function that reads a text file or raises OSError."""

    environ: Mapping[str, str]
    read_text: Callable[[str], str]
    roster: Roster | None = None
    """What the file of servers says, where there is one."""


def of_front(roster: Roster) -> Given:
    """Return what a file of servers, and the `.env` beside it, say about options. Flags and variables win over it."""
    front = roster.front
    said = {
        "host": front.host,
        "port": None if front.port is None else str(front.port),
        "service_name": front.name,
        "public_url": front.base_url,
    }
    found = {name: [(roster.file, text)] for name, text in said.items() if text is not None}
    beside = dict(front.variables)
    for option in OPTIONS:
        name = next((name for name in option.variables if name in beside), None)
        if name is not None:
            found[option.name] = [(f"{name} in .env", beside[name])]
    if front.cors_origins:
        found["cors_origin"] = [(roster.file, text) for text in front.cors_origins]
    return found


def build(command: tuple[str, ...] | None, resolved: Resolved, inputs: Inputs) -> ServeSettings:
    """Make the settings. `command` is what stood behind `--`, None where there was no `--`. Raises `ConfigError`."""
    values = resolved.values
    auth, hidden = _auth(values, inputs)
    own_tokens = auth.tokens
    if inputs.roster is not None:
        auth = auth._replace(tokens=tuple(dict.fromkeys((*auth.tokens, *inputs.roster.front.tokens))))
    admin_tokens = _tokens(values, "admin_token", inputs)
    hidden = (*hidden, *values["admin_token_env"])
    child, handler = _what_to_serve(resolved, command, hidden)
    grace = values["grace"] or 0.0
    if grace > Timing().whole_stop - 2:
        raise ConfigError(f"--grace: a stop takes {Timing().whole_stop:g} s at most, so this can be 7s at most.")
    jwt_secret = auth.jwt.secret if auth.jwt else None
    given = tuple(value for _, value in child.env) if child else ()
    return check(
        ServeSettings(
            host=bare_host(values["host"]),
            port=values["port"],
            doors=Doors(
                hosts=values["allowed_host"],
                origins=values["allowed_origin"],
                cors_origins=values["cors_origin"],
                public_url=values["public_url"],
            ),
            auth=auth,
            allow_unauthenticated=values["allow_unauthenticated"],
            limits=Limits(
                body=values["max_body"], sessions=values["max_sessions"], session_idle=values["session_idle"]
            ),
            timing=Timing(grace=grace),
            stateless=values["stateless"],
            names=values["normalize_names"],
            service_name=values["service_name"],
            log_level=values["log_level"],
            log_file=values["log_file"],
            log_format=values["log_format"],
            child=child,
            handler=handler,
            demo=values["demo"],
            hosting=None
            if inputs.roster is None
            else _hosting(resolved, inputs.roster, own_tokens, admin_tokens, hidden),
            secrets=(
                *auth.tokens,
                *admin_tokens,
                *(inputs.roster.secrets if inputs.roster is not None else ()),
                *((jwt_secret,) if jwt_secret else ()),
                *given,
            ),
        )
    )


def is_hosting(resolved: Resolved) -> bool:
    """Whether a file is to be served. A variable that names one counts where nothing else was asked for."""
    others = any(resolved.values[flag] for flag in WHAT_TO_SERVE if flag != "config")
    return bool(resolved.values["config"]) and (not others or resolved.origins["config"] == "--config")


def _hosting(
    resolved: Resolved,
    roster: Roster,
    own_tokens: tuple[str, ...],
    admin_tokens: tuple[str, ...],
    hidden: tuple[str, ...],
) -> Hosting:
    values = resolved.values
    if values["stdio"] or values["shell"]:
        raise ConfigError("--config names the servers to run. Leave out --stdio and --shell.")
    for name in ("env", "cwd"):
        if resolved.levels[name] is Level.FLAG:
            raise ConfigError(f"--{name} is for one server: in a file of servers each has its own {name!r}.")
    if values["host_pattern"] != DEFAULT_PATTERN and values["domain"] is None:
        raise ConfigError("--host-pattern needs --domain DOMAIN: without one, no server has a host name.")
    return Hosting(
        file=values["config"],
        roster=roster,
        domain=values["domain"],
        host_pattern=values["host_pattern"],
        port_per_server=values["port_per_server"],
        aggregate=values["aggregate"],
        pass_environment=values["pass_environment"],
        own_tokens=own_tokens,
        admin_tokens=admin_tokens,
        logbook=Logbook(
            values["log_dir"],
            values["log_level_system"],
            values["log_level_mcp"],
            values["log_retention_system"],
            values["log_retention_mcp"],
        ),
        hidden_variables=hidden,
    )


def _what_to_serve(
    resolved: Resolved, command: tuple[str, ...] | None, hidden: tuple[str, ...]
) -> tuple[Child | None, str | None]:
    values = resolved.values
    chosen = [flag for flag in WHAT_TO_SERVE if (is_hosting(resolved) if flag == "config" else values[flag])]
    if values["stdio"] and not command:
        raise ConfigError(f"--stdio needs the command behind `--`. Type for example:\n  {EXAMPLE}")
    if command is not None and chosen != ["stdio"]:
        raise ConfigError(f"What stands behind `--` is the command of --stdio. Type for example:\n  {EXAMPLE}")
    if len(chosen) != 1:
        what = " and ".join(f"--{flag}" for flag in chosen) + " were given" if chosen else "Nothing to serve was given"
        raise ConfigError(
            f"{what}: give exactly one of --stdio, --shell, --handler, --demo, --config. Type for example:\n"
            f"  {EXAMPLE}\n  mcp-remote-server --config claude_desktop_config.json\n  mcp-remote-server --demo"
        )
    if not (values["stdio"] or values["shell"]):
        return None, values["handler"]
    child = Child(
        command=command or (),
        shell=values["shell"],
        env=values["env"],
        pass_environment=values["pass_environment"],
        hidden_variables=hidden,
        cwd=values["cwd"],
    )
    return child, None


def _auth(values: dict[str, Any], inputs: Inputs) -> tuple[Auth, tuple[str, ...]]:
    """Return whom to let in, and the names of the variables that hold secrets of ours."""
    tokens = _tokens(values, "auth_token", inputs)
    hidden = [*values["auth_token_env"], *(name for name in inputs.environ if name.startswith(PREFIX))]
    if values["jwt_secret_env"] is not None:
        hidden.append(values["jwt_secret_env"])
    return Auth(tokens, _jwt(values, inputs)), tuple(hidden)


def _tokens(values: dict[str, Any], kind: str, inputs: Inputs) -> tuple[str, ...]:
    """Return the tokens of the two options of a kind (`auth_token`, `admin_token`)."""
    flag = f"--{kind.replace('_', '-')}"
    tokens = [_secret(name, f"{flag}-env", inputs.environ) for name in values[f"{kind}_env"]]
    if values[f"{kind}_file"] is not None:
        tokens.extend(_tokens_in(values[f"{kind}_file"], f"{flag}-file", inputs))
    return tuple(dict.fromkeys(tokens))


def _secret(name: str, flag: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise ConfigError(f"{flag}: the variable {name} is not set, or empty. There is no default token or secret.")
    return value


def _tokens_in(path: str, flag: str, inputs: Inputs) -> list[str]:
    lines = [line.strip() for line in _text_of(path, flag, inputs).splitlines()]
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise ConfigError(f"{flag} {path}: no token is in it. Write one per line.")
    return tokens


def _text_of(path: str, flag: str, inputs: Inputs) -> str:
    try:
        return inputs.read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{flag} {path}: cannot be read ({reason}).") from None


_SECRET_ALGORITHMS = ("HS256", "HS384", "HS512")
_KEY_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


def _jwt(values: dict[str, Any], inputs: Inputs) -> Jwt | None:
    secret_env, key_file = values["jwt_secret_env"], values["jwt_public_key"]
    if secret_env is None and key_file is None:
        for name in ("jwt_alg", "jwt_audience", "jwt_issuer"):
            if values[name]:
                raise ConfigError(f"--{name.replace('_', '-')} needs --jwt-secret-env or --jwt-public-key.")
        return None
    if secret_env is not None and key_file is not None:
        raise ConfigError("--jwt-secret-env and --jwt-public-key contradict each other. Keep one of them.")
    algorithms: tuple[str, ...] = values["jwt_alg"]
    fitting = _SECRET_ALGORITHMS if secret_env is not None else _KEY_ALGORITHMS
    for name in algorithms:
        if name not in fitting:
            kind = "a secret" if secret_env is not None else "a public key"
            raise ConfigError(f"--jwt-alg: {name!r} does not fit: {kind} verifies {', '.join(fitting)}.")
    return Jwt(
        secret=None if secret_env is None else _secret(secret_env, "--jwt-secret-env", inputs.environ),
        public_key=None if key_file is None else _text_of(key_file, "--jwt-public-key", inputs),
        algorithms=algorithms,
        audience=values["jwt_audience"],
        issuer=values["jwt_issuer"],
    )
