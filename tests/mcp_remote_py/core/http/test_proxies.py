"""Which proxy leads to a URL, and why."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http.origins import origin_of
from mcp_remote_py.core.http.proxies import (
    FLAG,
    SYSTEM,
    BadProxy,
    SystemProxies,
    asks_system,
    check_setting,
    choose,
    exception_for,
    parse,
    split_exceptions,
)

URL = "https://mcp.corp.example/mcp"


def by(url: str, setting: str = "system", system: SystemProxies | None = None, **variables: str) -> str | None:
    """The host of the proxy that is chosen, None for none."""
    route = choose(url, setting, variables, system)
    return None if route.proxy is None else route.proxy.host


# --- Whose word counts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "variables", "host"),
    [
        ("https://h.example/", {"https": "http://s"}, "s"),
        ("wss://h.example/", {"https": "http://s"}, "s"),
        ("http://h.example/", {"https": "http://s"}, None),
        ("ws://h.example/", {"https": "http://s"}, None),
        ("http://h.example/", {"http": "http://p"}, "p"),
        ("ws://h.example/", {"http": "http://p"}, "p"),
        ("https://h.example/", {"http": "http://p"}, None),
        ("wss://h.example/", {"http": "http://p"}, None),
        ("https://h.example/", {"all": "http://a"}, "a"),
        ("ws://h.example/", {"all": "http://a"}, "a"),
        ("https://h.example/", {"all": "http://a", "https": "http://s"}, "s"),
        ("http://h.example/", {"all": "http://a", "https": "http://s"}, "a"),
        ("https://h.example/", {}, None),
    ],
)
def test_the_variable_of_the_scheme_wins_over_that_for_all(
    url: str, variables: dict[str, str], host: str | None
) -> None:
    route = choose(url, "system", variables)
    assert (None if route.proxy is None else route.proxy.host) == host


def test_the_flag_wins_over_every_variable() -> None:
    assert by(URL, "http://flag:1", https="http://s", no="*") == "flag"
    assert by(URL, "none", https="http://s") is None
    assert choose(URL, "none", {"https": "http://s"}).why == f"{FLAG} none"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "[::1]", "localhost."])
@pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss"])
def test_this_machine_is_never_reached_through_a_proxy(scheme: str, host: str) -> None:
    assert by(f"{scheme}://{host}:8080/mcp", "http://flag:1") is None
    assert by(f"{scheme}://{host}:8080/mcp", all="http://a") is None
    assert by(f"{scheme}://{host}:8080/mcp", system=SystemProxies((("https", "o"), ("http", "o")))) is None


def test_the_systems_settings_count_where_no_flag_and_no_variable_names_a_proxy() -> None:
    system = SystemProxies((("https", "http://os:8080"),), ("*.corp.example",))
    assert asks_system("system", {})
    assert asks_system("system", {"no": "x", "auto": "y"})
    assert not asks_system("system", {"http": "http://p"})
    assert not asks_system("none", {})
    assert by("https://other.example/", system=system) == "os"
    assert choose("https://other.example/", "system", {}, system).why == SYSTEM
    assert by("wss://other.example/", system=system) == "os"
    assert by("http://other.example/", system=system) is None
    assert by(URL, system=system) is None
    assert by("https://other.example/", system=system, no="other.example") is None
    assert by("https://other.example/", system=system, http="http://p") is None


def test_a_socks_proxy_of_the_system_is_spoken_to_in_socks() -> None:
    proxy = choose(URL, "system", {}, SystemProxies((("socks", "http://os:1080"),))).proxy
    assert proxy is not None
    assert (proxy.scheme, proxy.place) == ("socks5", "os:1080")


def test_a_pac_file_of_the_system_is_noticed_and_the_way_is_straight() -> None:
    assert choose(URL, "system", {}, SystemProxies(pac="http://wpad/x")).pac == SYSTEM
    assert choose(URL, "system", {"auto": "http://wpad/x"}, SystemProxies()).pac == "auto_proxy"
    assert choose(URL, "none", {"auto": "http://wpad/x"}).pac is None


def test_why_names_what_decided() -> None:
    assert choose(URL, "system", {"https": "p"}).why == "HTTPS_PROXY"
    assert choose(URL, "system", {"all": "p"}).why == "ALL_PROXY"
    assert choose(URL, "http://p", {}).why == FLAG
    assert choose(URL, "system", {"https": "p", "no": "a,.corp.example"}).why == "NO_PROXY has .corp.example"


# --- NO_PROXY --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "entries"),
    [
        ("mcp.corp.example", "*"),
        ("mcp.corp.example", "other.example, *"),
        ("mcp.corp.example", "mcp.corp.example"),
        ("mcp.corp.example", "corp.example"),
        ("mcp.corp.example", ".corp.example"),
        ("mcp.corp.example", "*.corp.example"),
        ("corp.example", ".corp.example"),
        ("corp.example", "corp.example"),
        ("MCP.Corp.Example", "CORP.example"),
        ("mcp.corp.example.", "corp.example"),
        ("mcp.corp.example", "corp.example."),
        ("mcp.corp.example", "  ,, corp.example ,"),
        ("mcp.corp.example", "a.example corp.example"),
        ("mcp.corp.example", "a.example;corp.example"),
        ("mcp.corp.example", "mcp.corp.example:443"),
        ("mcp.corp.example:8443", "mcp.corp.example:8443"),
        ("mcp.corp.example:8443", ".corp.example:8443"),
        ("mcp.corp.example:8443", "corp.example"),
        ("mcp.corp.example", "https://mcp.corp.example"),
        ("mcp-7.corp.example", "mcp-*.corp.example"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2.3", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.9/8"),
        ("169.254.7.8", "169.254/16"),
        ("10.1.2.3", "10.*"),
        ("10.1.2.3:8443", "10.1.2.3:8443"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]", "[2001:db8::7]"),
        ("[2001:db8::7]", "[2001:DB8:0::7]"),
        ("[2001:db8::7]:8443", "[2001:db8::7]:8443"),
        ("[2001:db8::7]", "2001:db8::/32"),
        ("[::ffff:10.1.2.3]", "10.0.0.0/8"),
        ("intranet", "<local>"),
        ("intranet", "intranet"),
    ],
)
def test_an_entry_that_matches_sends_the_request_straight(host: str, entries: str) -> None:
    assert exception_for(origin_of(f"https://{host}/mcp"), split_exceptions(entries)) is not None
    assert by(f"https://{host}/mcp", https="http://p", no=entries) is None


@pytest.mark.parametrize(
    ("host", "entries"),
    [
        ("mcp.corp.example", ""),
        ("mcp.corp.example", "orp.example"),
        ("notcorp.example", "corp.example"),
        ("corp.example.evil.example", "corp.example"),
        ("mcp.corp.example", "mcp.corp.example:8443"),
        ("mcp.corp.example:8443", "mcp.corp.example:443"),
        ("mcp.corp.example", "sub.mcp.corp.example"),
        ("corp.example", "mcp-*.corp.example"),
        ("11.1.2.3", "10.0.0.0/8"),
        ("110.1.2.3", "10.1.2.3"),
        ("10.1.2.3", "2.3"),
        ("10.1.2.3", "10.0.0.0/99"),
        ("ten.example", "10.0.0.0/8"),
        ("[2001:db9::7]", "2001:db8::/32"),
        ("[2001:db8::7]:8443", "[2001:db8::7]:443"),
        ("mcp.corp.example", "<local>"),
        ("[2001:db8::7]", "<local>"),
        ("mcp.corp.example", "."),
        ("mcp.corp.example", ":443"),
    ],
)
def test_an_entry_that_does_not_match_leaves_the_proxy(host: str, entries: str) -> None:
    assert exception_for(origin_of(f"https://{host}/mcp"), split_exceptions(entries)) is None


# --- One proxy -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "scheme", "place", "pair"),
    [
        ("http://proxy.corp:8080", "http", "proxy.corp:8080", (None, "")),
        ("http://proxy.corp:8080/", "http", "proxy.corp:8080", (None, "")),
        ("proxy.corp:8080", "http", "proxy.corp:8080", (None, "")),
        ("//proxy.corp:8080", "http", "proxy.corp:8080", (None, "")),
        (" http://proxy.corp ", "http", "proxy.corp:80", (None, "")),
        ("HTTP://Proxy.Corp.:8080", "http", "proxy.corp:8080", (None, "")),
        ("https://proxy.corp", "https", "proxy.corp:443", (None, "")),
        ("http://user:p%40s%3As@proxy.corp:8080", "http", "proxy.corp:8080", ("user", "p@s:s")),
        ("http://user:p@ss@proxy.corp:8080", "http", "proxy.corp:8080", ("user", "p@ss")),
        ("user:pass@proxy.corp:8080", "http", "proxy.corp:8080", ("user", "pass")),
        ("http://corp%5Cuser@proxy.corp", "http", "proxy.corp:80", ("corp\\user", "")),
        ("http://[2001:db8::1]:3128", "http", "[2001:db8::1]:3128", (None, "")),
        ("socks5://proxy.corp", "socks5", "proxy.corp:1080", (None, "")),
        ("socks5h://u:p@proxy.corp:9", "socks5", "proxy.corp:9", ("u", "p")),
    ],
)
def test_a_proxy_is_read_in_each_of_its_forms(text: str, scheme: str, place: str, pair: tuple[str | None, str]) -> None:
    proxy = parse(text, "HTTPS_PROXY")
    assert (proxy.scheme, proxy.place) == (scheme, place)
    assert (proxy.username, proxy.password) == pair


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ftp://secret:secret@proxy.corp", "scheme that is none of"),
        ("http://", "no host"),
        ("http://proxy.corp:99999", "no valid URL"),
        ("http://proxy.corp:0", "port 0"),
        ("http://proxy.corp:secret", "no valid URL"),
        ("http://[::1", "no valid URL"),
        ("http://proxy corp", "a blank"),
        ("http://proxy.corp/secret", "after the port"),
        ("socks4://proxy.corp", "SOCKS4"),
        ("http://wpad.corp/proxy.pac", "PAC file"),
        ("http://wpad.corp/wpad.dat", "PAC file"),
        ("pac+http://wpad.corp/x", "PAC file"),
        ("pac+file:///etc/proxy.pac", "PAC file"),
    ],
)
def test_what_is_no_proxy_is_named_with_its_place_and_without_its_secret(text: str, words: str) -> None:
    with pytest.raises(BadProxy) as caught:
        parse(text, "HTTPS_PROXY")
    assert str(caught.value).startswith("HTTPS_PROXY ")
    assert words in str(caught.value)
    assert caught.value.hint
    assert "secret" not in f"{caught.value} {caught.value.hint}"
    with pytest.raises(ConfigError, match=FLAG):
        check_setting(text)


@pytest.mark.parametrize("text", ["system", "none", "NONE", "http://proxy.corp:8080", "proxy.corp:8080", "socks5://p"])
def test_the_flag_takes_two_words_and_every_form_of_a_proxy(text: str) -> None:
    assert check_setting(text).lower() == text.lower()


@pytest.mark.parametrize("text", ["off", "direct", " "])
def test_other_words_for_no_proxy_are_told_the_right_one(text: str) -> None:
    with pytest.raises(ConfigError, match="write none"):
        check_setting(text)


@pytest.mark.parametrize(("text", "meant"), [("sytem", "system"), ("Systm", "system"), ("nonee", "none")])
def test_a_misspelt_word_is_not_taken_for_the_name_of_a_proxy(text: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"--proxy: '{text}' .*Did you mean {meant}[?].*{text}:8080"):
        check_setting(text)
    assert check_setting(f"{text}:8080") == f"{text}:8080"
    assert check_setting("squid") == "squid"


def test_credentials_are_basic_and_never_shown() -> None:
    proxy = parse("http://user:p%40ss@proxy.corp:8080", "HTTPS_PROXY")
    assert proxy.authorization == "Basic dXNlcjpwQHNz"
    assert parse("proxy.corp", FLAG).authorization is None
    assert "p@ss" not in f"{proxy} {proxy!r} {proxy.place}"


@pytest.mark.parametrize("text", ["http://me:pa/ss@p:80", "http://me:pa#ss@p:80", "me:pa?ss@p:80"])
def test_a_password_that_ends_the_host_too_early_is_told_how_to_be_written(text: str) -> None:
    with pytest.raises(BadProxy, match=r"^HTTPS_PROXY has a character in its password") as caught:
        parse(text, "HTTPS_PROXY")
    assert "%2F for /" in caught.value.hint


def test_a_backslash_in_a_user_name_is_told_how_to_be_written() -> None:
    with pytest.raises(BadProxy) as caught:
        parse("http://CORP\\me:secret@p:80", "HTTPS_PROXY")
    assert "%5C for a backslash" in caught.value.hint
