"""A browser and the person in front of it, for `$BROWSER`: opens a URL, says yes, and follows where that leads.

    python browser.py LOG [deny] [never] [twice] [hold=FILE] [slow=SECONDS] [forge] [reload] [proxy=PORT] [ca=FILE] URL

LOG gets a line of JSON when the tab is opened, and one when it has come to its end. `deny` says no; `never` opens the
tab and walks away; `twice` returns to the client a second time; `hold` waits until there is such a file; `forge` first
goes to the client's redirect URI with a state, a code and an issuer of its own; `reload` tries again where nobody
listens, as a person reloads a tab; `proxy` and `ca` say how https is reached, and whom is believed there.
"""

from __future__ import annotations

import http.cookiejar
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser

LIMIT = 20
TIME_OUT = 30
RELOADING = 25


class Stay(urllib.request.HTTPRedirectHandler):
    """Redirects are followed by hand, so that each step is seen."""

    def redirect_request(self, *_: object) -> None:
        return None


COOKIES = urllib.request.HTTPCookieProcessor(
    http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(secure_protocols=("http", "https")))
)


def make_opener(ways: dict[str, str]) -> urllib.request.OpenerDirector:
    proxies = {"https": f"http://127.0.0.1:{ways['proxy']}"} if "proxy" in ways else {}
    trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ways.get("ca")))
    return urllib.request.build_opener(urllib.request.ProxyHandler(proxies), trust, COOKIES, Stay)


class Form(HTMLParser):
    """The first form of a page: where it goes, what it sends, and its buttons."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.method = "get"
        self.fields: dict[str, str] = {}
        self.buttons: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action, self.method = given.get("action", ""), given.get("method", "get").lower()
        elif tag == "input" and given.get("name"):
            self.fields[given["name"]] = given.get("value") or "somebody"
        elif tag == "button" and given.get("name"):
            self.buttons.append((given["name"], given.get("value", "")))

    def filled(self, *, deny: bool) -> dict[str, str]:
        """What is sent when a person says yes, by the first button, or no, by the last."""
        pressed = self.buttons[-1 if deny else 0 :][:1]
        return self.fields | dict(pressed)


def fetch(url: str, form: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Return status, Location and text."""
    data = None if form is None else urllib.parse.urlencode(form).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=TIME_OUT) as answer:  # noqa: S310
            return answer.status, "", answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers.get("Location", ""), refused.read().decode("utf-8", "replace")
    except (urllib.error.URLError, OSError) as error:
        return 0, "", f"{type(error).__name__}: {error}"


def note(path: str, **entry: object) -> None:
    line = json.dumps({**entry, "pid": os.getpid(), "time": time.time()}) + "\n"
    with open(path, "a", encoding="utf-8") as log:
        log.write(line)


def forge(url: str) -> None:
    """What somebody else might send to the listening port."""
    back = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query)).get("redirect_uri", "")
    for query in ("code=f0rged&state=wrong", "error=access_denied&state=wrong", "code=f0rged", ""):
        fetch(f"{back}?{query}")
    fetch(urllib.parse.urljoin(back, "/favicon.ico"))


def come_back(url: str, ways: dict[str, str]) -> tuple[int, str, str]:
    """Follow a redirect, which may lead back to the client."""
    found = fetch(url)
    end = time.monotonic() + RELOADING
    while found[0] == 0 and "reload" in ways and time.monotonic() < end:
        time.sleep(0.3)
        found = fetch(url)
    if "twice" in ways and "code=" in url:
        fetch(url)
    return found


def browse(url: str, ways: dict[str, str]) -> tuple[str, int, str]:
    """Return where it ended, with which status and text."""
    status, location, text = fetch(url)
    for _ in range(LIMIT):
        form = Form(text)
        if 300 <= status < 400 and location:
            url = urllib.parse.urljoin(url, location)
            status, location, text = come_back(url, ways)
        elif form.action is not None and form.method == "post":
            url = urllib.parse.urljoin(url, form.action)
            status, location, text = fetch(url, form.filled(deny="deny" in ways))
        else:
            break
    return url, status, text


def main() -> None:
    log, *words, url = sys.argv[1:]
    ways = dict(word.partition("=")[::2] for word in words)
    urllib.request.install_opener(make_opener(ways))
    note(log, event="opened", url=url)
    if "never" in ways:
        return
    if "forge" in ways:
        forge(url)
    time.sleep(float(ways.get("slow", "0")))
    while "hold" in ways and not os.path.exists(ways["hold"]):
        time.sleep(0.05)
    at, status, text = browse(url, ways)
    note(log, event="closed", at=at, status=status, text=text)


if __name__ == "__main__":
    main()
