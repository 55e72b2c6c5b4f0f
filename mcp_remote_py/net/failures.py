"""Why no connection could be made: exceptions of sockets, name look-up and TLS in, faults in plain words out.

Shared by everything that connects. What happens after the request was sent is not decided here.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

from mcp_remote_py.core.errors import Fault, TimedOut, TlsRefused, Unreachable

_VERIFICATION = {
    9: "it is not valid yet; is this machine's clock right?",
    10: "it has expired",
    18: "it is self-signed",
    19: "it was issued by an authority that this machine does not trust",
    20: "it was issued by an authority that this machine does not trust",
    21: "it was issued by an authority that this machine does not trust",
    23: "it has been revoked",
    62: "it was issued for another host name",
    64: "it was issued for another address",
}
"""Words for OpenSSL's X509_V_ERR numbers."""

_HANDSHAKE: tuple[tuple[str, str], ...] = (
    ("WRONG_VERSION_NUMBER", "the server does not speak TLS on this port"),
    ("HTTP_REQUEST", "the server does not speak TLS on this port"),
    ("RECORD_LAYER_FAILURE", "the server does not speak TLS on this port"),
    ("CERTIFICATE_REQUIRED", "the server wants a client certificate"),
    ("BAD_CERTIFICATE", "the server wants another client certificate"),
    ("UNEXPECTED_EOF", "the server hung up"),
    ("PROTOCOL_VERSION", "no version of TLS is spoken by both sides"),
    ("UNSUPPORTED_PROTOCOL", "no version of TLS is spoken by both sides"),
    ("HANDSHAKE_FAILURE", "the two sides found no way to encrypt that both accept"),
    ("UNRECOGNIZED_NAME", "the server does not know this host name"),
)
_NO_WAY = frozenset([errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL])


def connection_fault(error: BaseException, host: str) -> Unreachable:
    """Return the fault for a connection that could not be made; `error` and its causes are searched for the reason."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(cause, host)
        if isinstance(cause, ssl.SSLError):
            return _no_handshake(cause, host)
    for cause in causes(error):
        words = _words(cause)
        if words is not None:
            return Unreachable(words.format(host=host))
    return Unreachable(f"no connection to {host} could be made")


def tls_alert(error: BaseException, host: str) -> TlsRefused | None:
    """Return the fault where an established connection was ended by TLS itself (a client certificate is wanted)."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            return _no_handshake(cause, host)
    return None


def connect_timeout(host: str, seconds: float | None) -> Fault:
    """Return the fault for a connection that took too long."""
    within = "" if seconds is None else f" within {seconds:g} s"
    return TimedOut(
        f"no connection to {host} could be made{within}",
        hint="Check the URL, the network and any VPN or firewall; --connect-timeout allows for more time.",
        may_have_run=False,
    )


def causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, what it was raised from, and the members of groups, each once."""
    waiting, seen = [error], set[int]()
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen or isinstance(current, ssl.SSLWantReadError | ssl.SSLWantWriteError):
            continue  # the latter two only say that TLS waits for more bytes
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            waiting.extend(current.exceptions)
        waiting.extend(cause for cause in (current.__cause__, current.__context__) if cause is not None)


def _words(cause: BaseException) -> str | None:
    if isinstance(cause, socket.gaierror):
        if cause.errno == getattr(socket, "EAI_AGAIN", None):
            return "the name {host} could not be looked up: the name server (DNS) does not answer"
        return "the name {host} is not known (DNS)"
    if isinstance(cause, ConnectionRefusedError):
        return "{host} refused the connection: no server is listening there"
    if isinstance(cause, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return "{host} broke off the connection while it was being made"
    if isinstance(cause, TimeoutError):
        return "{host} does not answer"
    if isinstance(cause, OSError) and cause.errno in _NO_WAY:
        return "there is no way through the network to {host}"
    return None


def _untrusted(error: ssl.SSLCertVerificationError, host: str) -> TlsRefused:
    reason = _VERIFICATION.get(error.verify_code, "it could not be verified")
    hint = None
    if error.verify_code in (62, 64):
        hint = "Use the host name that the certificate was issued for."
    elif error.verify_code in (9, 10):
        hint = "Check this machine's clock; if it is right, the server's operator must renew the certificate."
    return TlsRefused(f"the certificate of {host} was refused: {reason}", hint=hint)


def _no_handshake(error: ssl.SSLError, host: str) -> TlsRefused:
    symbol = error.reason or ("UNEXPECTED_EOF" if isinstance(error, ssl.SSLEOFError) else "")
    for part, words in _HANDSHAKE:
        if part in symbol:
            hint = "Perhaps the URL should begin with http:// (ws://)." if "speak TLS on" in words else ""
            return TlsRefused(f"no secure connection to {host} could be made: {words}", hint=hint or None)
    return TlsRefused(f"no secure connection to {host} could be made: the TLS handshake failed ({symbol or 'unknown'})")
