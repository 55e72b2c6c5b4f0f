"""TLS through the real console script: what is trusted, what is shown, and what a person reads when it is refused."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import CLIENTS, Issued, Key, intermediate, issue, root, weak_key
from tests.support.host import clean_environment, launch, python_command
from tests.support.interceptor import intercepting
from tests.support.three_wires import three_wires

WIRES = ("http", "sse", "ws")
WAYS = {"http": "http-only", "sse": "sse-only", "ws": "ws-only"}
GOOD = issue("127.0.0.1", by=intermediate())
PEM, DER = root().pem, root().der
OTHER = issue(name="Another Root", is_authority=True)

FORMS = {
    "pem": PEM,
    "der": DER,
    "several": b"# authorities\n" + OTHER.pem + b"and ours\n" + PEM,
    "bom": b"\xef\xbb\xbf" + PEM,
    "crlf": PEM.replace(b"\n", b"\r\n"),
    "utf-16": PEM.decode().encode("utf-16"),
}
FILES = ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
FOLDERS = ("SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
NAMES = ("--ca-bundle", *FILES, "SSL_CERT_DIR")


async def greeting(
    url: str, *arguments: str, env: Mapping[str, str] | None = None, command: list[str] | None = None
) -> tuple[dict[str, Any], str]:
    """What the host reads as the answer to `initialize`, and the log."""
    async with launch(url, *arguments, env=env or clean_environment(), command=command) as host:
        answer = await host.greet()
        assert await host.end() == 0
        return answer, host.log.decode()


async def refusal(url: str, *arguments: str, env: Mapping[str, str] | None = None) -> tuple[str, str]:
    """The text and the hint of the error that the host reads."""
    answer, _ = await greeting(url, *arguments, env=env)
    error = answer["error"]
    assert (error["code"], error["data"]["name"]) == (-31001, "TlsRefused"), error
    assert error["data"]["may_have_run"] is False
    return error["message"], error["data"]["hint"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Our root, at a path with blanks."""
    folder = tmp_path / "Application Support" / "Zscaler Root"
    folder.mkdir(parents=True)
    (folder / "root ca.pem").write_bytes(PEM)
    return folder / "root ca.pem"


# --- Whom we trust ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
async def test_a_private_authority_is_refused_until_it_is_named(wire: str, bundle: Path) -> None:
    async with three_wires(GOOD.server()) as remote:
        text, hint = await refusal(remote.url(wire))
        assert text.startswith(f"the certificate of 127.0.0.1:{remote.port} was refused: ")
        assert '"Example Root CA" (Example Corp)' in text
        assert "--ca-bundle FILE" in hint
        assert not remote.clients, "nothing may be sent to a server that is not trusted"
        answer, _ = await greeting(remote.url(wire), "--ca-bundle", str(bundle))
        assert "result" in answer


@pytest.mark.parametrize(("name", "form"), [(name, list(FORMS)[at]) for at, name in enumerate(NAMES)])
async def test_every_way_to_name_a_file_adds_it(name: str, form: str, tmp_path: Path) -> None:
    """Each way with another form, at a path with a blank; all forms of all ways are tried in one process below."""
    folder = tmp_path / "my certificates"
    folder.mkdir()
    path = folder / "root ca.cer"
    path.write_bytes(FORMS[form])
    async with three_wires(GOOD.server()) as remote:
        if name == "--ca-bundle":
            answer, _ = await greeting(remote.url("http"), name, str(path))
        else:
            value = str(folder if name.endswith("DIR") else path)
            answer, _ = await greeting(remote.url("http"), env=clean_environment(**{name: value}))
        assert "result" in answer


ALL_AT_ONCE = """
import json, os, ssl, sys
from mcp_remote_py.cli import read_settings
from mcp_remote_py.net import tls
found = []
for arguments, environ in json.load(sys.stdin):
    settings = tls.checked(read_settings(["https://mcp.example.com", *arguments], environ))
    context = tls.make_context(settings.tls)
    found.append(sorted({dict(pair[0] for pair in each["subject"])["commonName"] for each in context.get_ca_certs()}))
json.dump(found, sys.stdout)
"""


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="the system's interface does not tell what it has")
def test_every_variable_in_every_form_adds_its_certificates(tmp_path: Path) -> None:
    cases: list[tuple[list[str], dict[str, str]]] = []
    for form, content in FORMS.items():
        folder = tmp_path / f"form {form}"
        folder.mkdir()
        path = folder / "root ca.crt"
        path.write_bytes(content)
        cases.append((["--ca-bundle", str(path)], {}))
        cases += [([], {name: str(path)}) for name in FILES]
        cases += [([], {name: str(folder)}) for name in FOLDERS]
    environment = clean_environment()
    done = subprocess.run(
        python_command(ALL_AT_ONCE),
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    for case, found in zip(cases, json.loads(done.stdout), strict=True):
        assert "Example Root CA" in found, case


OTHER_SYSTEM = """
import sys
from mcp_remote_py.net import system_store
system_store.FILES = (sys.argv.pop(1),)
system_store.FOLDERS = ()
from mcp_remote_py.cli import main
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="the system's interface cannot be pointed elsewhere")
@pytest.mark.parametrize("name", [*FILES, "SSL_CERT_DIR"])
async def test_no_variable_replaces_the_systems_store(name: str, tmp_path: Path) -> None:
    (tmp_path / "system.crt").write_bytes(PEM)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.pem").write_bytes(OTHER.pem)
    value = str(tmp_path / "mine" / ("" if name.endswith("DIR") else "mine.pem"))
    command = [*python_command(OTHER_SYSTEM), str(tmp_path / "system.crt")]
    for server in (GOOD, issue("127.0.0.1", by=OTHER)):
        async with three_wires(server.server()) as remote:
            env = clean_environment(**{name: value})
            answer, _ = await greeting(remote.url("http"), env=env, command=command)
            assert "result" in answer, name


async def test_all_variables_together_add_up(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "other.pem").write_bytes(OTHER.pem)
    env = clean_environment(SSL_CERT_FILE=str(tmp_path / "other.pem"), NODE_EXTRA_CA_CERTS=str(bundle))
    for server in (GOOD, issue("127.0.0.1", by=OTHER)):
        async with three_wires(server.server()) as remote:
            assert "result" in (await greeting(remote.url("http"), env=env))[0]


# --- Files that cannot be used ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"-----BEGIN PKCS7-----"])
async def test_a_ca_bundle_that_cannot_be_used_ends_with_exit_code_2(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "root ca.pem"
    if content is not None:
        path.write_bytes(content)
    async with launch("https://127.0.0.1:9/", "--ca-bundle", str(path)) as host:
        assert await host.end() == 2
        assert f"--ca-bundle {path}" in host.log.decode()
        assert host.heard == []


@pytest.mark.parametrize("name", [*FILES, "SSL_CERT_DIR"])
async def test_a_stale_variable_is_said_at_the_start_and_in_the_error(name: str, tmp_path: Path) -> None:
    stale = tmp_path / "old laptop" / "zscaler.pem"
    env = clean_environment(**{name: str(stale)})
    async with three_wires(GOOD.server()) as remote:
        async with launch(remote.url("http"), env=env) as host:
            error = (await host.request("initialize"))["error"]
            await host.end()
        warnings = [line for line in host.log.decode().splitlines() if str(stale) in line]
        assert name in warnings[0]
        assert "ignored" in warnings[0]
        assert f"not usable: {name} {stale}" in error["message"]
        assert error["data"]["hint"].startswith(f"{name} {stale} cannot be used")


async def test_a_stale_variable_is_said_before_any_connection(tmp_path: Path) -> None:
    env = clean_environment(NODE_EXTRA_CA_CERTS=str(tmp_path / "none.pem"))
    async with launch("https://127.0.0.1:9/", env=env) as host:
        assert await host.end() == 0
        assert b"none.pem" in host.log


async def test_a_stale_variable_does_not_hinder_a_good_server(tmp_path: Path, bundle: Path) -> None:
    env = clean_environment(SSL_CERT_FILE=str(tmp_path / "none.pem"), NODE_EXTRA_CA_CERTS=str(bundle))
    async with three_wires(GOOD.server()) as remote:
        assert "result" in (await greeting(remote.url("http"), env=env))[0]


# --- What a person reads ---------------------------------------------------------------------------------------------


def _server(
    host: str = "127.0.0.1", by: Issued | None = None, days: tuple[float, float] = (-1, 9), key: Key | None = None
) -> Issued:
    return issue(host, by=by or root(), days=days, key=key)


ZSCALER = issue(name="Zscaler Root CA", organization="Zscaler Inc.", is_authority=True)
REFUSED: dict[str, tuple[Issued, str, str, str]] = {
    "expired": (_server(days=(-9, -2)), "it expired on 20", "Example Root CA", "operator must renew"),
    "not yet valid": (_server(days=(3, 9)), "it is not valid before 20", "Example Root CA", "clock"),
    "wrong host": (
        _server("api.example.com"),
        'it is for "api.example.com", not for 127.0.0.1',
        "Example Root CA",
        "URL",
    ),
    "wrong purpose": (
        issue("127.0.0.1", by=root(), use=CLIENTS),
        "not issued for servers",
        "Example Root CA",
        "operator",
    ),
    "self-signed": (issue("127.0.0.1"), "it is self-signed", "127.0.0.1", "--ca-bundle FILE"),
    "unknown issuer": (_server(by=OTHER), '"Another Root"', "Another Root", "--ca-bundle FILE"),
    "missing intermediate": (
        GOOD.alone(),
        'does not send the intermediate certificate "Example Issuing CA" (Example Corp)',
        "Example Issuing CA",
        "operator must add that certificate",
    ),
    "weak key": (_server(key=weak_key()), "too short", "Example Root CA", "operator"),
    "Zscaler": (
        _server(by=ZSCALER),
        "opens connections on the way",
        "Zscaler Root CA",
        "The issuer is Zscaler: export",
    ),
}


@pytest.mark.parametrize("kind", list(REFUSED))
async def test_a_refusal_names_host_reason_issuer_stores_and_mend(kind: str, bundle: Path) -> None:
    server, reason, issuer, mend = REFUSED[kind]
    wire = WIRES[list(REFUSED).index(kind) % 3]
    async with three_wires(server.server()) as remote:
        text, hint = await refusal(remote.url(wire), "--ca-bundle", str(bundle))
        assert text.startswith(f"the certificate of 127.0.0.1:{remote.port} was refused: ")
        assert reason in text
        assert f'issuer "{issuer}"' in text
        assert 'subject "' in text
        assert f"--ca-bundle {bundle}" in text
        assert mend in hint
        assert not remote.clients


@pytest.mark.parametrize("wire", WIRES)
async def test_a_proxy_that_opens_tls_is_called_by_its_name_and_trusted_when_named(wire: str, tmp_path: Path) -> None:
    (tmp_path / "zscaler.cer").write_bytes(ZSCALER.der)
    async with three_wires(GOOD.server()) as remote, intercepting(ZSCALER, remote.port) as proxy:
        url = remote.url(wire, "mcp.example.test").replace(f":{remote.port}", "")
        env = clean_environment(HTTPS_PROXY=proxy.url, MCP_AUTH_TOKEN="tok-ABCDEF-123")
        text, hint = await refusal(url, env=env)
        assert text.startswith("the certificate of mcp.example.test was refused: ")
        assert 'issuer "Zscaler Root CA" (Zscaler Inc.)' in text
        assert "The issuer is Zscaler: export its root certificate" in hint
        assert "--ca-bundle FILE" in hint
        assert proxy.heard == b"", "nothing may be sent to a server that is not trusted"
        assert set(proxy.targets) == {"mcp.example.test:443"}
        answer, _ = await greeting(url, env=env | {"NODE_EXTRA_CA_CERTS": str(tmp_path / "zscaler.cer")})
        assert "result" in answer
        assert b"tok-ABCDEF-123" in proxy.heard


async def test_a_server_without_tls_is_no_riddle() -> None:
    from tests.support.fake_remote import fake_remote

    async with fake_remote() as remote:
        text, hint = await refusal(remote.url.replace("http:", "https:"))
        assert "does not speak TLS on this port" in text
        assert "http://" in hint


# --- Insecure --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
async def test_an_insecure_host_works_and_is_said_loudly(wire: str) -> None:
    async with three_wires(issue("other.example", days=(-9, -2)).server()) as remote:
        for named in ("127.0.0.1", f"127.0.0.1:{remote.port}"):
            answer, log = await greeting(remote.url(wire), "--insecure", named)
            assert "result" in answer
            assert "NOT VERIFIED" in log
        _, log = await greeting(remote.url(wire), "--insecure", "127.0.0.1", "--silent")
        assert "NOT VERIFIED" in log, "silence does not cover it"
        for named in ("localhost", "mcp.example.com", "127.0.0.1:1"):
            await refusal(remote.url(wire), "--insecure", named)


@pytest.mark.parametrize("named", ["*", "*.example.com", "https://mcp.example.com/", "a b", "", "mcp.example.com/mcp"])
async def test_insecure_takes_the_name_of_one_host(named: str) -> None:
    async with launch("https://127.0.0.1:9/", f"--insecure={named}") as host:
        assert await host.end() == 2
        assert b"--insecure" in host.log


# --- Mutual TLS ------------------------------------------------------------------------------------------------------

OURS = issue(name="laptop-17", by=root(), use=CLIENTS)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_mutual_tls_with_and_without_our_certificate(
    wire: str, version: ssl.TLSVersion, tmp_path: Path, bundle: Path
) -> None:
    """This server (asyncio) hangs up without a word when it is shown no certificate."""
    trust = ("--ca-bundle", str(bundle))
    (tmp_path / "me.pem").write_bytes(OURS.pem)
    (tmp_path / "me.key").write_bytes(OURS.key_pem)
    async with three_wires(GOOD.server(asks=root(), version=version)) as remote:
        text, hint = await refusal(remote.url(wire), *trust)
        assert f"127.0.0.1:{remote.port}" in text
        assert "the server wants a client certificate" in text
        assert "--client-cert FILE" in hint
        assert not remote.clients
        mine = ("--client-cert", str(tmp_path / "me.pem"), "--client-key", str(tmp_path / "me.key"))
        answer, _ = await greeting(remote.url(wire), *trust, *mine)
        assert "result" in answer
        assert all(client and "laptop-17" in str(client["subject"]) for client in remote.clients)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_says_that_it_wants_our_certificate(
    wire: str, version: ssl.TLSVersion, bundle: Path
) -> None:
    """This one (OpenSSL by itself) sends an alert; with TLS 1.3 it comes after the handshake."""
    with alerting(GOOD.server(asks=root(), version=version)) as port:
        text, hint = await refusal(
            f"{'wss' if wire == 'ws' else 'https'}://127.0.0.1:{port}/", "--ca-bundle", str(bundle)
        )
        assert "the server wants a client certificate" in text
        assert "--client-cert FILE" in hint


@pytest.mark.parametrize("wire", WIRES)
async def test_a_certificate_of_ours_that_the_server_does_not_accept(wire: str, tmp_path: Path, bundle: Path) -> None:
    stranger = issue(name="stranger", by=OTHER, use=CLIENTS)
    (tmp_path / "me.pem").write_bytes(stranger.pem + stranger.key_pem)
    arguments = ("--ca-bundle", str(bundle), "--client-cert", str(tmp_path / "me.pem"))
    async with three_wires(GOOD.server(asks=root())) as remote:
        error = (await greeting(remote.url(wire), *arguments))[0]["error"]
        assert f"our client certificate, and was shown {tmp_path / 'me.pem'}" in error["message"]
        assert "--client-cert" in error["data"]["hint"]
        assert not remote.clients
    with alerting(GOOD.server(asks=root())) as port:
        error = (await greeting(f"{'wss' if wire == 'ws' else 'https'}://127.0.0.1:{port}/", *arguments))[0]["error"]
        assert "our client certificate" in error["message"]
        assert "--client-cert" in error["data"]["hint"]
        if wire != "ws":  # websockets does not tell why a connection ended, so it is found out as above
            assert "does not know the authority of our client certificate" in error["message"]


@contextlib.contextmanager
def alerting(context: ssl.SSLContext) -> Iterator[int]:
    """A server that refuses as OpenSSL does, with an alert, and never answers. Gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                connection, _ = listening.accept()
                with connection:
                    spare = connection.dup()  # what is closed with unread bytes is reset, and the alert is lost
                    with contextlib.suppress(OSError):
                        context.wrap_socket(connection, server_side=True).recv(1)
                    with spare, contextlib.suppress(OSError):
                        spare.settimeout(5)
                        spare.shutdown(socket.SHUT_WR)
                        while spare.recv(4096):
                            pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            ended.set()
            with contextlib.suppress(OSError):
                socket.create_connection(listening.getsockname()).close()
            thread.join(5)


async def test_a_pkcs12_file_with_its_password_in_a_variable(tmp_path: Path, bundle: Path) -> None:
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    lock = BestAvailableEncryption(b"correct horse")
    (tmp_path / "me.p12").write_bytes(
        pkcs12.serialize_key_and_certificates(b"me", OURS.key, OURS.certificate, None, lock)
    )
    arguments = ("--ca-bundle", str(bundle), "--client-cert", str(tmp_path / "me.p12"))
    async with three_wires(GOOD.server(asks=root())) as remote:
        env = clean_environment(P12="correct horse")
        answer, log = await greeting(remote.url("http"), *arguments, "--client-key-password-env", "P12", env=env)
        assert "result" in answer
        assert "correct horse" not in log
        async with launch(remote.url("http"), *arguments) as host:
            assert await host.end() == 2
            assert b"--client-key-password-env" in host.log


async def test_a_locked_key_is_never_asked_for_at_the_terminal(tmp_path: Path) -> None:
    """A terminal is there, and nobody types: the program must end by itself."""
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    pty = pytest.importorskip("pty")
    import asyncio
    import os

    locked = OURS.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "me.pem").write_bytes(OURS.pem + locked)
    ours, theirs = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *python_command("from mcp_remote_py.cli import main; import sys; sys.exit(main())"),
            "https://127.0.0.1:9/",
            "--client-cert",
            str(tmp_path / "me.pem"),
            stdin=theirs,
            stdout=theirs,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=clean_environment(),
        )
        async with asyncio.timeout(20):
            _, log = await process.communicate()
        assert process.returncode == 2
        assert b"--client-key-password-env" in log
    finally:
        os.close(ours)
        os.close(theirs)


async def test_our_certificate_is_not_shown_to_another_origin(tmp_path: Path, bundle: Path) -> None:
    """Not even to one that a redirect may lead to."""
    from tests.support.scripted_server import Peer, ScriptedServer, Seen

    (tmp_path / "me.pem").write_bytes(OURS.pem + OURS.key_pem)
    asking = GOOD.server(asks=root())
    asking.verify_mode = ssl.CERT_OPTIONAL
    async with three_wires(asking) as other:

        async def script(seen: Seen, peer: Peer) -> None:
            await peer.answer(307, headers={"Location": other.url("http")})

        async with ScriptedServer(script, context=GOOD.server(asks=root())) as first:
            answer, _ = await greeting(
                first.url,
                "--ca-bundle",
                str(bundle),
                "--client-cert",
                str(tmp_path / "me.pem"),
                "--allow-redirect-to",
                f"https://127.0.0.1:{other.port}",
            )
        assert "result" in answer
        assert other.clients
        assert not any(other.clients)
