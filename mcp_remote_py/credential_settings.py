"""Which credentials win: several sources may name the same header, and only one may give it.

The rule: a flag wins over the environment, the environment over the configuration file, said once at the start; two
sources of the same level are an error that names both. Reads files through a function; runs and signs nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import NamedTuple

from mcp_remote_py.core import options
from mcp_remote_py.core.credentials import NOT_TAKEN, Source, bearer_token, claim_value
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.options import Level, Resolved
from mcp_remote_py.settings import (
    BearerCommand,
    BearerFile,
    Credentials,
    HeaderFile,
    Headers,
    MintedJwt,
)

ReadText = Callable[[str], str]
Changing = BearerFile | BearerCommand | MintedJwt
AUTHORIZATION = "authorization"
TOKEN = "MCP_AUTH_TOKEN"  # noqa: S105  the name of the variable
OF_OTHER_TOOLS = ("API_ACCESS_TOKEN", "MCP_AUTH")
"""Variables that other bridges read. They give way to every other source of their level."""
BASIC_PASSWORD = "MCP_REMOTE_PY_BASIC_PASSWORD"  # noqa: S105  as above
_OF_OURS = frozenset([TOKEN, BASIC_PASSWORD, "MCP_REMOTE_PY_HEADER", "MCP_REMOTE_PY_PROXY"])
"""Variables with secrets that are meant for the bridge alone."""
_TIMES = {
    "exp": "--jwt-ttl decides when it expires",
    "iat": "it is the time of signing",
    "jti": "each token gets its own",
}
_NAMED_CLAIMS = (("iss", "jwt_issuer"), ("sub", "jwt_subject"), ("aud", "jwt_audience"))


class Built(NamedTuple):
    """The settings, the secrets in them, and what the user should hear."""

    settings: Credentials
    secrets: tuple[str, ...]
    notes: tuple[str, ...]
    has_token: bool
    """Whether there is, or will be, a bearer token."""


class _Given(NamedTuple):
    """One place that gives one header. `content` is its value, or what makes the value; `in_file` where the value
    stands in the header file, which is read again later; `source` in words; `gives_way` to others of its level."""

    name: str
    level: Level
    where: str
    content: str | Changing
    source: Source | None = None
    in_file: bool = False
    gives_way: bool = False


class _Inputs(NamedTuple):
    resolved: Resolved
    environ: Mapping[str, str]
    read_text: ReadText
    secrets: list[str]
    notes: list[str]

    def text(self, name: str) -> str | None:
        """The value of an option; None where it was not given, or is empty."""
        return self.resolved.values[name] or None

    def where(self, name: str) -> str:
        return self.resolved.origins[name]

    def level(self, name: str) -> Level:
        return self.resolved.levels[name]


def build(resolved: Resolved, environ: Mapping[str, str], read_text: ReadText) -> Built:
    """Choose among all sources. Raises `ConfigError`."""
    inputs = _Inputs(resolved, environ, read_text, [], [])
    in_file, variables = _of_header_file(inputs)
    changing = [*_bearer_file(inputs), *_bearer_command(inputs), *_jwt(inputs)]
    chosen = _choose([*_headers(inputs), *_token(inputs), *_basic(inputs), *changing, *in_file], inputs.notes)
    for given in (*chosen.values(), *in_file):
        if isinstance(given.content, str):
            inputs.secrets.extend((given.content, given.content.partition(" ")[2]))
    authorization = chosen.get(AUTHORIZATION)
    content = authorization.content if authorization else None
    settings = Credentials(
        headers=_pairs(chosen, in_file=False),
        header_file=_header_file(inputs, chosen, variables),
        authorization=content if isinstance(content, Changing) else None,
        source=authorization.source if authorization and not authorization.in_file else None,
    )
    has_token = content is not None and (isinstance(content, Changing) or content.lower().startswith("bearer "))
    secrets = tuple(dict.fromkeys(secret for secret in inputs.secrets if secret))
    return Built(settings, secrets, tuple(inputs.notes), has_token)


def _pairs(chosen: Mapping[str, _Given], *, in_file: bool) -> Headers:
    """Return those whose value is known, in the file or elsewhere."""
    return tuple(
        (given.name, given.content)
        for given in chosen.values()
        if given.in_file is in_file and isinstance(given.content, str)
    )


def _choose(every: list[_Given], notes: list[str]) -> dict[str, _Given]:
    """Return the winner for each header (by its name in lower case)."""
    chosen: dict[str, _Given] = {}
    for given in sorted(every, key=lambda given: (-given.level, given.gives_way)):
        winner = chosen.setdefault(given.name.lower(), given)
        if winner is given:
            continue
        if winner.level is given.level and not given.gives_way:
            raise ConfigError(_contradiction(winner, given))
        notes.append(f"{winner.where} gives the header {given.name}, so {given.where} is not used.")
    notes += [
        f"{TOKEN} is not set, so the token is taken from {given.where}." for given in chosen.values() if given.gives_way
    ]
    return chosen


def _contradiction(one: _Given, other: _Given) -> str:
    if one.where == other.where:
        return f"{one.where} gives the header {one.name} twice. Keep one of them."
    return f"{one.where} and {other.where} both give the header {one.name}. Keep one of them."


# --- Sources whose value is known now --------------------------------------------------------------------------------


def _headers(inputs: _Inputs) -> list[_Given]:
    """Those of all levels: a flag with one header does not take away the file's other ones."""
    where, level = inputs.where("header"), inputs.level("header")
    found = [_header(inputs, level, where, text) for text in inputs.resolved.values["header"] or ()]
    for lower, place, text in inputs.resolved.below["header"]:
        name, _, content = text.partition(":")
        higher = next((one for one in found if one.name.lower() == name.strip().lower() and one.level > lower), None)
        if higher is None:
            found.append(_header(inputs, lower, place, text))
        else:  # nobody asks for its variables, which may not be set
            inputs.secrets.append(content.strip())
            inputs.notes.append(f"{higher.where} gives the header {higher.name}, so {place} is not used.")
    return found


def _header(inputs: _Inputs, level: Level, where: str, text: str) -> _Given:
    inputs.secrets.extend(inputs.environ.get(name, "") for name in options.variables_in(text))
    name, content = options.header(options.expand(text, where, inputs.environ), where)
    inputs.secrets.extend((content, content.partition(" ")[2]))
    return _Given(name, level, where, content, Source(f"the {name} header of {where}", f"{NOT_TAKEN} {_RENEW}"))


_RENEW = "Renew it where it was given, and restart this MCP server in the host."


def _token(inputs: _Inputs) -> list[_Given]:
    text, where = inputs.text("token"), inputs.where("token")
    if text is None:
        return []
    if not text.strip():
        inputs.notes.append(f"{where} is set, but empty: it gives no token.")
        return []
    inputs.secrets.append(text.strip())
    lower: list[_Given] = []  # they cannot win; the notes say so
    for below, place, hidden in inputs.resolved.below["token"]:
        inputs.secrets.append(hidden.strip())
        lower.append(_Given("Authorization", below, place, f"Bearer {hidden.strip()}"))
    try:
        content = f"Bearer {bearer_token(text)}"
    except ValueError as reason:
        raise ConfigError(f"{where}: this is no bearer token: {reason}. {_OTHER_SCHEME}") from None
    source = Source(f"the token from {where}", f"{NOT_TAKEN} {_RENEW}")
    other = where in OF_OTHER_TOOLS
    return [_Given("Authorization", inputs.level("token"), where, content, source, gives_way=other), *lower]


_OTHER_SCHEME = "For another kind of Authorization, write the whole header with --header or in a --header-file."


def _basic(inputs: _Inputs) -> list[_Given]:
    user, where = inputs.resolved.values["basic"], inputs.where("basic")
    if user is None:  # an empty one is a name, too: Azure DevOps takes its tokens as the password of nobody
        _refuse_without(inputs, ("basic_password_env", "basic_password_file"), "--basic USER")
        return []
    if ":" in user:
        raise ConfigError(f"{where}: a user name for HTTP Basic cannot have a colon in it. Give the password apart.")
    password = _basic_password(inputs, where)
    if any(ord(character) < 32 or ord(character) == 127 for character in user + password):
        raise ConfigError(f"{where}: the user name or the password has a control character or a line end in it.")
    inputs.secrets.append(password)
    pair = base64.b64encode(f"{user}:{password}".encode("utf-8", "surrogateescape")).decode("ascii")
    mend = "Check the user name and the password that belongs to it, and restart this MCP server in the host."
    source = Source(f"the user name or the password of {where}", mend)
    return [_Given("Authorization", inputs.level("basic"), where, f"Basic {pair}", source)]


def _basic_password(inputs: _Inputs, where: str) -> str:
    places: list[tuple[Level, str, Callable[[], str]]] = _key_places(inputs, "basic_password")
    if BASIC_PASSWORD in inputs.environ:
        places.append((Level.ENVIRONMENT, BASIC_PASSWORD, lambda: inputs.environ[BASIC_PASSWORD]))
    read = _one_of(places, "the password", inputs.notes)
    if read is None:
        raise ConfigError(
            f"{where} needs a password: set {BASIC_PASSWORD}, or name where it is with --basic-password-env VAR or "
            "--basic-password-file FILE."
        )
    return read[1]()


# --- Sources whose value changes -------------------------------------------------------------------------------------


def _bearer_file(inputs: _Inputs) -> list[_Given]:
    path = inputs.text("bearer_file")
    if path is None:
        return []
    where = f"{inputs.where('bearer_file')} {path}"
    text = _read(inputs, path, where)
    inputs.secrets.append(text.strip())
    source = Source(
        f"the token from {where}",
        f"{NOT_TAKEN} Write a new one into the file; it is read again then.",
    )
    return [_Given("Authorization", inputs.level("bearer_file"), where, BearerFile(path, where, text), source)]


def _bearer_command(inputs: _Inputs) -> list[_Given]:
    argv = inputs.resolved.values["bearer_command"]
    if not argv:
        return []
    where = inputs.where("bearer_command")
    command = BearerCommand(argv, inputs.resolved.values["bearer_command_timeout"], where, _OF_OURS)
    source = Source(
        f"the token from {where}",
        f"The command {argv[0]} printed a token that this server does not take: see whether it signs in as the right "
        "account, and for this server (audience, scope).",
    )
    return [_Given("Authorization", inputs.level("bearer_command"), where, command, source)]


def _jwt(inputs: _Inputs) -> list[_Given]:
    read = _one_of(_key_places(inputs, "jwt_key"), "the key", inputs.notes)
    if read is None:
        _refuse_without(
            inputs,
            ("jwt_alg", "jwt_issuer", "jwt_subject", "jwt_audience", "jwt_claim", "jwt_ttl", "jwt_kid"),
            "--jwt-key-env VAR or --jwt-key-file FILE, the key that signs it",
        )
        return []
    where, key, level = read[0], read[1](), read[2]
    if key.lstrip("\ufeff \r\n\t").startswith("-----BEGIN") and "\n" not in key.strip():
        key = key.replace("\\n", "\n")  # how a PEM text is squeezed into a variable
    if not key.strip():
        raise ConfigError(f"{where}: the key is empty.")
    inputs.secrets.append(key)
    ttl = inputs.resolved.values["jwt_ttl"]
    if ttl < 1:
        raise ConfigError(f"{inputs.where('jwt_ttl')}: a JWT counts in whole seconds. Write at least 1s.")
    minted = MintedJwt(key, inputs.resolved.values["jwt_alg"], _claims(inputs), ttl, inputs.text("jwt_kid"), where)
    source = Source(
        f"the JWT signed with {where}",
        "Compare key, algorithm, issuer, audience and claims with what the server expects, and the clocks of both "
        "machines.",
    )
    return [_Given("Authorization", level, where, minted, source)]


def _claims(inputs: _Inputs) -> tuple[tuple[str, object], ...]:
    """Return the claims that do not change from token to token. A name that is given twice is an error."""
    found: dict[str, object] = {}
    places: dict[str, str] = {}
    for claim, option in _NAMED_CLAIMS:
        text = inputs.text(option)
        if text is not None:
            found[claim], places[claim] = text, inputs.where(option)
    where = inputs.where("jwt_claim")
    for text in inputs.resolved.values["jwt_claim"] or ():
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ConfigError(f"{where}: {name!r} is not written NAME=VALUE, for example role=admin.")
        if name in _TIMES:
            raise ConfigError(f"{where}: the claim {name} is made here: {_TIMES[name]}.")
        if name in found:
            raise ConfigError(f"{places[name]} and {where} both give the claim {name}. Keep one of them.")
        found[name], places[name] = _typed(name, value), where
    return tuple(found.items())


def _typed(name: str, text: str) -> object:
    """Issuer and subject are texts, even where they look like numbers; an audience may be a list of texts."""
    value = claim_value(text)
    if name in ("iss", "sub") or (name == "aud" and not isinstance(value, list)):
        return value if isinstance(value, str) else text
    return value


def _key_places(inputs: _Inputs, name: str) -> list[tuple[Level, str, Callable[[], str]]]:
    """The places that `--NAME-env` and `--NAME-file` name, and how to read each."""
    found: list[tuple[Level, str, Callable[[], str]]] = []
    variable, path = inputs.text(f"{name}_env"), inputs.text(f"{name}_file")
    if variable is not None:
        flag = inputs.where(f"{name}_env")
        found.append((inputs.level(f"{name}_env"), f"{flag} {variable}", lambda: _variable(inputs, variable, flag)))
    if path is not None:
        place = f"{inputs.where(f'{name}_file')} {path}"
        found.append((inputs.level(f"{name}_file"), place, lambda: _without_line_end(_read(inputs, path, place))))
    return found


def _one_of(
    places: list[tuple[Level, str, Callable[[], str]]], what: str, notes: list[str]
) -> tuple[str, Callable[[], str], Level] | None:
    """Return the place of the highest level, how to read it, and its level."""
    if not places:
        return None
    level, where, read = max(places, key=lambda place: place[0])
    for other_level, other, _ in places:
        if other == where:
            continue
        if other_level is level:
            raise ConfigError(f"{where} and {other} both give {what}. Keep one of them.")
        notes.append(f"{where} gives {what}, so {other} is not used.")
    return where, read, level


def _refuse_without(inputs: _Inputs, names: tuple[str, ...], missing: str) -> None:
    for name in names:
        if inputs.level(name) is not Level.DEFAULT:
            raise ConfigError(f"{inputs.where(name)} needs {missing}.")


# --- The header file -------------------------------------------------------------------------------------------------


def _of_header_file(inputs: _Inputs) -> tuple[list[_Given], frozenset[str]]:
    """Return the headers that the file names now, and the variables that it asks for."""
    path = inputs.text("header_file")
    if path is None:
        return [], frozenset()
    where = _place(inputs, path)
    text = _read(inputs, path, where)
    variables = frozenset(options.variables_in(text)) & inputs.environ.keys()
    lines = options.header_lines(text, where, inputs.environ)
    inputs.secrets.extend(inputs.environ[name] for name in variables)
    level = inputs.level("header_file")
    return [_Given(name, level, where, content, in_file=True) for name, content in lines], variables


def _header_file(inputs: _Inputs, chosen: Mapping[str, _Given], variables: frozenset[str]) -> HeaderFile | None:
    path = inputs.text("header_file")
    if path is None:
        return None
    return HeaderFile(
        path,
        without=frozenset(name for name, given in chosen.items() if not given.in_file),
        environ=tuple((name, inputs.environ[name]) for name in sorted(variables)),
        headers=_pairs(chosen, in_file=True),
        where=_place(inputs, path),
    )


def _place(inputs: _Inputs, path: str) -> str:
    return f"{inputs.where('header_file')} {path}"


# --- Small things ----------------------------------------------------------------------------------------------------


def _variable(inputs: _Inputs, name: str, where: str) -> str:
    return options.variable(name, where, inputs.environ)


def _read(inputs: _Inputs, path: str, where: str) -> str:
    try:
        return inputs.read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{where}: cannot be read ({reason}).{options.unexpanded(path)}") from None
    except ValueError:
        raise ConfigError(f"{where}: this is no name of a file.") from None


def _without_line_end(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")
