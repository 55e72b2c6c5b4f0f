"""Browser: opens one URL in the browser of whoever sits here. Never through a shell, and never anything but a web page.

The URL comes from an authorization server and is hostile until shown otherwise (CVE-2025-6514). It is checked once
more here, whoever checked it before; it goes to the program as one argument; and the few characters that a program
which hands it on to a shell of its own might read as its language are percent-encoded, which changes nothing for the
server.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mcp_remote_py.core.oauth.addresses import authorization_url_problem
from mcp_remote_py.core.redact import SHORTEST
from mcp_remote_py.credential_settings import OF_OTHER_TOOLS, TOKEN

_LOG = logging.getLogger("mcp_remote_py.auth.browser")
VERDICT_SECONDS = 1.0
"""A program that fails does it at once; one that still runs after this time shows the page."""
_SHELLS_MEAN = str.maketrans({character: f"%{ord(character):02X}" for character in "$!'()*;"})
"""Sub-delimiters of RFC 3986 that mean the same encoded, but mean something to PowerShell, cmd or sh."""
_OURS = frozenset([TOKEN, *OF_OTHER_TOOLS])
_OUR_PREFIX = "MCP_REMOTE_PY_"
_KERNEL = "/proc/sys/kernel/osrelease"


def open_url(url: str, secrets: Collection[str] = (), environ: Mapping[str, str] | None = None) -> bool:
    """Open the URL. Returns whether a browser seems to have taken it.

    Blocks for a second at most, so an event loop calls it in a thread. The browser is handed no variable that is
    meant for us or holds one of `secrets`. `environ`: another environment than ours. $BROWSER, where it is set, is the
    only program that is tried; its syntax is that of Python's `webbrowser`, without a shell.
    """
    problem = authorization_url_problem(url)
    if problem is not None:
        _LOG.error("No browser was opened: %s.", problem)
        return False
    handed = _harmless(os.environ if environ is None else environ, secrets)
    for argv in commands(url, handed, sys.platform, is_wsl=_is_wsl()):
        if _start(argv, handed):
            return True
    if sys.platform == "win32" and not handed.get("BROWSER"):
        return _by_windows(url)
    return False


def _harmless(environ: Mapping[str, str], secrets: Collection[str]) -> dict[str, str]:
    """Return the variables that another program may see. A short secret counts only as a whole value."""
    telling = [secret for secret in secrets if len(secret) >= SHORTEST]
    return {
        name: value
        for name, value in environ.items()
        if not (name in _OURS or name.startswith(_OUR_PREFIX))
        and not (value in secrets or any(secret in value for secret in telling))
    }


def commands(url: str, environ: Mapping[str, str], platform: str, *, is_wsl: bool = False) -> list[list[str]]:
    """Return the command lines to try, in order. `platform` as in `sys.platform`."""
    plain = url.translate(_SHELLS_MEAN)
    if environ.get("BROWSER", "").strip():
        return _named(environ["BROWSER"], plain, platform)
    if platform == "win32":
        return []
    if platform == "darwin":
        return [["/usr/bin/open", plain]]
    found = [["xdg-open", plain]]
    if is_wsl:
        # rundll32 first: the other two end in a script that hands the URL on to PowerShell
        found = [["rundll32.exe", "url.dll,FileProtocolHandler", plain], ["wslview", plain], *found]
    return found


def _named(setting: str, url: str, platform: str) -> list[list[str]]:
    """Return the commands of $BROWSER: several with the separator of paths between them, `%s` for the URL."""
    found: list[list[str]] = []
    is_windows = platform == "win32"
    for entry in setting.split(";" if is_windows else ":"):
        try:
            words = shlex.split(entry.strip().removesuffix("&"), posix=not is_windows)
        except ValueError:
            continue  # quotes that are never closed: no command at all
        if is_windows:
            words = [word.strip('"') for word in words]
        if not words:
            continue
        if any("%s" in word for word in words):
            found.append([words[0], *(word.replace("%s", url) for word in words[1:])])
        else:
            found.append([*words, url])
    return found


def _start(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    program = shutil.which(argv[0], path=environ.get("PATH"))
    if program is None:
        _LOG.debug("There is no program %s here to open a browser with.", argv[0])
        return False
    try:
        process = subprocess.Popen(  # noqa: S603  an argument list, and a URL that was checked
            [program, *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            **_detached(),
        )
    except (OSError, ValueError):
        _LOG.debug("The program %s could not be started.", argv[0])
        return False
    reaper = threading.Thread(target=process.wait, name="browser", daemon=True)
    reaper.start()  # it takes the child's end, whenever that is: no zombie is left
    reaper.join(VERDICT_SECONDS)
    return process.returncode in (None, 0)


def _detached() -> dict[str, Any]:
    """The browser outlives us, and is not sent the signals that we are sent."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _by_windows(url: str) -> bool:
    if sys.platform == "win32":
        try:
            os.startfile(url)  # noqa: S606  ShellExecute with a checked http(s) URL: no shell reads it
        except OSError:
            return False
        return True
    return False


def _is_wsl() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        with open(_KERNEL, encoding="ascii", errors="replace") as file:
            return "microsoft" in file.read(200).lower()
    except OSError:
        return False
