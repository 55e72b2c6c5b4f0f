"""The operating system's proxy settings: macOS (System Settings) and Windows (Internet Options). Linux has none.

They are read in a thread and for a bounded time: both systems may ask a service that hangs. A PAC file is only noticed,
never fetched or run.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Any

from mcp_remote_py.core.http.proxies import SystemProxies, split_exceptions

SECONDS = 3.0
_SCUTIL = "/usr/sbin/scutil"
_REGISTRY_KEY = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings"


async def system_proxies(platform: str = sys.platform) -> SystemProxies:
    """Return what the settings say now; nothing where there are none, or where they do not answer in time."""
    read = {"darwin": _of_macos, "win32": _of_windows}.get(platform)
    if read is None:
        return SystemProxies()
    try:
        async with asyncio.timeout(SECONDS):
            return await asyncio.to_thread(read)
    except (TimeoutError, OSError, ImportError, ValueError):
        return SystemProxies()  # settings that cannot be read are no settings: the direct way is tried, and reported


def _of_macos() -> SystemProxies:
    proxies: dict[str, str] = _ask_urllib("getproxies_macosx_sysconf")
    found: dict[str, Any] = importlib.import_module("_scproxy")._get_proxy_settings()  # noqa: SLF001  as urllib does
    exceptions = tuple(str(entry) for entry in found.get("exceptions", ()) if entry)
    if found.get("exclude_simple"):
        exceptions += ("<local>",)
    return SystemProxies(tuple(proxies.items()), exceptions, pac_of_scutil(_ask_scutil()))


def _ask_scutil() -> str:
    """What urllib reads has no word about PAC files."""
    import subprocess

    try:
        said = subprocess.run(  # noqa: S603  no argument comes from outside
            [_SCUTIL, "--proxy"], capture_output=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # a PAC file that goes unnoticed costs a hint
    return said.stdout.decode("utf-8", "replace")


def pac_of_scutil(text: str) -> str | None:
    """Return the PAC file that `scutil --proxy` prints: its URL, or `wpad` where it is to be discovered."""
    pairs = (line.partition(":") for line in text.splitlines())
    values = {name.strip(): value.strip() for name, _, value in pairs}
    if values.get("ProxyAutoConfigEnable") == "1":
        return values.get("ProxyAutoConfigURLString") or "wpad"
    return "wpad" if values.get("ProxyAutoDiscoveryEnable") == "1" else None


def _of_windows() -> SystemProxies:
    proxies: dict[str, str] = _ask_urllib("getproxies_registry")
    registry = importlib.import_module("winreg")
    with registry.OpenKey(registry.HKEY_CURRENT_USER, _REGISTRY_KEY) as key:
        exceptions = _value(registry, key, "ProxyOverride")
        pac = _value(registry, key, "AutoConfigURL")
    return SystemProxies(tuple(proxies.items()), split_exceptions(exceptions), pac or None)


def _ask_urllib(name: str) -> dict[str, str]:
    """These functions exist on their own platform alone. What they lack are PAC files and, on Windows, exceptions."""
    import urllib.request

    function = getattr(urllib.request, name, None)
    return {} if function is None else dict(function())


def _value(registry: Any, key: Any, name: str) -> str:
    try:
        return str(registry.QueryValueEx(key, name)[0])
    except OSError:
        return ""  # not set
