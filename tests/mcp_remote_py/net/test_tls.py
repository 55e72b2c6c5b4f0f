"""Whom we trust, whom we show our certificate, and what is said of a certificate that was refused."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mcp_remote_py.core.errors import ConfigError, Interrupted, TlsRefused, Unreachable
from mcp_remote_py.core.http.origins import origin_of
from mcp_remote_py.net import system_store
from mcp_remote_py.net import tls as net_tls
from mcp_remote_py.net.tls import Trust, checked, make_context, presented
from mcp_remote_py.settings import Settings, Target, Tls, TrustFile
from tests.support.certificates import (
    CLIENTS,
    Issued,
    Key,
    authority,
    intermediate,
    issue,
    root,
    server_context,
    trusting,
    weak_key,
)
from tests.support.handshake import shake

HOST = "mcp.example.com"
HOME = origin_of(f"https://{HOST}/mcp")
by_openssl = pytest.mark.skipif(system_store.HAS_INTERFACE, reason="the system's interface gives other reasons")


async def no_look(context: ssl.SSLContext) -> list[bytes]:
    raise AssertionError("the certificate was there already")


async def refused(server: Issued, tls: Tls | None = None, host: str = HOST) -> Unreachable:
    """The fault for a server with this certificate."""
    trust = Trust(tls or Tls())
    with pytest.raises(ssl.SSLError) as caught:
        shake(await trust.context(host), server.server(), host)
    return await trust.refusal(caught.value, host, no_look)


@pytest.fixture
def trusted(tmp_path: Path) -> Tls:
    """Settings that trust our root."""
    (tmp_path / "root.pem").write_bytes(root().pem)
    return trusting(tmp_path / "root.pem")


# --- Whom we trust ---------------------------------------------------------------------------------------------------


def test_files_add_up(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(authority().cert_pem.bytes())
    (tmp_path / "b.der").write_bytes(root().der)
    context = make_context(trusting(tmp_path / "a.pem", tmp_path / "b.der"))
    shake(context, server_context(HOST))
    shake(context, issue(HOST, by=root()).server())


def test_without_a_file_the_authority_is_unknown() -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(make_context(Tls()), server_context(HOST))


def test_the_context_verifies_names_and_certificates() -> None:
    context = make_context(Tls())
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert type(context).__module__.startswith("truststore") is system_store.HAS_INTERFACE


def test_the_systems_store_stays_when_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if system_store.HAS_INTERFACE:
        pytest.skip("the system is asked by its interface")
    (tmp_path / "system.crt").write_bytes(root().pem)
    (tmp_path / "mine.pem").write_bytes(authority().cert_pem.bytes())
    monkeypatch.setattr(system_store, "FILES", (str(tmp_path / "system.crt"),))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "mine.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    context = make_context(Tls((TrustFile(str(tmp_path / "mine.pem"), "SSL_CERT_FILE"),)))
    shake(context, issue(HOST, by=root()).server())
    shake(context, server_context(HOST))


def test_the_systems_own_files_named_once_more_are_not_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "system.crt").write_bytes(root().pem)
    (tmp_path / "link.crt").symlink_to("system.crt")
    monkeypatch.setattr(system_store, "FILES", (str(tmp_path / "system.crt"),))
    monkeypatch.setattr(system_store, "HAS_INTERFACE", False)
    loaded: list[int] = []
    add = system_store.add

    def counting(context: ssl.SSLContext, certificates: tuple[bytes, ...]) -> int:
        loaded.append(certificates.count(root().der))
        return add(context, certificates)

    monkeypatch.setattr(system_store, "add", counting)
    context = make_context(trusting(tmp_path / "link.crt"))
    assert sum(loaded) == 1
    shake(context, issue(HOST, by=root()).server())


@pytest.mark.parametrize("what", ["the server's own", "its intermediate authority's"])
def test_whatever_certificate_the_user_names_is_trusted(tmp_path: Path, what: str) -> None:
    server = issue(HOST) if what == "the server's own" else issue(HOST, by=intermediate()).alone()
    named = server if what == "the server's own" else intermediate()
    (tmp_path / "ca.pem").write_bytes(named.pem)
    shake(make_context(trusting(tmp_path / "ca.pem")), server.server())


def test_the_users_own_certificate_is_for_its_host_alone(tmp_path: Path) -> None:
    server = issue("other.example")
    (tmp_path / "ca.pem").write_bytes(server.pem)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname"):
        shake(make_context(trusting(tmp_path / "ca.pem")), server.server())


def test_what_was_lost_since_the_check_leaves_the_rest_trusted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, odd = tmp_path / "good.pem", tmp_path / "odd.der"
    good.write_bytes(root().pem)
    odd.write_bytes(b"\x30\x82\x00\x05\x30\x03\x02\x01\x01")  # the outline of a certificate, and nothing in it
    shake(make_context(trusting(tmp_path / "none.pem", odd, good)), issue(HOST, by=root()).server())
    assert "none.pem cannot be used" in caplog.text
    assert f"1 of the certificates in {odd} cannot be read" in caplog.text


async def test_a_context_is_made_once_and_again_when_its_files_change(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(authority().cert_pem.bytes())
    trust = Trust(trusting(path))
    first, second = await asyncio.gather(trust.context(HOST), trust.context("other.example:8443"))
    assert first is second
    path.write_bytes(root().pem)
    os.utime(path, ns=(1, 1))
    third = await trust.context(HOST)
    assert third is not first
    assert await trust.context(HOST) is third
    shake(third, issue(HOST, by=root()).server())


# --- Hosts that are not verified -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "host", "verified"),
    [
        ("mcp.example.com", "mcp.example.com", False),
        ("mcp.example.com", "mcp.example.com:8443", False),
        ("mcp.example.com:8443", "mcp.example.com:8443", False),
        ("mcp.example.com:8443", "mcp.example.com", True),
        ("mcp.example.com:443", "mcp.example.com", False),
        ("MCP.example.com.", "mcp.example.com", False),
        ("example.com", "mcp.example.com", True),
        ("mcp.example.com", "mcp.example.com.evil.example", True),
        ("mcp.example.com", "evil-mcp.example.com", True),
        ("*", "mcp.example.com", True),
        ("*.example.com", "mcp.example.com", True),
        ("::1", "[::1]:8443", False),
        ("[::1]:8443", "[::1]:8443", False),
        ("127.0.0.1", "127.0.0.1:9", False),
        ("127.0.0.1", "127.0.0.11:9", True),
    ],
)
async def test_only_the_very_host_is_not_verified(named: str, host: str, *, verified: bool) -> None:
    context = await Trust(Tls(insecure=(named,))).context(host)
    assert context.check_hostname is verified
    assert (context.verify_mode is ssl.CERT_REQUIRED) is verified
    if not verified:
        shake(context, issue("whoever.example", days=(-9, -1)).server())


def test_an_insecure_host_is_said_loudly() -> None:
    settings = checked(Settings(Target("https://mcp.example.com"), tls=Tls(insecure=("mcp.example.com",))))
    (note,) = settings.notes
    assert "--insecure mcp.example.com" in note
    assert "NOT VERIFIED" in note


# --- Who we are ------------------------------------------------------------------------------------------------------


@pytest.fixture
def ours(tmp_path: Path, trusted: Tls) -> Tls:
    """Settings with a certificate of our own."""
    mine = issue(name="laptop-17", by=root(), use=CLIENTS)
    (tmp_path / "me.pem").write_bytes(mine.pem + mine.key_pem)
    return trusted._replace(client_cert=str(tmp_path / "me.pem"))


def _shown(context: ssl.SSLContext, host: str = HOST) -> bytes | None:
    server = issue(HOST, "other.example", by=root()).server(asks=root())
    server.verify_mode = ssl.CERT_OPTIONAL
    return shake(context, server, host).getpeercert(binary_form=True)


async def test_our_certificate_is_shown_at_home_and_nowhere_else(ours: Tls) -> None:
    trust = Trust(ours, HOME)
    assert _shown(await trust.context(HOST)) is not None
    assert _shown(await trust.context(f"{HOST}:443")) is not None
    for place in ("other.example", f"{HOST}:8443", f"proxy.{HOST}:3128"):
        assert _shown(await trust.context(place)) is None, place
    assert _shown(await Trust(ours).context(HOST)) is None


async def test_our_certificate_is_shown_to_a_home_that_is_not_verified(ours: Tls) -> None:
    trust = Trust(ours._replace(insecure=(HOST,)), HOME)
    assert _shown(await trust.context(HOST)) is not None


async def test_a_renewed_certificate_is_shown_from_then_on(
    ours: Tls, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trust = Trust(ours, HOME)
    first = _shown(await trust.context(HOST))
    renewed = issue(name="laptop-17", by=root(), use=CLIENTS)
    (tmp_path / "me.pem").write_bytes(renewed.pem)  # half of it
    assert _shown(await trust.context(HOST)) == first
    assert "a changed file is not used" in caplog.text
    (tmp_path / "me.pem").write_bytes(renewed.pem + renewed.key_pem)
    assert _shown(await trust.context(HOST)) == renewed.der


async def test_a_certificate_of_ours_that_is_gone_is_a_fault(ours: Tls, tmp_path: Path) -> None:
    (tmp_path / "me.pem").unlink()
    with pytest.raises(TlsRefused, match="--client-cert"):
        await Trust(ours, HOME).context(HOST)


def test_our_certificate_is_tried_at_the_start(ours: Tls, tmp_path: Path) -> None:
    target = Target("https://mcp.example.com")
    assert checked(Settings(target, tls=ours)).tls == ours
    (tmp_path / "me.pem").write_bytes(b"")
    with pytest.raises(ConfigError, match="--client-cert"):
        checked(Settings(target, tls=ours))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_wants_our_certificate_is_understood(trusted: Tls, version: ssl.TLSVersion) -> None:
    server = issue(HOST, by=root()).server(asks=root(), version=version)
    trust = Trust(trusted, HOME)
    with pytest.raises(ssl.SSLError) as caught:
        shake(await trust.context(HOST), server)
    fault = await trust.refusal(caught.value, HOST, _looking_at(server))
    assert f"to {HOST} could be made: the server wants a client certificate" in str(fault)
    assert "--client-cert FILE" in fault.hint


def _looking_at(server: ssl.SSLContext) -> Callable[[ssl.SSLContext], Awaitable[list[bytes]]]:
    async def look(context: ssl.SSLContext) -> list[bytes]:
        shake(context, server)
        return []

    return look


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_hangs_up_because_it_wants_our_certificate_is_found_out(
    ours: Tls, version: ssl.TLSVersion
) -> None:
    fault = Interrupted("it closed the connection")
    look = _looking_at(issue(HOST, by=root()).server(asks=root(), version=version))
    without = await Trust(ours).hung_up(fault, HOST, look)
    assert isinstance(without, TlsRefused)
    assert "wants a client certificate" in str(without)
    assert "--client-cert FILE" in without.hint
    shown = await Trust(ours, HOME).hung_up(fault, HOST, look)
    assert (type(shown), shown.may_have_run) == (Interrupted, True)
    assert f"was shown {ours.client_cert}" in str(shown)
    assert "--client-cert" in shown.hint
    for error in (ConnectionResetError(), EOFError(), ssl.SSLEOFError()):
        assert "wants a client certificate" in str(await Trust(ours).refusal(error, HOST, look))


async def test_a_server_that_hangs_up_for_another_reason_is_not_accused(ours: Tls) -> None:
    fault = Interrupted("it closed the connection")
    assert await Trust(ours, HOME).hung_up(fault, HOST, _looking_at(issue(HOST, by=root()).server())) is fault

    async def gone(context: ssl.SSLContext) -> list[bytes]:
        raise ConnectionRefusedError

    assert await Trust(ours).hung_up(fault, HOST, gone) is fault


# --- Refusals --------------------------------------------------------------------------------------------------------

ZSCALER = issue(name="Zscaler Root CA", organization="Zscaler Inc.", is_authority=True)
ZSCALER_BELOW = issue(name="Zscaler Intermediate Root CA", organization="Zscaler Inc.", by=ZSCALER, is_authority=True)
OLD = issue(name="Old Issuing CA", by=root(), is_authority=True, days=(-90, -2))


def _server(
    *hosts: str, by: Issued | None = None, days: tuple[float, float] = (-1, 9), key: Key | None = None
) -> Issued:
    return issue(*(hosts or (HOST,)), by=by or root(), days=days, key=key)


REFUSALS: dict[str, tuple[Issued, tuple[str, ...], tuple[str, ...]]] = {
    "expired": (
        _server(days=(-9, -2)),
        (_server(days=(-9, -2)).certificate.not_valid_after_utc.strftime("it expired on %Y-%m-%d"),),
        ("clock", "operator must renew"),
    ),
    "expired authority": (_server(by=OLD), ('its authority "Old Issuing CA" expired on',), ("operator",)),
    "not yet valid": (_server(days=(2, 9)), ("it is not valid before 20",), ("clock",)),
    "wrong host": (
        _server("api.example.com", "*.example.org"),
        ('it is for "api.example.com", "*.example.org", not for mcp.example.com',),
        ("Use a host name in the URL",),
    ),
    "wrong purpose": (issue(HOST, by=root(), use=CLIENTS), ("not issued for servers",), ("operator",)),
    "self-signed": (issue(HOST), ("it is self-signed",), ("openssl s_client", "--ca-bundle FILE")),
    "unknown root": (
        issue(HOST, by=intermediate("Stranger CA", by=issue(name="Strange Root", is_authority=True))),
        ('issued by "Strange Root", an authority that this machine does not trust',),
        ('The issuer is "Strange Root"', "--ca-bundle FILE"),
    ),
    "missing intermediate": (
        issue(HOST, by=intermediate()).alone(),
        ('does not send the intermediate certificate "Example Issuing CA" (Example Corp)',),
        ("operator must add that certificate", "--ca-bundle FILE"),
    ),
    "Zscaler": (
        issue(HOST, by=ZSCALER_BELOW),
        ("Zscaler Root CA", "opens connections on the way"),
        ("The issuer is Zscaler: export its root", "--ca-bundle FILE"),
    ),
    "weak key": (_server(key=weak_key()), ("too short",), ("operator",)),
    "no authority": (issue(HOST, by=issue("web.example", by=root())), ("is no authority's",), ("operator",)),
    "another root of the same name": (
        issue(HOST, by=issue(name="Example Root CA", organization="Example Corp", is_authority=True)),
        ('"Example Root CA" (Example Corp)',),
        ("--ca-bundle FILE",),
    ),
}


@by_openssl
@pytest.mark.parametrize("kind", list(REFUSALS))
async def test_a_refusal_names_host_subject_issuer_reason_stores_and_mend(kind: str, trusted: Tls) -> None:
    server, words, mend = REFUSALS[kind]
    stale = TrustFile("/old place/zscaler.pem", "NODE_EXTRA_CA_CERTS")
    fault = await refused(server, trusted._replace(missing=(stale,)))
    assert type(fault) is TlsRefused
    text = str(fault)
    assert text.startswith(f"the certificate of {HOST} was refused: ")
    for part in words:
        assert part in text
    for part in mend:
        assert part in fault.hint
    assert 'subject "' in text
    assert 'issuer "' in text
    assert "asked: the system's store" in text or "asked: no system's store" in text
    assert f"--ca-bundle {trusted.trusted[0].path}" in text
    assert "not usable: NODE_EXTRA_CA_CERTS /old place/zscaler.pem" in text


async def test_where_the_certificate_was_not_kept_a_second_look_describes_it() -> None:
    """As on macOS and Windows, where the system's interface refuses."""
    error = ssl.SSLCertVerificationError("text of the system")
    error.verify_code = 0x800B0109
    looked: list[ssl.SSLContext] = []

    async def look(context: ssl.SSLContext) -> list[bytes]:
        looked.append(context)
        return [issue(HOST, by=ZSCALER_BELOW).der, ZSCALER_BELOW.der]

    fault = await Trust(Tls()).refusal(RuntimeError("outer"), HOST, look)
    assert (type(fault), looked) == (Unreachable, [])
    fault = await Trust(Tls()).refusal(error, HOST, look)
    assert "The issuer is Zscaler" in fault.hint
    assert "text of the system" not in str(fault)
    (context,) = looked
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


@pytest.mark.parametrize("trouble", [OSError(), TimeoutError(), Unreachable("proxy"), None])
async def test_without_a_second_look_the_reason_is_still_told(trouble: Exception | None) -> None:
    error = ssl.SSLCertVerificationError("text")
    error.verify_code = 20

    async def look(context: ssl.SSLContext) -> list[bytes]:
        if trouble is not None:
            raise trouble
        return []

    fault = await Trust(Tls()).refusal(error, HOST, look)
    assert "does not trust" in str(fault)
    assert "--ca-bundle FILE" in fault.hint


async def test_a_look_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net_tls, "LOOK_SECONDS", 0.01)
    error = ssl.SSLCertVerificationError("text")
    error.verify_code = 10

    async def look(context: ssl.SSLContext) -> list[bytes]:
        await asyncio.Event().wait()
        return []

    assert "expired" in str(await Trust(Tls()).refusal(error, HOST, look))


async def test_hostile_certificates_do_no_harm() -> None:
    error = ssl.SSLCertVerificationError("text")
    error.verify_code = 20
    evil = issue(HOST, name="\x1b[2J\r\nFake: log line\u202e" + "x" * 40, organization='" injected "')

    async def look(context: ssl.SSLContext) -> list[bytes]:
        return [evil.der, b"\x30\x80garbage", evil.der * 3]

    text = str(await Trust(Tls()).refusal(error, HOST, look))
    assert "\\x1b[2J Fake: log line" in text
    assert not any(ord(character) < 32 for character in text)
    assert "\u202e" not in text


async def test_what_a_server_presents_can_be_read_from_the_connection() -> None:
    context = await Trust(Tls(insecure=(HOST,))).context(HOST)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = context.wrap_bio(to_client, to_server, server_hostname=HOST)
    assert presented(ours) == []
    server = issue(HOST, by=intermediate())
    theirs = server.server().wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert presented(ours) == [server.der, intermediate().der]
