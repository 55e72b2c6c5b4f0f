"""The operating system's proxy settings, as macOS and Windows would give them, and when they are read again."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
import urllib.request
from types import ModuleType
from typing import Any, Self

import pytest

from mcp_remote_py.core.http.proxies import PAC_HINT, SystemProxies
from mcp_remote_py.net import routes, system_proxy
from mcp_remote_py.net.routes import Routes
from mcp_remote_py.net.system_proxy import pac_of_scutil, system_proxies
from mcp_remote_py.settings import Network

SCUTIL = """<dictionary> {
  HTTPSEnable : 0
  ProxyAutoConfigEnable : %s
  ProxyAutoConfigURLString : http://wpad.corp/proxy.pac
  ProxyAutoDiscoveryEnable : %s
}
"""


async def test_linux_has_no_settings() -> None:
    assert await system_proxies("linux") == SystemProxies()


def _macos(monkeypatch: pytest.MonkeyPatch, pac: str = "0", wait: float = 0.0) -> None:
    module = ModuleType("_scproxy")
    settings = {"exclude_simple": True, "exceptions": ("*.local", "169.254/16")}
    module._get_proxy_settings = lambda: settings  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "_scproxy", module)

    def ask() -> dict[str, str]:
        time.sleep(wait)
        return {"https": "http://os.corp:8080"}

    def run(*_: Any, **__: Any) -> Any:
        return subprocess.CompletedProcess((), 0, (SCUTIL % (pac, "0")).encode())

    monkeypatch.setattr(urllib.request, "getproxies_macosx_sysconf", ask, raising=False)
    monkeypatch.setattr(subprocess, "run", run)


async def test_macos_gives_proxies_and_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    _macos(monkeypatch)
    assert await system_proxies("darwin") == SystemProxies(
        (("https", "http://os.corp:8080"),), ("*.local", "169.254/16", "<local>")
    )


async def test_macos_gives_its_pac_file(monkeypatch: pytest.MonkeyPatch) -> None:
    _macos(monkeypatch, pac="1")
    assert (await system_proxies("darwin")).pac == "http://wpad.corp/proxy.pac"


async def test_settings_that_hang_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    _macos(monkeypatch, wait=0.5)
    monkeypatch.setattr(system_proxy, "SECONDS", 0.05)
    assert await system_proxies("darwin") == SystemProxies()


@pytest.mark.parametrize(
    ("pac", "discovery", "found"),
    [("1", "0", "http://wpad.corp/proxy.pac"), ("0", "1", "wpad"), ("0", "0", None)],
)
def test_what_scutil_prints_is_read(pac: str, discovery: str, found: str | None) -> None:
    assert pac_of_scutil(SCUTIL % (pac, discovery)) == found


def test_what_else_scutil_prints_is_nothing() -> None:
    assert pac_of_scutil("") is None


class _Registry(ModuleType):
    HKEY_CURRENT_USER = 1

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__("winreg")
        self._values = values

    def OpenKey(self, *_: Any) -> Self:  # noqa: N802
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def QueryValueEx(self, _: Any, name: str) -> tuple[str, int]:  # noqa: N802
        if name not in self._values:
            raise FileNotFoundError(name)
        return self._values[name], 1


@pytest.mark.parametrize(
    ("values", "exceptions", "pac"),
    [
        ({}, (), None),
        ({"ProxyOverride": "*.corp;10.*;<local>"}, ("*.corp", "10.*", "<local>"), None),
        ({"AutoConfigURL": "http://wpad.corp/proxy.pac"}, (), "http://wpad.corp/proxy.pac"),
    ],
)
async def test_windows_gives_proxies_exceptions_and_its_pac_file(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], exceptions: tuple[str, ...], pac: str | None
) -> None:
    monkeypatch.setitem(sys.modules, "winreg", _Registry(values))
    monkeypatch.setattr(urllib.request, "getproxies_registry", lambda: {"https": "http://os:1"}, raising=False)
    assert await system_proxies("win32") == SystemProxies((("https", "http://os:1"),), exceptions, pac)


# --- Routes ----------------------------------------------------------------------------------------------------------

URL = "https://mcp.example.com/mcp"


class _Laptop:
    """A machine that moves between networks; `reads` counts how often its settings were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = SystemProxies((("https", "http://office:8080"),))
        self.reads = 0
        monkeypatch.setattr(system_proxy, "system_proxies", self._read)

    async def _read(self) -> SystemProxies:
        self.reads += 1
        await asyncio.sleep(0)
        return self.settings


async def test_the_settings_are_read_again_when_the_network_may_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    laptop, ways = _Laptop(monkeypatch), Routes(Network())
    found = await asyncio.gather(*(ways.to(URL) for _ in range(20)))
    assert {route.proxy.host for route in found if route.proxy} == {"office"}
    assert laptop.reads == 1
    laptop.settings = SystemProxies()
    assert (await ways.to(URL)).proxy is not None
    monkeypatch.setattr(routes, "FRESH_SECONDS", 0.0)
    assert (await ways.to(URL)).proxy is None
    assert laptop.reads == 2


@pytest.mark.parametrize("network", [Network(proxy="none"), Network(variables=(("http", "p"),)), Network(proxy="p")])
async def test_the_settings_are_not_read_where_they_have_no_say(
    monkeypatch: pytest.MonkeyPatch, network: Network
) -> None:
    laptop = _Laptop(monkeypatch)
    await Routes(network).to(URL)
    assert laptop.reads == 0


async def test_a_pac_file_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    laptop, ways = _Laptop(monkeypatch), Routes(Network())
    laptop.settings = SystemProxies(pac="http://wpad.corp/proxy.pac")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert (await ways.to(URL)).pac is not None
    (record,) = caplog.records
    assert PAC_HINT in record.getMessage()
    assert "PAC file" in record.getMessage()
