"""Secrets are found in every spelling, innocent texts stay as they are, and peers cannot drive a terminal."""

from __future__ import annotations

import base64
import json
import random
import string
import threading
import time
import urllib.parse

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mcp_remote_py.core.redact import MASK, Redactor, printable
from tests.support.examples import examples
from tests.support.spellings import SPELLINGS, inner_base64, written

SECRET = "s3cr\"t/ä+to'ken\\😀 <&>=="
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
VISIBLE = st.characters(min_codepoint=33, max_codepoint=126)
SECRETS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=6, max_size=60) | st.text(
    VISIBLE, min_size=6, max_size=60
)


def knowing(*secrets: str) -> Redactor:
    redactor = Redactor()
    for secret in secrets:
        redactor.add(secret)
    return redactor


def letters(seed: int, count: int) -> list[str]:
    return random.Random(seed).choices(string.ascii_letters, k=count)  # noqa: S311  made-up secrets


# --- Known secrets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_is_found_in_every_spelling(spelling: str) -> None:
    spelled = SPELLINGS[spelling](SECRET)
    scrubbed = knowing(SECRET).scrub(f"before <{spelled}> after")
    assert scrubbed.startswith(f"before <{MASK}")
    assert scrubbed.removesuffix("> after").removeprefix(f"before <{MASK}").strip("=%3D") == ""


@settings(max_examples=examples(400))
@given(spelling=st.sampled_from(sorted(SPELLINGS)), secret=SECRETS, before=TEXTS, after=TEXTS)
def test_no_secret_is_left_in_any_text_in_any_spelling(spelling: str, secret: str, before: str, after: str) -> None:
    spelled = SPELLINGS[spelling](secret)
    # a lone backslash, percent sign or word before it would change what the spelling means
    text = f"{before} {spelled} {after}"
    scrubbed = knowing(secret).scrub(text)
    assert MASK in scrubbed
    core = spelled.rstrip("=")
    assume(core not in f"{before} {after}" and core not in MASK)
    assert core not in scrubbed


@given(secret=SECRETS, before=st.binary(max_size=5), after=st.binary(max_size=5))
def test_base64_at_any_alignment_hides_the_secret(secret: str, before: bytes, after: bytes) -> None:
    raw = before + secret.encode() + after
    for encoded in (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()):
        scrubbed = knowing(secret).scrub(encoded)
        assert MASK in scrubbed
        assert not [inner for inner in inner_base64(secret) if inner in scrubbed]


@given(text=TEXTS, secret=st.text(VISIBLE, min_size=16, max_size=40))
def test_a_text_without_the_secret_stays_as_it_is(text: str, secret: str) -> None:
    assume(not set("@=:") & set(text))  # there are places where anything is a secret: see below
    assume(not [spelled for spelled in written(secret) if spelled in text])
    assert knowing(secret).scrub(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "speaking Streamable HTTP with example.com",
        "100% of \\path\\to\\node &amp; more; a=b, c==d; 5 + 5",
        "https://example.com:8443/mcp?page=2&lang=en&keyboard=de#top and mail@example.com",
        "POST https://example.com/tokens/key answered 404 (code 7)",
        'Give a valid token: set MCP_AUTH_TOKEN, or pass --header "Authorization: Bearer ..." to it',
        "the header Authorization, a cookie and the Mcp-Session-Id",
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"authorize","arguments":{"x":"\\u00e4\\n"}}}',
        "deadbeefdeadbeefdeadbeef QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=",
        "the connection to example.com broke off... and again***",
        "",
    ],
)
def test_innocent_texts_stay_as_they_are(text: str) -> None:
    redactor = knowing("hunter2hunter2", "Bearer abcdefghijkl", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln")
    assert redactor.scrub(text) == text


def test_short_secrets_do_not_eat_innocent_text() -> None:
    assert knowing("data", "a", "", "true", "12345").scrub("database data a true 12345") == "database data a true 12345"


@pytest.mark.parametrize(
    ("secret", "seen"),
    [
        ("Bearer abcdefgh", "sent abcdefgh"),
        ("bearer  abcdefgh", "sent abcdefgh"),
        ("Bearer abc", "sent Bearer abc"),
        ("Basic " + base64.b64encode(b"user:p4ssw0rd").decode(), "the password p4ssw0rd"),
        ("Basic " + base64.b64encode(b"user:p4ssw0rd").decode(), "the pair user:p4ssw0rd"),
        ("theme=dark; session=abcdefgh", "sent session=abcdefgh"),
        ("  abcdefgh\n", "sent abcdefgh"),
    ],
)
def test_the_parts_of_a_header_are_secrets_as_well(secret: str, seen: str) -> None:
    scrubbed = knowing(secret).scrub(seen)
    assert MASK in scrubbed
    assert not [part for part in ("abc", "p4ss") if part in scrubbed]


def test_each_long_line_of_a_key_counts() -> None:
    lines = ["".join(letters(seed, 64)) for seed in range(3)]
    key = "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "short", "-----END PRIVATE KEY-----"])
    redactor = knowing(key)
    for line in lines:
        assert redactor.scrub(f"line {line}.") == f"line {MASK}."
    assert redactor.scrub(key) == MASK
    assert redactor.scrub(json.dumps(key)) == f'"{MASK}"'
    assert redactor.scrub("short -----BEGIN PRIVATE KEY-----") == "short -----BEGIN PRIVATE KEY-----"


def test_base64_that_is_broken_into_lines_is_read_as_one() -> None:
    secret = "x1Y2z3" * 30
    scrubbed = knowing(secret).scrub(base64.encodebytes(b"ab" + secret.encode()).decode())
    assert len(scrubbed) < 20


@pytest.mark.parametrize("length", [6, 9, 14, 15, 29])
@pytest.mark.parametrize("cut", ["…", "... and more", "***", "… (4000 characters)"])
def test_the_beginning_of_a_secret_that_was_cut_off_is_masked(length: int, cut: str) -> None:
    secret = "q7Wk2mXv9Rt4Lz8Pb3Nc6Hd1Fg5Js0Ya"
    assert knowing(secret).scrub(f"token {secret[:length]}{cut}") == f"token {MASK}{cut}"


def test_the_beginning_of_a_secret_may_be_an_innocent_word() -> None:
    assert knowing("production-key-1").scrub("in production. Or") == "in production. Or"


def test_overlapping_secrets_leave_nothing_over() -> None:
    assert knowing("abcdefgh", "efghijkl", "cdefgh").scrub("<abcdefghijkl>") == f"<{MASK}>"


# --- Places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("Authorization: Bearer abc", f"Authorization: Bearer {MASK}"),
        ("authorization: x", f"authorization: {MASK}"),
        ('Proxy-Authorization: Digest username="a", response="b"\nnext', f"Proxy-Authorization: Digest {MASK}\nnext"),
        ('Cookie: a="1"; b=2', f"Cookie: {MASK}"),
        ("Set-Cookie: sid=1; Path=/", f"Set-Cookie: {MASK}"),
        ("Mcp-Session-Id: 1", f"Mcp-Session-Id: {MASK}"),
        ('{"Authorization": "Bearer abc", "x": 1}', f'{{"Authorization": "Bearer {MASK}", "x": 1}}'),
        ("{'X-Api-Key': 'abc', 'x': 1}", f"{{'X-Api-Key': '{MASK}', 'x': 1}}"),
        ("[(b'Authorization', b'abc'), (b'Host', b'h')]", f"[(b'Authorization', b'{MASK}'), (b'Host', b'h')]"),
        (r'{"text": "{\"Authorization\": \"abc\"}"}', rf'{{"text": "{{\"Authorization\": \"{MASK}\"}}"}}'),
        ("GET https://h/x?token=a&page=2", f"GET https://h/x?token={MASK}&page=2"),
        ("GET /x?page=2&api_key=a#f", f"GET /x?page=2&api_key={MASK}#f"),
        ("GET /cb?code=a&state=b", f"GET /cb?code={MASK}&state=b"),
        ("'https://h/?X-Amz-Signature=a'", f"'https://h/?X-Amz-Signature={MASK}'"),
        ("https://h/?accessToken=a b", f"https://h/?accessToken={MASK} b"),
        ("to https%3A%2F%2Fh%2F%3Fsig%3Da%26x%3D1", f"to https%3A%2F%2Fh%2F%3Fsig%3D{MASK}%26x%3D1"),
        ("http://u:p@proxy:3128", f"http://{MASK}@proxy:3128"),
        ("http://tok@proxy/", f"http://{MASK}@proxy/"),
        ("http://u:p@ss@proxy/", f"http://{MASK}@proxy/"),
    ],
)
def test_a_secret_is_masked_at_its_place_though_nobody_knew_it(text: str, scrubbed: str) -> None:
    assert Redactor().scrub(text) == scrubbed


def test_the_names_that_a_user_gives_are_places_as_well() -> None:
    redactor = Redactor()
    assert redactor.scrub("X-Pin: 12 at https://h/?room=7") == "X-Pin: 12 at https://h/?room=7"
    redactor.know_header("X-Pin")
    redactor.know_parameter("room")
    assert redactor.scrub("X-Pin: 12") == f"X-Pin: {MASK}"
    assert redactor.scrub('{"x-pin": "12"}') == f'{{"x-pin": "{MASK}"}}'
    assert redactor.scrub("https://h/?Room=7&x=1") == f"https://h/?Room={MASK}&x=1"


# --- Many of them ----------------------------------------------------------------------------------------------------


def test_what_was_received_long_ago_is_forgotten_and_what_was_given_is_not() -> None:
    redactor = Redactor(received=10)
    redactor.add("given-by-the-user")
    redactor.learn("given-by-the-user")
    for number in range(100):
        redactor.learn(f"received-{number:03d}")
    assert redactor.scrub("given-by-the-user received-099 received-090") == f"{MASK} {MASK} {MASK}"
    assert redactor.scrub("received-000") == "received-000"


def test_a_received_secret_that_is_seen_again_is_new_again() -> None:
    redactor = Redactor(received=10)
    for number in range(100):
        redactor.learn("the-same-again")
        redactor.learn(f"received-{number:03d}")
    assert redactor.scrub("the-same-again") == MASK


def test_hundreds_of_secrets_do_not_make_a_line_slow() -> None:
    source = random.Random(1)  # noqa: S311  made-up text
    words = ["".join(source.choices(string.ascii_lowercase, k=source.randint(2, 9))) for _ in range(500)]
    text = " ".join(source.choices(words, k=12_000))[:65_536]

    def took(count: int) -> float:
        redactor = Redactor()
        for _ in range(count):
            redactor.learn("eyJhbGciOiJIUzI1NiJ9." + "".join(source.choices(string.ascii_letters, k=40)))
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            redactor.scrub(text)
            times.append(time.perf_counter() - begin)
        return min(times)

    few, many = took(5), took(500)
    assert many < 5 * few + 0.005
    assert many < 0.1, "64 KiB take about 6 ms"


def test_secrets_may_be_learnt_in_one_thread_while_another_scrubs() -> None:
    redactor = Redactor(received=8)
    redactor.add("given-by-the-user")
    failures: list[str] = []

    def learn(thread: int) -> None:
        for number in range(300):
            redactor.learn(f"secret-{thread}-{number:04d}")
            if "given" in redactor.scrub("given-by-the-user"):
                failures.append(f"{thread} {number}")

    threads = [threading.Thread(target=learn, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(redactor._received) >= 8
    assert [secret for secret in redactor._received if redactor.scrub(secret) != MASK] == []


# --- Control characters ----------------------------------------------------------------------------------------------


def test_a_log_line_cannot_drive_the_terminal() -> None:
    assert printable("\x1b]0;owned\x07 ok\u202e") == "\\x1b]0;owned\\x07 ok\\u202e"
    assert len(printable("x" * 10_000)) < 2100


@given(st.text(max_size=200))
def test_any_text_can_be_scrubbed(text: str) -> None:
    redactor = knowing("hunter2hunter2")
    redactor.know_header("x-pin")
    once = redactor.scrub(text)
    assert redactor.scrub(once).replace(MASK, "") == once.replace(MASK, "")
    assert urllib.parse.quote("hunter2hunter2") not in once
