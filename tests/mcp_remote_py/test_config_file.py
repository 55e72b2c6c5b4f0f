"""The configuration file: profiles, keys and their types, paths, and what each mistake is told."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mcp_remote_py.cli import read_settings
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.redact import Redactor
from mcp_remote_py.settings import Settings
from tests.support.reference_pages import DOCS

URL = "https://example.com/mcp"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "my bridge.toml"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path

    return write


def settings_of(path: Path, *arguments: str, **env: str) -> Settings:
    settings = read_settings(["--config", str(path), *arguments], env)
    assert settings is not None
    return settings


def refusal(path: Path, *arguments: str, **env: str) -> str:
    with pytest.raises(ConfigError) as refused:
        settings_of(path, *arguments, **env)
    return str(refused.value)


def test_keys_are_the_names_of_the_options_with_either_dash(write: Write) -> None:
    found = settings_of(
        write(
            f'url = "{URL}"\nfirst-byte-timeout = "2m"\nidle_timeout = 30\nmax-in-flight = 7\nmax_message_size = 4096\n'
            'ipv4 = true\nno-cookies = false\nca-bundle = ["a.pem", "b.pem"]\ninsecure = "box.example"\n'
        )
    )
    assert found.target.url == URL
    assert (found.timeouts.first_byte, found.timeouts.idle) == (120.0, 30.0)
    assert (found.limits.in_flight, found.limits.message) == (7, 4096)
    assert (found.network.ipv4, found.network.cookies) == (True, True)
    assert len(found.tls.trusted) == 2
    assert found.tls.insecure == ("box.example",)


def test_certificates_add_up_over_all_places_and_tools_keep_their_limits(write: Write) -> None:
    path = write('ca-bundle = "file.pem"\n[tool-timeout]\nslow = "9m"\nsearch = "1m"\n')
    found = settings_of(
        path, URL, "--ca-bundle", "flag.pem", "--tool-timeout", "search=2m", MCP_REMOTE_PY_CA_BUNDLE="variable.pem"
    )
    assert [Path(file.path).name for file in found.tls.trusted] == ["flag.pem", "variable.pem", "file.pem"]
    assert [file.where for file in found.tls.trusted[:2]] == ["--ca-bundle", "MCP_REMOTE_PY_CA_BUNDLE"]
    assert dict(found.timeouts.tools) == {"slow": 540.0, "search": 120.0}


def test_a_forgotten_profile_is_asked_for(write: Write) -> None:
    path = write(f'[profiles.work]\nurl = "{URL}"\n[profiles.partner]\nurl = "{URL}"\n')
    assert refusal(path) == "No URL was given. Choose a profile: --profile work or partner"


def test_the_variable_names_the_file_and_the_flag_wins(write: Write, tmp_path: Path) -> None:
    path = write(f'url = "{URL}"\n')
    found = read_settings([], {"MCP_REMOTE_PY_CONFIG": str(path)})
    assert found is not None
    assert found.target.url == URL
    assert settings_of(path, MCP_REMOTE_PY_CONFIG=str(tmp_path / "none.toml")).target.url == URL


def test_a_profile_wins_over_the_keys_above_it(write: Write) -> None:
    path = write(
        f'url = "{URL}"\nconnect-timeout = 3\n[profiles.work]\nurl = "https://work.example/mcp"\n'
        '[profiles.home]\nconnect-timeout = "4s"\n'
    )
    work = settings_of(path, "--profile", "work")
    assert (work.target.url, work.timeouts.connect) == ("https://work.example/mcp", 3.0)
    home = settings_of(path, MCP_REMOTE_PY_PROFILE="home")
    assert (home.target.url, home.timeouts.connect) == (URL, 4.0)
    none = settings_of(path)
    assert (none.target.url, none.timeouts.connect) == (URL, 3.0)


def test_a_profile_is_not_contradicted_by_what_answers_the_same_question_above_it(write: Write) -> None:
    path = write(
        f'url = "{URL}"\ntransport = "sse-only"\nlog-level = "error"\nkeep-alive = true\njwt-key-env = "K"\n'
        'jwt-issuer = "me"\n[profiles.p]\nhttp-only = true\ndebug = true\nping-interval = 0\ntoken = "abcdef"\n'
    )
    found = settings_of(path, "--profile", "p", K="a key of some length, for once")
    assert (found.strategy, found.logging.level, found.timeouts.ping) == ("http-only", "debug", None)
    assert found.credentials.headers == (("Authorization", "Bearer abcdef"),)


def test_an_empty_array_of_a_profile_takes_back_what_stands_above(write: Write) -> None:
    path = write(f'url = "{URL}"\nheader = ["X-A: 1"]\n[profiles.p]\nheader = []\n')
    assert settings_of(path).credentials.headers == (("X-A", "1"),)
    assert settings_of(path, "--profile", "p").credentials.headers == ()


@pytest.mark.parametrize("table", ["[headers]", "[header]", "[profiles.p.headers]"])
def test_headers_may_be_a_table_with_variables(write: Write, table: str) -> None:
    path = write(f'url = "{URL}"\n{table}\nX-Key = "${{K}}"\nX-Number = 3\n')
    arguments = ("--profile", "p") if "profiles" in table else ()
    assert settings_of(path, *arguments, K="a b").credentials.headers == (("X-Key", "a b"), ("X-Number", "3"))
    assert 'headers."X-' in refusal(path, *arguments) or 'header."X-' in refusal(path, *arguments)
    assert "K is not set" in refusal(path, *arguments)


@pytest.mark.parametrize("name", ["X-Api-Key", "Authorization", "Cookie"])
def test_what_is_said_about_a_header_is_not_taken_for_its_value(write: Write, name: str) -> None:
    said = Redactor().scrub(refusal(write(f'url = "{URL}"\n[headers]\n{name} = "${{K}}"\n')))
    assert f'headers."{name}": the variable K is not set' in said


def test_headers_may_stand_in_an_array_and_a_table(write: Write) -> None:
    path = write(f'url = "{URL}"\nheader = ["X-One: 1"]\n[headers]\nX-Two = "2"\n')
    assert settings_of(path).credentials.headers == (("X-One", "1"), ("X-Two", "2"))


def test_names_with_values_may_be_tables(write: Write) -> None:
    path = write(
        f'url = "{URL}"\njwt-key-env = "K"\n[tool-timeout]\nsearch = 90\n"two words" = "5m"\n'
        '[jwt-claim]\nrole = "admin"\nnumber = "7"\nlevel = 7\nscopes = ["a", "b"]\n'
    )
    found = settings_of(path, K="a key of some length, for once")
    assert found.timeouts.tools == (("search", 90.0), ("two words", 300.0))
    minted = found.credentials.authorization
    assert dict(getattr(minted, "claims", ())) == {"role": "admin", "number": "7", "level": 7, "scopes": ["a", "b"]}


def test_a_command_may_be_an_array_of_words(write: Write) -> None:
    path = write(f'url = "{URL}"\nbearer-command = ["tok", "a b", "--x"]\n')
    assert getattr(settings_of(path).credentials.authorization, "argv", ()) == ("tok", "a b", "--x")


def test_files_are_meant_relative_to_the_file_that_names_them(write: Write, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "h.txt").write_text("X-One: 1\n", encoding="utf-8")
    elsewhere = tmp_path / "elsewhere.pem"
    path = write(
        f'url = "{URL}"\nheader-file = "secrets/h.txt"\n'
        f'ca-bundle = ["roots.pem", "~/roots.pem", "{elsewhere.as_posix()}"]\n'
        'log-file = "bridge.log"\n'
    )
    found = settings_of(path)
    assert found.credentials.header_file is not None
    assert Path(found.credentials.header_file.path) == tmp_path / "secrets" / "h.txt"
    assert [Path(file.path) for file in found.tls.trusted] == [
        tmp_path / "roots.pem",
        Path("~/roots.pem").expanduser(),
        elsewhere,
    ]
    assert Path(found.logging.file or "") == tmp_path / "bridge.log"


def test_a_home_is_expanded_wherever_a_file_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(f'url = "{URL}"\n')
    monkeypatch.setenv("HOME", str(path.parent))
    monkeypatch.setenv("USERPROFILE", str(path.parent))
    found = read_settings(
        ["--config", "~/my bridge.toml", "--log-file", "~/x.log", "--bearer-command", "~/tok ~/y"],
        {"NODE_EXTRA_CA_CERTS": "~/root.pem"},
    )
    assert found is not None
    assert found.logging.file == os.path.expanduser("~/x.log")
    assert found.tls.trusted[0].path == os.path.expanduser("~/root.pem")
    assert getattr(found.credentials.authorization, "argv", ()) == (os.path.expanduser("~/tok"), "~/y")


def test_a_byte_order_mark_and_crlf_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(f'\ufeff# ours\r\nurl = "{URL}"\r\n[profiles.p]\r\nipv4 = true\r\n'.encode())
    assert settings_of(path, "--profile", "p").network.ipv4


def test_a_number_is_seconds_but_for_the_old_timeout(write: Write) -> None:
    path = write(f'url = "{URL}"\ntimeout = 30\nconnect-timeout = 5000\nidle-timeout = 0\nfirst-byte-timeout = 0.5\n')
    found = settings_of(path).timeouts
    assert (found.request, found.connect, found.idle, found.first_byte) == (30.0, 5000.0, None, 0.5)
    old = settings_of(write(f'url = "{URL}"\ntimeout = 100000\n'))
    assert old.timeouts.request == 100.0
    assert "milliseconds" in old.notes[0]
    assert "my bridge.toml: timeout" in old.notes[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('urll = "x"', "my bridge.toml: there is no option urll. Did you mean url?"),
        ("[profiles.p]\nproxi = 1", "my bridge.toml: [profiles.p] there is no option proxi. Did you mean proxy?"),
        ("body-timeout = 3", "there is no option body-timeout. Did you mean idle-timeout?"),
        ("Timeout = 3", "Did you mean timeout?"),
        ("[profile.p]\nipv4 = true", "a profile is written [profiles.NAME]"),
        ("[zzqq]\nipv4 = true", "A profile is written [profiles.zzqq]"),
        ("xyzzy = 1", "there is no option xyzzy."),
        ('config = "x"', "config cannot stand in the file"),
        ('profile = "p"', "profile cannot stand in the file"),
        ("print-config = true", "print-config cannot stand in the file"),
        ("profiles = 3", "profiles holds tables"),
        ("[profiles]\np = 3", "profiles holds tables"),
        ("ca-bundle = ['a']\nca_bundle = ['b']", "ca-bundle and ca_bundle are the same option"),
        ("transport = 'http-onl'", "transport: 'http-onl' is none of"),
        ("transport = 'http-onl'", "Did you mean http-only?"),
        ("ipv4 = 'yes'", "ipv4: this is text. It takes true or false."),
        ("ipv4 = 1", "ipv4: this is a number. It takes true or false."),
        ("proxy = true", "proxy: this is true or false. It takes text, in quotes."),
        ("proxy = ['a']", "proxy: this is an array. It takes text, in quotes."),
        ("jwt-issuer = 1979-05-27", "jwt-issuer: this is a date or a time."),
        ("timeout = ['3']", "timeout: this is an array. It takes text or a number."),
        ("timeout = true", "timeout: this is true or false. It takes text or a number."),
        ("timeout = -1", "timeout: '-1' is no duration"),
        ("timeout = nan", "timeout: 'nan' is no duration"),
        ("max-in-flight = 2.5", "max-in-flight: '2.5' is no whole number"),
        ("header = [3]", "header: this is a number. It takes an array of text."),
        ("ca-bundle = {a = 'b'}", "ca-bundle: this is a table. It takes an array of text."),
        ("ca-bundle = ''", "ca-bundle: the name of a file is missing"),
        ("[headers]\nX = true", 'headers."X": this is true or false. It takes text.'),
        ("[headers]\n'X Y' = 'z'", "headers.\"X Y\": 'X Y' is no header name"),
        ("[jwt-claim]\nx = 1979-05-27", "jwt-claim.x: this is a date or a time."),
        ("ipv4 = tru", "line 1, column 8: this is no TOML"),
        ('ca-bundle = "C:\\Users\\root.pem"', r"A path with backslashes stands in single quotes: 'C:\folder\file'."),
        ('log-file = "C:\\logs\\x"', "A path with backslashes stands in single quotes"),
        ("url = https://example.com/mcp", 'Text stands in quotes: "like this".'),
        ("\n\nipv4 = ", "line 3, column 8: this is no TOML"),
        ("ipv4 = true\nipv4 = true", "line 2, column 12: this is no TOML"),
        ("proxy = 'x", "my bridge.toml, line 1, column 11: this is no TOML"),
    ],
)
def test_mistakes_are_named_with_their_place(write: Write, text: str, words: str) -> None:
    profile = ("--profile", "p") if "[profiles.p]" in text else ()
    assert words in refusal(write(text + "\n"), URL, *profile) + "\n"


def test_a_profile_that_is_not_there_is_told_which_are(write: Write) -> None:
    path = write(f'url = "{URL}"\n[profiles.work]\n[profiles.home]\n')
    text = refusal(path, "--profile", "wrok")
    assert "--profile: " in text
    assert "There are work, home. Did you mean work?" in text
    assert "MCP_REMOTE_PY_PROFILE: " in refusal(path, MCP_REMOTE_PY_PROFILE="x")
    assert "It has none" in refusal(write(""), "--profile", "x")
    with pytest.raises(ConfigError, match="--profile: profiles are in a configuration file"):
        read_settings([URL, "--profile", "x"], {})


def test_a_file_that_cannot_be_read_is_named_with_who_named_it(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert refusal(missing, URL).startswith(f"--config {missing}: cannot be read (")
    with pytest.raises(ConfigError, match=r"MCP_REMOTE_PY_CONFIG .*cannot be read"):
        read_settings([URL], {"MCP_REMOTE_PY_CONFIG": str(tmp_path)})
    missing.write_bytes(b"url = '\xff'")
    assert "not UTF-8" in refusal(missing, URL)


def test_mistakes_elsewhere_name_the_key_they_come_from(write: Write) -> None:
    assert "my bridge.toml: url has no host" in refusal(write('url = "https://"\n'))
    both = write(f'url = "{URL}"\n[profiles.p]\nhttp-only = true\nsse-only = true\n')
    assert "[profiles.p] http-only and" in refusal(both, "--profile", "p")
    key = write(f'url = "{URL}"\nclient-key = "k.pem"\n')
    assert "my bridge.toml: client-key needs --client-cert" in refusal(key)


def test_a_certificate_file_that_is_not_there_is_an_error_also_in_the_file(write: Write) -> None:
    from mcp_remote_py.cli import with_usable_files

    settings = settings_of(write(f'url = "{URL}"\nca-bundle = "none.pem"\n'), SSL_CERT_FILE="/nowhere/at/all.pem")
    assert [file.is_from_variable for file in settings.tls.trusted] == [False, True]
    with pytest.raises(ConfigError, match=r"my bridge\.toml: ca-bundle .*none\.pem"):
        with_usable_files(settings)


@pytest.mark.skipif(os.name == "nt", reason="there are no such permissions")
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('token = "hush-hush"', "token"),
        ('header = ["X-Key: hush-hush"]', "header"),
        ('[headers]\nX-Key = "hush-hush"', "headers"),
        ('[profiles.p]\ntoken = "hush-hush"', "token"),
        ('proxy = "http://user:hush-hush@proxy.example"', "proxy"),
        ('[headers]\nX-Key = "${K}"', None),
        ('bearer-file = "token.txt"', None),
    ],
)
def test_a_file_that_everybody_can_read_should_hold_no_secret(write: Write, text: str, key: str | None) -> None:
    path = write(f'url = "{URL}"\n{text}\n')
    (path.parent / "token.txt").write_text("abcdef", encoding="utf-8")
    path.chmod(0o644)
    notes = " ".join(settings_of(path, K="k").notes)
    assert ("chmod 600" in notes) == (key is not None)
    assert "hush-hush" not in notes
    assert key is None or f"({key})" in notes
    path.chmod(0o640)
    assert "chmod" not in " ".join(settings_of(path, K="k").notes)


def test_the_secrets_of_the_file_are_known_as_secrets(write: Write) -> None:
    path = write(f'url = "{URL}"\ntoken = "hush-hush"\nproxy = "http://u:pass-word@p.example"\n')
    assert {"hush-hush", "pass-word"} <= set(settings_of(path).secrets)


def test_the_example_of_the_docs_works(tmp_path: Path) -> None:
    text = (DOCS / "how-to" / "configuration-file.md").read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    path = tmp_path / "bridge.toml"
    path.write_text(example.group(1), encoding="utf-8")
    path.chmod(0o600)
    env = {"WORK_KEY": "k", "PARTNER_TOKEN": "p"}
    names = re.findall(r"^\[profiles\.(\w+)\]$", example.group(1), re.MULTILINE)
    assert len(names) >= 2
    for name in names:
        settings = settings_of(path, "--profile", name, **env)
        assert settings.notes == ()
        assert settings.target.url.startswith("https://")
