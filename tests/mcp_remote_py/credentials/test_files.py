"""--header-file and --bearer-file while the bridge runs: what a change, a 401 and a broken file mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mcp_remote_py import settings
from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.credentials import Credentials, Fixed, open_credentials


def ignore(_: str) -> None:
    """Nothing is to be learnt."""


def header_file(path: Path, learnt: list[str] | None = None, **given: Any) -> Credentials:
    file = settings.HeaderFile(str(path), where=f"--header-file {path}", **given)
    return open_credentials(settings.Credentials((("X-Fixed", "1"),), file), ([] if learnt is None else learnt).append)


def bearer_file(path: Path) -> Credentials:
    file = settings.BearerFile(str(path), f"--bearer-file {path}")
    return open_credentials(settings.Credentials(authorization=file), ignore)


def write(path: Path, text: str | bytes) -> None:
    """Replace the content, with a time that no earlier version had, however coarse the clock of the files is."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    if path.stat().st_mtime_ns <= before:
        os.utime(path, ns=(before + 1_000_000, before + 1_000_000))


# --- The header file -------------------------------------------------------------------------------------------------


async def test_a_header_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path, learnt = tmp_path / "headers", list[str]()
    write(path, "X-Key: one\n")
    credentials = header_file(path, learnt)
    first = await credentials.headers()
    assert first == (("X-Fixed", "1"), ("X-Key", "one"))
    assert await credentials.headers() is first
    write(path, "\ufeff# changed\r\nX-Key: two\r\nX-More: three\r\n")
    assert await credentials.headers() == (("X-Fixed", "1"), ("X-Key", "two"), ("X-More", "three"))
    assert {"two", "three"} <= set(learnt)


async def test_a_file_that_was_replaced_by_another_is_seen(tmp_path: Path) -> None:
    path, other = tmp_path / "headers", tmp_path / "new"
    write(path, "X-Key: one\n")
    credentials = header_file(path)
    await credentials.headers()
    write(other, "X-Key: two\n")
    os.utime(other, ns=(path.stat().st_mtime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    assert dict(await credentials.headers())["X-Key"] == "two"


@pytest.mark.parametrize(
    "broken", ["no colon", "", b"X-Key: \xff\xfe\n", "X-Key: 1\nX-Key: 2\n", "X-Key: ${NEVER_SET}\n", None]
)
async def test_a_broken_file_leaves_the_last_good_headers_in_force_and_warns_once(
    tmp_path: Path, broken: str | bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "headers"
    write(path, "X-Key: one\n")
    credentials = header_file(path)
    good = await credentials.headers()
    if broken is None:
        path.unlink()
    else:
        write(path, broken)
    for _ in range(3):
        assert await credentials.headers() == good
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert str(path) in warning.getMessage()
    write(path, "X-Key: mended\n")
    assert dict(await credentials.headers())["X-Key"] == "mended"
    path.unlink()
    await credentials.headers()
    assert len(caplog.records) > 1, "the next trouble is told again"


async def test_variables_in_it_are_those_of_the_start(tmp_path: Path) -> None:
    path = tmp_path / "headers"
    write(path, "X-Key: ${KEY}\n")
    credentials = header_file(path, environ=(("KEY", "value"),))
    assert dict(await credentials.headers())["X-Key"] == "value"
    write(path, "X-Other: <${KEY}>\n")
    assert dict(await credentials.headers())["X-Other"] == "<value>"


async def test_what_is_given_elsewhere_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "headers"
    write(path, "x-fixed: 2\nX-Key: one\n")
    credentials = header_file(path, without=frozenset(["x-fixed"]))
    assert await credentials.headers() == (("X-Fixed", "1"), ("X-Key", "one"))


async def test_after_a_401_the_file_is_read_whatever_its_times_say(tmp_path: Path) -> None:
    path = tmp_path / "headers"
    write(path, "X-Key: one\n")
    credentials = header_file(path)
    shown = await credentials.headers()
    assert not await credentials.refused(shown)
    status = path.stat()
    path.write_text("X-Key: two\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert await credentials.headers() == shown, "nothing tells that it has changed"
    assert await credentials.refused(shown)
    assert dict(await credentials.headers())["X-Key"] == "two"


async def test_sign_in_stays_on_unless_the_file_has_an_authorization(tmp_path: Path) -> None:
    path = tmp_path / "headers"
    write(path, "X-Key: one\n")
    before = header_file(path)
    await before.headers()
    assert not before.with_authorization
    assert before.source is None
    credentials = header_file(path)
    await credentials.headers()
    write(path, "authorization: Bearer x\n")
    await credentials.headers()
    assert credentials.with_authorization
    assert credentials.source is not None
    assert "header-file" in credentials.source.what


async def test_what_the_shell_gives_once_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    credentials = header_file(path, headers=(("X-Key", "of the start"),))
    assert dict(await credentials.headers())["X-Key"] == "of the start"


# --- The bearer file -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["tok", "tok\n", "\ufefftok\r\n", "Bearer tok\n", "bearer tok", "\n  tok \n\n"])
async def test_a_token_is_found_in_what_surrounds_it(tmp_path: Path, text: str) -> None:
    write(tmp_path / "token", text)
    credentials = bearer_file(tmp_path / "token")
    assert await credentials.headers() == (("Authorization", "Bearer tok"),)
    assert credentials.with_authorization


async def test_a_bearer_file_is_read_again_when_it_changes_and_after_a_401(tmp_path: Path) -> None:
    path = tmp_path / "token"
    write(path, "one")
    credentials = bearer_file(path)
    shown = await credentials.headers()
    assert await credentials.headers() is shown
    assert not await credentials.refused(shown)
    write(path, "two")
    assert await credentials.headers() == (("Authorization", "Bearer two"),)
    status = path.stat()
    path.write_text("six")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert await credentials.refused(await credentials.headers())
    assert await credentials.headers() == (("Authorization", "Bearer six"),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is nothing in it"),
        ("Bearer \n", "there is nothing in it"),
        ("one\ntwo\n", "more than one line"),
        ("one two", "a blank within it"),
        (b"\xff\xfet\x00", "not UTF-8"),
        ("t\x07k", "characters"),
        ("x" * 300_000, "too large"),
        (None, "cannot be read"),
    ],
)
async def test_a_file_without_a_token_is_named_with_the_reason_until_it_is_mended(
    tmp_path: Path, text: str | bytes | None, why: str
) -> None:
    path = tmp_path / "token"
    if text is not None:
        write(path, text)
    credentials = bearer_file(path)
    with pytest.raises(SignInNeeded) as caught:
        await credentials.headers()
    assert str(path) in str(caught.value)
    assert why in str(caught.value)
    assert str(path) in caught.value.hint
    write(path, "good")
    assert await credentials.headers() == (("Authorization", "Bearer good"),)
    path.unlink()
    with pytest.raises(SignInNeeded):
        await credentials.headers()


# --- What never changes ----------------------------------------------------------------------------------------------


async def test_fixed_headers_have_no_others() -> None:
    given = settings.Credentials((("Authorization", "Basic eA=="),))
    credentials = open_credentials(given, ignore)
    assert isinstance(credentials, Fixed)
    assert credentials.with_authorization
    assert not await credentials.refused(await credentials.headers())
    assert not Fixed((("X-Key", "1"),)).with_authorization
