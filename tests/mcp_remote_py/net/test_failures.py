"""Reasons why a connection could not be made, in plain words."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from mcp_remote_py.core.errors import TimedOut, TlsRefused, Unreachable
from mcp_remote_py.net.failures import causes, connect_timeout, connection_fault, tls_alert

HOST = "mcp.example.com:8443"


def _tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "text of the library")
    error.reason = reason
    return error


def _certificate(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("text of the library")
    error.verify_code = code
    error.verify_message = "text of the library"
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "refused the connection"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "broke off the connection"),
        (BrokenPipeError(errno.EPIPE, "x"), "broke off the connection"),
        (TimeoutError(errno.ETIMEDOUT, "x"), "does not answer"),
        (OSError(errno.ENETUNREACH, "x"), "no way through the network"),
        (OSError(errno.EHOSTUNREACH, "x"), "no way through the network"),
        (socket.gaierror(socket.EAI_NONAME, "x"), "not known (DNS)"),
        (OSError("Multiple exceptions: x"), "no connection to"),
    ],
)
def test_a_failed_connection_names_host_and_cause(error: OSError, words: str) -> None:
    fault = connection_fault(error, HOST)
    assert type(fault) is Unreachable
    assert HOST.split(":")[0] in str(fault)
    assert words in str(fault)
    assert not fault.may_have_run


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (9, "not valid yet"),
        (10, "expired"),
        (18, "self-signed"),
        (19, "authority"),
        (20, "authority"),
        (23, "revoked"),
        (26, "not issued for servers"),
        (62, "another host"),
        (64, "another host"),
        (66, "too short"),
        (68, "no longer safe"),
        (-67843, "authority"),
        (0x800B0101, "expired"),
        (1, "could not be verified"),
    ],
)
def test_a_refused_certificate_comes_with_the_reason_in_our_words(code: int, words: str) -> None:
    fault = connection_fault(_certificate(code), HOST)
    assert type(fault) is TlsRefused
    assert words in str(fault)
    assert "library" not in str(fault)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("WRONG_VERSION_NUMBER", "does not speak TLS"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "wants a client certificate"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "or another than it was shown"),
        ("TLSV1_ALERT_UNKNOWN_CA", "does not know the authority of our client certificate"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "our client certificate has expired"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "no version of TLS"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "no way to encrypt"),
        ("SOMETHING_NEW", "SOMETHING_NEW"),
    ],
)
def test_a_failed_handshake_comes_with_the_reason(reason: str, words: str) -> None:
    fault = connection_fault(_tls(reason), HOST)
    assert type(fault) is TlsRefused
    assert words in str(fault)
    assert fault.hint


@pytest.mark.parametrize(
    "reason",
    [
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "TLSV1_ALERT_UNKNOWN_CA",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",  # how TLS 1.2 says it
        "UNEXPECTED_EOF_WHILE_READING",
    ],
)
def test_a_server_that_may_want_a_client_certificate_names_the_flag(reason: str) -> None:
    assert "--client-cert" in connection_fault(_tls(reason), HOST).hint


def test_the_cause_is_found_however_deep_it_stands() -> None:
    error = RuntimeError("library")
    error.__cause__ = ExceptionGroup("all attempts", [OSError("?"), ConnectionRefusedError(errno.ECONNREFUSED, "x")])
    assert "refused the connection" in str(connection_fault(error, HOST))


def test_a_circle_of_causes_ends() -> None:
    one, other = RuntimeError("one"), RuntimeError("other")
    one.__cause__, other.__cause__ = other, one
    assert list(causes(one)) == [one, other]


def test_an_alert_on_an_established_connection_is_the_servers_refusal() -> None:
    fault = tls_alert(_tls("TLSV13_ALERT_CERTIFICATE_REQUIRED"), HOST)
    assert fault is not None
    assert "client certificate" in str(fault)
    assert tls_alert(_tls("DECRYPTION_FAILED"), HOST) is None
    assert tls_alert(ConnectionResetError(), HOST) is None


@pytest.mark.parametrize("seconds", [0.5, None])
def test_a_slow_connection_names_the_option(seconds: float | None) -> None:
    fault = connect_timeout(HOST, seconds)
    assert type(fault) is TimedOut
    assert ("0.5 s" in str(fault)) is (seconds is not None)
    assert "--connect-timeout" in fault.hint
    assert not fault.may_have_run
