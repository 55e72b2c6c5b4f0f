"""The pages that a browser is shown, as bytes."""

from __future__ import annotations

import pytest

from mcp_remote_py.auth import callback_page
from mcp_remote_py.auth.callback_page import Page

PAGES = [
    *(page for page in vars(callback_page).values() if isinstance(page, Page)),
    callback_page.signed_in("mcp.example.com"),
    callback_page.signed_in("mcp.example.com", "https://intranet.example/"),
    callback_page.failed("mcp.example.com"),
    callback_page.unfinished("mcp.example.com"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.title)
def test_every_page_is_whole_and_locked_down(page: Page) -> None:
    head, _, body = page.to_bytes().partition(b"\r\n\r\n")
    text = head.decode("ascii") + "\r\n"
    assert text.startswith(f"HTTP/1.1 {page.status} ")
    assert f"\r\nContent-Length: {len(body)}\r\n" in text
    for line in ("Cache-Control: no-store", "Referrer-Policy: no-referrer", "Connection: close"):
        assert f"\r\n{line}\r\n" in text
    assert "\r\nContent-Security-Policy: default-src 'none'; style-src 'sha256-" in text
    assert b"<script" not in body
    assert b"://" not in body
    assert page.to_bytes(without_body=True) == head + b"\r\n\r\n"


def test_the_pages_were_found() -> None:
    assert len(PAGES) >= 9


@pytest.mark.parametrize("make", [callback_page.signed_in, callback_page.failed, callback_page.unfinished])
def test_the_name_of_the_server_is_text_and_nothing_else(make: type) -> None:
    body = make("<img src=x onerror=y>&\"'.example").to_bytes().partition(b"\r\n\r\n")[2]
    assert b"<img" not in body
    assert body.count(b"&lt;img src=x onerror=y&gt;&amp;&quot;&#x27;.example") == 2
