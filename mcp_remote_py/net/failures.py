"""Why no connection could be made: exceptions of sockets, name look-up and TLS in, faults in plain words out.

Shared by everything that connects. What happens after the request was sent is not decided here.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

from mcp_remote_py.core.errors import Fault, TimedOut, TlsRefused, TooLarge, Unreachable
from mcp_remote_py.core.http.origins import split_place

_NO_NAME = "Check the host in the URL, the network and any VPN."
_TO_HTTP = "Perhaps the URL should begin with http:// (ws://)."
_GIVE_OURS = (
    "Pass it with --client-cert FILE (and --client-key FILE): PEM or PKCS#12, issued by an authority that the server "
    "trusts."
)
OTHER_OURS = (
    "Check --client-cert: whether it has expired, whether an authority that the server trusts issued it, and whether "
    "the file has the intermediate certificates, too."
)
_PERHAPS_OURS = "If the server wants a client certificate, pass --client-cert FILE and --client-key FILE."
_HANDSHAKE: tuple[tuple[str, str, str], ...] = (
    ("WRONG_VERSION_NUMBER", "the server does not speak TLS on this port", _TO_HTTP),
    ("HTTP_REQUEST", "the server does not speak TLS on this port", _TO_HTTP),
    ("RECORD_LAYER_FAILURE", "the server does not speak TLS on this port", _TO_HTTP),
    ("CERTIFICATE_REQUIRED", "the server wants a client certificate (mutual TLS)", _GIVE_OURS),
    ("BAD_CERTIFICATE", "the server wants a client certificate, or another than it was shown", _GIVE_OURS),
    ("ALERT_UNKNOWN_CA", "the server does not know the authority of our client certificate", OTHER_OURS),
    ("ALERT_CERTIFICATE_EXPIRED", "the server says that our client certificate has expired", OTHER_OURS),
    ("ALERT_CERTIFICATE_REVOKED", "the server says that our client certificate has been revoked", OTHER_OURS),
    ("ALERT_CERTIFICATE_UNKNOWN", "the server does not accept our client certificate", OTHER_OURS),
    ("ALERT_UNSUPPORTED_CERTIFICATE", "the server does not accept our client certificate", OTHER_OURS),
    ("ALERT_ACCESS_DENIED", "the server does not accept our client certificate", OTHER_OURS),
    ("UNEXPECTED_EOF", "the server hung up", _PERHAPS_OURS),
    ("PROTOCOL_VERSION", "no version of TLS is spoken by both sides", ""),
    ("UNSUPPORTED_PROTOCOL", "no version of TLS is spoken by both sides", ""),
    ("HANDSHAKE_FAILURE", "the two sides found no way to encrypt that both accept", _PERHAPS_OURS),
    ("UNRECOGNIZED_NAME", "the server does not know this host name", "Check the host in the URL."),
)
_NO_WAY = frozenset([errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL])


def connection_fault(error: BaseException, host: str) -> Unreachable:
    """Return the fault for a connection that could not be made; `error` and its causes are searched for the reason."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            from mcp_remote_py.net.refusals import refusal  # not every bridge meets one

            return refusal(cause, (), host)
        if isinstance(cause, ssl.SSLError):
            return _no_handshake(cause, host)
    for cause in causes(error):
        words = _words(cause)
        if words is not None:
            hint = _NO_NAME if isinstance(cause, socket.gaierror) else None
            return Unreachable(words.format(host=host, name=split_place(host)[0]), hint=hint)
    return Unreachable(f"no connection to {host} could be made")


def refused_certificate(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """Return the refusal of a certificate among an exception's causes."""
    return next((cause for cause in causes(error) if isinstance(cause, ssl.SSLCertVerificationError)), None)


def is_hang_up(error: BaseException) -> bool:
    """Whether the other side ended the connection without saying why, as far as TLS goes."""
    for cause in causes(error):
        if isinstance(cause, ConnectionResetError | ConnectionAbortedError | BrokenPipeError | EOFError):
            return True
        if isinstance(cause, ssl.SSLError):
            return any(symbol in _symbol(cause) for symbol in ("UNEXPECTED_EOF", "HANDSHAKE_FAILURE"))
    return False


def wants_ours(host: str) -> TlsRefused:
    """Return the fault for a server that asks for a client certificate and was shown none."""
    return TlsRefused(
        f"no secure connection to {host} could be made: the server wants a client certificate (mutual TLS)",
        hint=_GIVE_OURS,
    )


def tls_alert(error: BaseException, host: str) -> TlsRefused | None:
    """Return the fault where an established connection was ended by TLS itself (a client certificate is wanted)."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLError) and "ALERT" in _symbol(cause):
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


def head_too_large(host: str, limit: int, *, head_was_read: bool = False) -> TooLarge:
    """Return the fault for headers that are over the limit, in bytes."""
    what = "a line of the answer" if head_was_read else "the head of the answer"
    return TooLarge(
        f"{what} of {host} is larger than the limit of {limit} bytes",
        hint="Raise --max-header-size. The headers are the server's, or those of a proxy on the way.",
        may_have_run=True,
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
            return "the name {name} could not be looked up: the name server (DNS) does not answer"
        return "the name {name} is not known (DNS)"
    if isinstance(cause, ConnectionRefusedError):
        return "{host} refused the connection: no server is listening there"
    if isinstance(cause, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return "{host} broke off the connection while it was being made"
    if isinstance(cause, TimeoutError):
        return "{host} does not answer"
    if isinstance(cause, OSError) and cause.errno in _NO_WAY:
        return "there is no way through the network to {host}"
    return None


def _no_handshake(error: ssl.SSLError, host: str) -> TlsRefused:
    symbol = _symbol(error)
    for part, words, hint in _HANDSHAKE:
        if part in symbol:
            return TlsRefused(f"no secure connection to {host} could be made: {words}", hint=hint or None)
    return TlsRefused(f"no secure connection to {host} could be made: the TLS handshake failed ({symbol or 'unknown'})")


def _symbol(error: ssl.SSLError) -> str:
    """OpenSSL's name of the reason. Python gives its own errors none, or not even the attribute."""
    return getattr(error, "reason", None) or ("UNEXPECTED_EOF" if isinstance(error, ssl.SSLEOFError) else "")
