"""Which source gives which header: every pair of sources at every pair of levels, and each source by itself."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest

from mcp_remote_py.arguments import read_text
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.credential_settings import Built, build
from mcp_remote_py.option_table import OPTIONS
from mcp_remote_py.settings import BearerCommand, BearerFile, MintedJwt

Pairs = Mapping[str, list[tuple[str, str]]]
ROWS = {option.name: option for option in OPTIONS}


def built(flags: Pairs | None = None, env: Mapping[str, str] | None = None, stored: Pairs | None = None) -> Built:
    environ = env or {}
    return build(options.resolve(OPTIONS, flags or {}, environ, stored or {}), environ, read_text)


def refusal(flags: Pairs | None = None, env: Mapping[str, str] | None = None, stored: Pairs | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        built(flags, env, stored)
    return str(caught.value)


def flag(**texts: str) -> Pairs:
    return {name: [(ROWS[name].flags[0], text)] for name, text in texts.items()}


def basic_of(user: str, password: str) -> tuple[tuple[str, str], ...]:
    return (("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()),)


# --- The matrix ------------------------------------------------------------------------------------------------------

SOURCES = ("header", "header_file", "token", "bearer_file", "bearer_command", "basic", "jwt_key_file")
LEVELS = ("flag", "environment", "file")
AT = [(source, level) for source in SOURCES for level in LEVELS]


class Place:
    """The three levels of one configuration, filled one source at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._flags: dict[str, list[tuple[str, str]]] = {}
        self._env = {"MCP_REMOTE_PY_BASIC_PASSWORD": "password-of-basic"}
        self._stored: dict[str, list[tuple[str, str]]] = {}

    def give(self, source: str, level: str) -> str:
        """Returns what names the source to people."""
        text = self._text(source)
        row = ROWS[source]
        if level == "flag":
            self._flags[source] = [(row.flags[0], text)]
            return row.flags[0]
        if level == "environment":
            self._env[row.variables[0]] = text
            return row.variables[0]
        name = f"config.toml: {source.replace('_', '-')}"
        self._stored[source] = [(name, text)]
        return name

    def _text(self, source: str) -> str:
        if source in ("header_file", "bearer_file", "jwt_key_file"):
            path = self._folder / source
            path.write_text("authorization: Bearer of-the-header-file\n" if source == "header_file" else "k" * 40)
            return str(path)
        return {
            "header": "Authorization: Bearer of-the-header",
            "token": "of-the-token",
            "bearer_command": "print-token",
            "basic": "user",
        }[source]

    def built(self) -> Built:
        return built(self._flags, self._env, self._stored)


def source_of(result: Built) -> str:
    """Which source the settings use."""
    given = result.settings
    if isinstance(given.authorization, BearerFile):
        return "bearer_file"
    if isinstance(given.authorization, BearerCommand):
        return "bearer_command"
    if isinstance(given.authorization, MintedJwt):
        return "jwt_key_file"
    values = [value for name, value in given.headers if name.lower() == "authorization"]
    if not values:
        assert given.header_file is not None
        assert "authorization" not in given.header_file.without
        return "header_file"
    (value,) = values
    if value.startswith("Basic"):
        return "basic"
    return {"of-the-header": "header", "of-the-token": "token"}[value.partition(" ")[2]]


@pytest.mark.parametrize(("source", "level"), AT)
def test_each_source_gives_the_header_at_each_level(source: str, level: str, tmp_path: Path) -> None:
    place = Place(tmp_path)
    name = place.give(source, level)
    result = place.built()
    assert source_of(result) == source
    assert result.notes == ()
    assert result.has_token == (source != "basic")
    assert (result.settings.source is None) == (source == "header_file")
    if result.settings.source is not None:
        assert name in result.settings.source.what


PAIRS = [(one, other) for one, other in itertools.combinations(AT, 2) if one[0] != other[0]]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_two_sources_at_one_level_are_an_error_and_between_levels_the_higher_wins(
    one: tuple[str, str], other: tuple[str, str], tmp_path: Path
) -> None:
    place = Place(tmp_path)
    names = place.give(*one), place.give(*other)
    if one[1] == other[1]:
        with pytest.raises(ConfigError) as caught:
            place.built()
        assert all(name in str(caught.value) for name in names)
        assert "Authorization" in str(caught.value) or "authorization" in str(caught.value)
        return
    result = place.built()
    winner = one if LEVELS.index(one[1]) < LEVELS.index(other[1]) else other
    assert source_of(result) == winner[0]
    (note,) = result.notes
    assert all(name in note for name in names)
    if "header_file" in (one[0], other[0]) and winner[0] != "header_file":
        assert result.settings.header_file is not None
        assert "authorization" in result.settings.header_file.without


def test_other_headers_stand_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "headers"
    path.write_text("X-One: of the file\nX-Two: 2\n")
    result = built(flag(header="x-one: of the flag", token="tok-123"), stored={"header_file": [("c", str(path))]})
    assert dict(result.settings.headers) == {"x-one": "of the flag", "Authorization": "Bearer tok-123"}
    assert result.settings.header_file is not None
    assert result.settings.header_file.headers == (("X-Two", "2"),)
    assert result.settings.header_file.without == {"x-one", "authorization"}
    assert len(result.notes) == 1


def test_a_header_that_is_given_twice_in_one_place_is_an_error(tmp_path: Path) -> None:
    two = [("--header", "X-A: 1"), ("--header", "x-a: 2")]
    assert refusal({"header": two}) == "--header gives the header X-A twice. Keep one of them."
    path = tmp_path / "headers"
    path.write_text("X-A: 1\nX-A: 2\n")
    assert "twice" in refusal(flag(header_file=str(path)))


# --- The token -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["tok-123", "Bearer tok-123", "bearer  tok-123\n", " tok-123 "])
def test_a_token_with_or_without_its_scheme(text: str) -> None:
    result = built(env={"MCP_AUTH_TOKEN": text})
    assert result.settings.headers == (("Authorization", "Bearer tok-123"),)
    assert {"tok-123", "Bearer tok-123"} <= set(result.secrets)


@pytest.mark.parametrize("text", ["two words", "Basic dXNlcjpw", "a\nb", "t\u00f6k"])
def test_what_is_no_token_is_refused_without_being_repeated(text: str) -> None:
    said = refusal(env={"MCP_AUTH_TOKEN": text})
    assert "MCP_AUTH_TOKEN" in said
    assert text not in said


def test_a_token_of_blanks_is_none_and_is_noted() -> None:
    result = built(env={"MCP_AUTH_TOKEN": "  "})
    assert result.settings.headers == ()
    assert "MCP_AUTH_TOKEN" in result.notes[0]


@pytest.mark.parametrize("name", ["API_ACCESS_TOKEN", "MCP_AUTH"])
def test_the_variables_of_other_tools_are_used_where_nothing_else_gives_a_token(name: str) -> None:
    alone = built(env={name: "of-another"})
    assert alone.settings.headers == (("Authorization", "Bearer of-another"),)
    assert name in alone.notes[0]
    with_ours = built(env={name: "of-another", "MCP_AUTH_TOKEN": "ours"})
    assert with_ours.settings.headers == (("Authorization", "Bearer ours"),)
    assert with_ours.notes == ()
    beside = built(env={name: "of-another", "MCP_REMOTE_PY_BEARER_COMMAND": "print-token"})
    assert isinstance(beside.settings.authorization, BearerCommand)
    assert name in beside.notes[0]


# --- Header files and variables --------------------------------------------------------------------------------------


def test_only_the_variables_that_a_header_file_names_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "headers"
    path.write_text("Authorization: Bearer ${TOK}\nX-Key: a-${KEY}-b\n")
    env = {"TOK": "token-value", "KEY": "key-value", "OTHER": "other-value", "HOME": "/home/me"}
    result = built(flag(header_file=str(path)), env)
    assert result.settings.header_file is not None
    assert dict(result.settings.header_file.environ) == {"TOK": "token-value", "KEY": "key-value"}
    assert {"token-value", "key-value", "a-key-value-b", "Bearer token-value"} <= set(result.secrets)
    assert "other-value" not in repr(result)


def test_values_of_variables_in_a_header_are_secrets_of_their_own() -> None:
    assert "key-value" in built(flag(header="X-Key: a-${KEY}-b"), {"KEY": "key-value"}).secrets


@pytest.mark.parametrize("name", ["header_file", "bearer_file", "basic_password_file", "jwt_key_file"])
def test_a_file_that_cannot_be_read_is_named_at_the_start(name: str, tmp_path: Path) -> None:
    more = {"basic": "user"} if name.startswith("basic") else {}
    said = refusal(flag(**more, **{name: str(tmp_path / "none")}))
    assert ROWS[name].flags[0] in said
    assert str(tmp_path / "none") in said
    (tmp_path / "none").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in refusal(flag(**more, **{name: str(tmp_path / "none")}))


# --- HTTP Basic ------------------------------------------------------------------------------------------------------


def test_basic_takes_its_password_from_one_of_three_places(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("of the file\n")
    env = {"MCP_REMOTE_PY_BASIC_PASSWORD": "of ours", "MINE": "of mine"}
    assert built(flag(basic="me"), env).settings.headers == basic_of("me", "of ours")
    assert built(flag(basic="me", basic_password_env="MINE"), env).settings.headers == basic_of("me", "of mine")
    result = built(flag(basic="me", basic_password_file=str(path)), env)
    assert result.settings.headers == basic_of("me", "of the file")
    assert "MCP_REMOTE_PY_BASIC_PASSWORD" in result.notes[0], "the flag wins, and says so"
    assert "of the file" in result.secrets
    assert not result.has_token


def test_basic_speaks_utf_8_and_may_have_an_empty_password() -> None:
    env = {"MCP_REMOTE_PY_BASIC_PASSWORD": "p\u00e4ss:w\u00f6rd"}
    assert built(flag(basic="j\u00fcrgen"), env).settings.headers == basic_of("j\u00fcrgen", "p\u00e4ss:w\u00f6rd")
    assert built(flag(basic="me"), {"MCP_REMOTE_PY_BASIC_PASSWORD": ""}).settings.headers == basic_of("me", "")


def test_headers_of_different_names_come_from_all_levels_and_of_one_name_from_the_highest() -> None:
    stored = {"header": [("c.toml: a", "X-One: file"), ("c.toml: b", "X-Two: file"), ("c.toml: c", "X-Three: file")]}
    env = {"MCP_REMOTE_PY_HEADER": "x-two: variable\nX-Three: variable"}
    result = built({"header": [("--header", "x-THREE: flag")]}, env, stored)
    assert dict(result.settings.headers) == {"x-THREE": "flag", "x-two": "variable", "X-One": "file"}
    assert result.notes == (
        "--header gives the header x-THREE, so MCP_REMOTE_PY_HEADER is not used.",
        "MCP_REMOTE_PY_HEADER gives the header x-two, so c.toml: b is not used.",
        "--header gives the header x-THREE, so c.toml: c is not used.",
    )


def test_a_header_that_is_overridden_needs_no_variable() -> None:
    stored = {"header": [("c.toml: header", "X-Key: ${NOT_SET}")]}
    assert built({"header": [("--header", "X-Key: flag")]}, {}, stored).settings.headers == (("X-Key", "flag"),)
    with pytest.raises(ConfigError, match=r"c\.toml: header: the variable NOT_SET is not set"):
        built({"header": [("--header", "X-Other: flag")]}, {}, stored)


def test_a_token_of_a_lower_level_is_said_to_be_unused_and_stays_secret() -> None:
    stored = {"token": [("c.toml: token", "of-the-file")]}
    result = built({}, {"MCP_AUTH_TOKEN": "of-the-variable"}, stored)
    assert result.settings.headers == (("Authorization", "Bearer of-the-variable"),)
    assert result.notes == ("MCP_AUTH_TOKEN gives the header Authorization, so c.toml: token is not used.",)
    assert "of-the-file" in result.secrets


def test_basic_may_have_an_empty_user_as_azure_devops_wants_it() -> None:
    env = {"MCP_REMOTE_PY_BASIC_PASSWORD": "personal-token"}
    assert built(flag(basic=""), env).settings.headers == basic_of("", "personal-token")


def test_mistakes_with_basic_are_named(tmp_path: Path) -> None:
    assert "colon" in refusal(flag(basic="me:secret"), {"MCP_REMOTE_PY_BASIC_PASSWORD": "p"})
    missing = refusal(flag(basic="me"))
    assert all(
        word in missing for word in ("MCP_REMOTE_PY_BASIC_PASSWORD", "--basic-password-env", "--basic-password-file")
    )
    assert "NOPE" in refusal(flag(basic="me", basic_password_env="NOPE"))
    assert "--basic USER" in refusal(flag(basic_password_env="NOPE"))
    both = refusal(flag(basic="me", basic_password_env="A", basic_password_file=str(tmp_path)), {"A": "x"})
    assert "--basic-password-env A" in both
    assert "--basic-password-file" in both
    assert "control character" in refusal(flag(basic="me"), {"MCP_REMOTE_PY_BASIC_PASSWORD": "a\nb"})


# --- JWTs ------------------------------------------------------------------------------------------------------------


def jwt_of(env: Mapping[str, str] | None = None, claims: tuple[str, ...] = (), **texts: str) -> MintedJwt:
    flags = dict(flag(**({"jwt_key_env": "KEY"} | texts)))
    flags["jwt_claim"] = [("--jwt-claim", text) for text in claims]
    given = built(flags, {"KEY": "k" * 40, **(env or {})}).settings.authorization
    assert isinstance(given, MintedJwt)
    return given


def test_the_claims_of_a_jwt_are_typed() -> None:
    texts = (
        "n=5",
        "f=1.5",
        "yes=true",
        "none=null",
        'list=["a", 1]',
        'o={"x": [1]}',
        "text=a=b",
        'quoted="7"',
        "nan=NaN",
    )
    given = jwt_of(None, texts, jwt_issuer="me", jwt_subject="42", jwt_audience="them")
    assert dict(given.claims) == {
        "iss": "me",
        "sub": "42",
        "aud": "them",
        "n": 5,
        "f": 1.5,
        "yes": True,
        "none": None,
        "list": ["a", 1],
        "o": {"x": [1]},
        "text": "a=b",
        "quoted": "7",
        "nan": "NaN",
    }
    assert (given.algorithm, given.ttl, given.kid) == ("HS256", 300.0, None)
    named = jwt_of(None, ("iss=7", "sub=8", 'aud=["a","b"]'), jwt_ttl="90s", jwt_kid="k1", jwt_alg="HS512")
    assert dict(named.claims) == {"iss": "7", "sub": "8", "aud": ["a", "b"]}
    assert (named.algorithm, named.ttl, named.kid) == ("HS512", 90.0, "k1")


def test_a_key_of_a_file_loses_one_line_end_and_one_in_a_variable_may_be_squeezed(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"secret of the file\r\n")
    given = built(flag(jwt_key_file=str(path))).settings.authorization
    assert isinstance(given, MintedJwt)
    assert given.key == "secret of the file"
    squeezed = "-----BEGIN PRIVATE KEY-----\\nabc\\n-----END PRIVATE KEY-----"
    assert jwt_of({"KEY": squeezed}).key.splitlines()[1] == "abc"


@pytest.mark.parametrize(
    ("claims", "texts", "words"),
    [
        (("iss=b",), {"jwt_issuer": "a"}, ("--jwt-issuer", "--jwt-claim", "iss")),
        (("aud=b",), {"jwt_audience": "a"}, ("--jwt-audience", "aud")),
        (("role=a", "role=b"), {}, ("role",)),
        (("exp=1",), {}, ("exp", "--jwt-ttl")),
        (("iat=1",), {}, ("iat",)),
        (("jti=1",), {}, ("jti",)),
        (("role",), {}, ("NAME=VALUE",)),
        (("=x",), {}, ("NAME=VALUE",)),
        ((), {"jwt_ttl": "500ms"}, ("--jwt-ttl", "1s")),
        ((), {"jwt_ttl": "0"}, ("--jwt-ttl",)),
        ((), {"jwt_alg": "none"}, ("--jwt-alg", "HS256")),
        ((), {"jwt_key_env": "NOPE"}, ("--jwt-key-env", "NOPE")),
        ((), {"jwt_key_env": "EMPTY"}, ("--jwt-key-env EMPTY", "empty")),
    ],
)
def test_mistakes_with_claims_are_named(claims: tuple[str, ...], texts: dict[str, str], words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        jwt_of({"EMPTY": " "}, claims, **texts)
    assert all(word in str(caught.value) for word in words)


def test_a_jwt_without_a_key_and_with_two_are_errors(tmp_path: Path) -> None:
    assert "--jwt-key-env" in refusal(flag(jwt_issuer="me"))
    path = tmp_path / "key"
    path.write_text("k" * 40)
    both = refusal(flag(jwt_key_env="KEY", jwt_key_file=str(path)), {"KEY": "k" * 40})
    assert "--jwt-key-env KEY" in both
    assert f"--jwt-key-file {path}" in both
    env = {"KEY": "k" * 40, "MCP_REMOTE_PY_JWT_KEY_ENV": "KEY"}
    given = built(flag(jwt_key_file=str(path)), env)
    assert isinstance(given.settings.authorization, MintedJwt)
    assert str(path) in given.settings.authorization.where
    assert "KEY" in given.notes[0]


def test_the_command_is_split_without_a_shell() -> None:
    given = built(flag(bearer_command="'my tool' --for \"a b\" $HOME", bearer_command_timeout="5s")).settings
    assert isinstance(given.authorization, BearerCommand)
    assert given.authorization.argv == ("my tool", "--for", "a b", "$HOME")
    assert given.authorization.timeout == 5.0
    assert "MCP_AUTH_TOKEN" in given.authorization.without
    assert "--bearer-command-timeout" in refusal(flag(bearer_command="x", bearer_command_timeout="0"))
