"""Trust: whom we believe, and who we are, as contexts for TLS. One object for each link.

The operating system's certificate store, plus the files that the user names: files add, they never replace. Our own
certificate is a credential, so it is shown to the very host that the user named and to nobody else: no redirect's
target, no proxy.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mcp_remote_py.core.errors import ConfigError, Fault, TlsRefused, Unreachable
from mcp_remote_py.core.http.origins import Origin, bare_host, split_place
from mcp_remote_py.net import bundles, failures, system_store
from mcp_remote_py.settings import Settings, Tls, TrustFile

if TYPE_CHECKING:
    from mcp_remote_py.core.distrust import Asked

_LOG = logging.getLogger("mcp_remote_py.net.tls")
AnyFault = TypeVar("AnyFault", bound=Fault)
LOOK_SECONDS = 5.0
Look = Callable[[ssl.SSLContext], Awaitable[list[bytes]]]


class _Kind(NamedTuple):
    """One context serves all hosts that are treated alike."""

    verifies: bool
    shows_ours: bool


class _Made(NamedTuple):
    context: ssl.SSLContext
    stamp: tuple[object, ...]
    """What the files were like that it was made from."""
    places: tuple[str, ...]
    """Where the system's certificates came from."""


class Trust:
    """See the module's text.

    Hosts are given as `place_of` names them: `host`, or `host:port` where the port is not 443. `home` is the origin
    that the user named, the only one that is shown our certificate.
    """

    def __init__(self, tls: Tls, home: Origin | None = None) -> None:
        self._tls = tls
        self._home = None if home is None else (bare_host(home.host), home.port)
        self._made: dict[_Kind, _Made] = {}
        self._lock = asyncio.Lock()

    async def context(self, host: str) -> ssl.SSLContext:
        """Return the context for connections to this host. Made once, and again when a file has changed.

        Raises `TlsRefused` where our own certificate can no longer be used.
        """
        kind = self._kind(host)
        async with self._lock:
            try:
                made = await asyncio.to_thread(_renewed, self._tls, kind, self._made.get(kind))
            except ConfigError as error:
                raise TlsRefused(f"no secure connection to {host} can be made: {error}", hint="") from None
            self._made[kind] = made
        return made.context

    async def refusal(self, error: BaseException, host: str, look: Look) -> Unreachable:
        """Return the fault for a TLS connection that could not be made.

        A refused certificate is described. Where Python did not hand it out, `look` connects once more in the same
        way with the context it is given, which verifies nothing, sends nothing, and returns the certificates that
        the server presents, in DER (`presented` has them); none where it cannot.
        """
        refused = failures.refused_certificate(error)
        if refused is None:
            fault = failures.connection_fault(error, host)
            return await self.hung_up(fault, host, look) if failures.is_hang_up(error) else fault
        chain = getattr(refused, _CHAIN, None)
        if chain is None:
            chain = await _looked(look, _trusting_anybody())
        made = self._made.get(self._kind(host))
        from mcp_remote_py.net import refusals  # not every bridge meets one

        return refusals.refusal(refused, chain, host, _asked(self._tls, made.places if made is not None else ()))

    async def hung_up(self, fault: AnyFault, host: str, look: Look) -> AnyFault | TlsRefused:
        """Return the fault for a server that ended a connection in TLS before its first answer: `fault`, or a better.

        Many servers that want a client certificate say nothing when there is none, or when they do not accept it;
        all of them ask for it, which a second look shows.
        """
        context = _trusting_anybody()
        if not await _is_asked_for_ours(look, context):
            return fault
        if not self._kind(host).shows_ours:
            return failures.wants_ours(host)
        text = f"{fault}; it had asked for our client certificate, and was shown {self._tls.client_cert}"
        return type(fault)(text, hint=failures.OTHER_OURS, may_have_run=fault.may_have_run, mends=False)

    def _kind(self, host: str) -> _Kind:
        name, port = split_place(host)
        insecure = {split_place(entry, 0) for entry in self._tls.insecure}
        return _Kind(
            verifies=not insecure & {(name, port), (name, 0)},
            shows_ours=self._tls.client_cert is not None and (name, port) == self._home,
        )


def checked(given: Settings) -> Settings:
    """Return the settings as far as their files can be used, with notes about the rest.

    Raises `ConfigError` for files that a flag names.
    """
    tls, notes = bundles.usable(given.tls)
    if tls.client_cert is not None:
        from mcp_remote_py.net import client_certificate

        notes += client_certificate.check(tls)
    notes += tuple(
        f"--insecure {host}: THE CERTIFICATE OF {host} IS NOT VERIFIED. Anyone on the way can read and change "
        "everything, credentials included. Use --ca-bundle FILE instead as soon as you can."
        for host in tls.insecure
    )
    return given._replace(tls=tls, notes=(*given.notes, *notes))


def make_context(tls: Tls) -> ssl.SSLContext:
    """Return a context that verifies hosts against the system's store and the files of the settings. Takes a while."""
    return _verifying(tls)[0]


def presented(connection: ssl.SSLObject | ssl.SSLSocket) -> list[bytes]:
    """Return the certificates that the other side presented, in DER, its own first. They are not verified."""
    inner: object = connection
    if not hasattr(inner, "get_unverified_chain"):  # public since Python 3.13; before, it is one object further in
        inner = getattr(inner, "_sslobj", None)
    chain: list[Any] = getattr(inner, "get_unverified_chain", list)() or []
    return [each if isinstance(each, bytes) else each.public_bytes(_DER) for each in chain[:_MOST]]


_CHAIN = "presented_chain"
_MOST = 10  # certificates of a chain
_DER = 2  # _ssl.ENCODING_DER
_WATCHER = "_msg_callback"
_HANDSHAKE, _CERTIFICATE_REQUEST = 22, 13  # RFC 8446, B.3


class _Remembering(ssl.SSLObject):
    """Puts the certificates that it refuses beside the exception, as Python does not."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            chain = presented(self)
            if chain:
                setattr(error, _CHAIN, chain)
            raise


async def _looked(look: Look, context: ssl.SSLContext) -> list[bytes]:
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await look(context)
    except (OSError, TimeoutError, Fault):
        return []  # the sentence has less in it then


async def _is_asked_for_ours(look: Look, context: ssl.SSLContext) -> bool:
    """Whether the server asks for a client certificate. Python shows that only where one debugs the handshake."""
    asked = False

    def note(_connection: object, _way: object, _version: object, kind: int, message: int, _data: bytes) -> None:
        nonlocal asked
        asked = asked or (kind == _HANDSHAKE and message == _CERTIFICATE_REQUEST)

    setattr(context, _WATCHER, note)
    await _looked(look, context)
    return asked


def _renewed(tls: Tls, kind: _Kind, made: _Made | None) -> _Made:
    """Return `made`, or another if there is none yet or its files have changed. Raises `ConfigError`."""
    stamp = _stamp(tls, kind)
    if made is not None and made.stamp == stamp:
        return made
    try:
        context, places = _verifying(tls) if kind.verifies else (_trusting_anybody(), ())
        if kind.shows_ours:
            from mcp_remote_py.net import client_certificate

            client_certificate.load(context, tls)
    except ConfigError as error:
        if made is None:
            raise
        _LOG.warning("a changed file is not used: %s", error)
        return made._replace(stamp=stamp)
    return _Made(context, stamp, places)


def _stamp(tls: Tls, kind: _Kind) -> tuple[object, ...]:
    paths = [file.path for file in tls.trusted] if kind.verifies else []
    if kind.shows_ours:
        paths += [path for path in (tls.client_cert, tls.client_key) if path is not None]
    found: list[object] = []
    for path in paths:
        try:
            status = os.stat(bundles.located(path))
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def _verifying(tls: Tls) -> tuple[ssl.SSLContext, tuple[str, ...]]:
    """A file that cannot be used is only noted: `checked` has refused it at the start, unless it was lost since."""
    context = system_store.new_context()
    if not system_store.HAS_INTERFACE:
        context.sslobject_class = _Remembering
    # Whatever the user names is trusted, be it a root, an intermediate authority or the server's own certificate.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    loaded = system_store.load(context)
    asked = {os.path.realpath(place) for place in loaded.places}
    for path, where, _ in tls.trusted:
        place = os.path.realpath(bundles.located(path))
        if place in asked and not os.path.isdir(place):
            continue  # SSL_CERT_FILE often names the system's own bundle
        try:
            found = bundles.read(path).certificates
        except (OSError, ValueError):
            _LOG.warning("%s: the certificate file %s cannot be used any more", where, path)
            continue
        if place in asked:  # the same folder: whatever is not found there by its hash
            found = tuple(der for der in found if der not in loaded.certificates)
        spoilt = system_store.add(context, found)
        if spoilt:
            _LOG.warning("%s: %d of the certificates in %s cannot be read and are left out", where, spoilt, path)
    return context, loaded.places


def _trusting_anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _asked(tls: Tls, places: tuple[str, ...]) -> Asked:
    from mcp_remote_py.core.distrust import Asked

    if system_store.HAS_INTERFACE:
        system = "the system's store"
    elif places:
        system = f"the system's store ({', '.join(places)})"
    else:
        system = ""
    return Asked(system, tuple(map(_named, tls.trusted)), tuple(map(_named, tls.missing)))


def _named(file: TrustFile) -> str:
    return f"{file.where} {file.path}"
