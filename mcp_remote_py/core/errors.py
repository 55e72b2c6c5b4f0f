"""The error tree. A `Fault` is trouble on the way; it knows its code, its hint, and whether the call may have run.

    McpRemoteError
    ├── ConfigError        the user can mend it: names flag, variable, file          exit 2
    └── Fault              becomes the answer to a request
        ├── Unreachable    nothing was sent                          -31001  never ran
        │   └── TlsRefused no TLS that could be trusted              -31001  never ran
        ├── TimedOut       a limit passed                            -31002  may have run
        ├── Interrupted    sent, and the way broke before an answer  -31003  may have run
        ├── SessionLost    the server no longer knows the session    -31004  never ran
        ├── SignInNeeded   401, 403 or a WebSocket close that asks   -31005  never ran
        ├── Refused        an HTTP status without a JSON-RPC body    -31006  by status
        ├── TooLarge       over a limit, which the hint names        -31007  by place
        ├── PeerBroke      the server violated the protocol          -31008  by place
        ├── BackendDown    the child or handler is not there         -31009  by place
        ├── ShuttingDown   we are leaving                            -31010  may have run
        └── OwnMistake     a defect of ours, caught at the last line -32603  may have run

The codes lie outside -32768…-32000, as revision 2026-07-28 asks of new ones; `data.source` says who speaks. Texts
never contain `str(exception)` of a foreign library, and never a secret.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Self

from mcp_remote_py.core import message
from mcp_remote_py.core.message import JsonId, Message

INSTALL_SERVER = (
    "Install it with the extra [server]. From a checkout: pip install '.[server]'   "
    "(pipx: pipx install --force '.[server]'); from a wheel: pip install 'FILE.whl[server]'"
)
"""What to type where the server side lacks its libraries."""
INSTALL_CRYPTO = INSTALL_SERVER.replace("[server]", "[crypto]")
"""What to type where keys or PKCS#12 files need the library cryptography."""


class McpRemoteError(Exception):
    """Root of the tree."""


class ConfigError(McpRemoteError):
    """What the user gave cannot work. The text says what was wrong, where, and what to do."""

    exit_code: ClassVar[int] = 2


class Fault(McpRemoteError):
    """Trouble on the way. `str(fault)` is one sentence; `hint` says what to do; `http_status` where there was one.

    `mends`: it is of the kind that passes by itself, so that waiting helps. `retry_after`: how many seconds the server
    asked to be left alone, if it did. `attempts`: how often it was tried, 0 where that was not counted.
    """

    code: ClassVar[int] = -31000
    default_hint: ClassVar[str] = ""
    default_may_have_run: ClassVar[bool] = False
    default_mends: ClassVar[bool] = False

    def __init__(
        self,
        text: str,
        *,
        hint: str | None = None,
        may_have_run: bool | None = None,
        http_status: int | None = None,
        mends: bool | None = None,
    ) -> None:
        super().__init__(text)
        self.hint = self.default_hint if hint is None else hint
        self.may_have_run = self.default_may_have_run if may_have_run is None else may_have_run
        self.http_status = http_status
        self.mends = self.default_mends if mends is None else mends
        self.retry_after: float | None = None
        self.attempts = 0

    @property
    def in_full(self) -> str:
        """The trouble and what to do, as a log or a terminal shows it."""
        return f"{str(self).rstrip('.')}. {self.hint}" if self.hint else str(self)

    def restated(self, text: str | None = None, *, hint: str | None = None, may_have_run: bool | None = None) -> Self:
        """Return the same trouble in other words, or for a request of which something else is known."""
        fault = type(self)(
            str(self) if text is None else text,
            hint=self.hint if hint is None else hint,
            may_have_run=self.may_have_run if may_have_run is None else may_have_run,
            http_status=self.http_status,
            mends=self.mends,
        )
        fault.retry_after, fault.attempts = self.retry_after, self.attempts
        if isinstance(self, SignInNeeded) and isinstance(fault, SignInNeeded):
            fault.asked = self.asked
        return fault

    @property
    def name(self) -> str:
        return type(self).__name__


class Unreachable(Fault):
    code = -31001
    default_mends = True
    default_hint = "Check the URL, the network and any VPN, and whether the server is running; then try again."


class TlsRefused(Unreachable):
    default_mends = False
    default_hint = "If a company proxy inspects TLS, export its root certificate and pass it with --ca-bundle FILE."


class TimedOut(Fault):
    code = -31002
    default_hint = "Raise the limit that the text names, or find out why the server is slow."
    default_may_have_run = True


class Interrupted(Fault):
    code = -31003
    default_mends = True
    default_hint = "The call may have run on the server. Check its effect before you repeat it."
    default_may_have_run = True


class SessionLost(Fault):
    code = -31004
    default_hint = "Try again; if it stays so, restart this MCP server in the host."


class Asked(NamedTuple):
    """How a server asked for a sign-in: the status of its answer, and its `WWW-Authenticate` (never to be shown)."""

    status: int = 401
    challenge: str = ""

    @property
    def wants_nonce(self) -> bool:
        """Whether it is the proof of possession that lacks something: the server's nonce (RFC 9449 section 9)."""
        return "use_dpop_nonce" in self.challenge


UNTOLD = Asked()
"""A server that did not say more than that."""


class SignInNeeded(Fault):
    """`asked` is there where it was the server that said so, and a sign-in can mend it."""

    code = -31005
    asked: Asked | None = None
    default_hint = (
        'Give a valid token: set MCP_AUTH_TOKEN, or pass --header "Authorization: Bearer ..." '
        "(--header-file keeps it out of the process list)."
    )


class Refused(Fault):
    code = -31006
    default_hint = (
        "Check that the URL is the server's MCP endpoint (often it ends in /mcp or /sse; where one address has many "
        "servers, in /NAME/mcp)."
    )


class TooLarge(Fault):
    code = -31007
    default_hint = "Raise --max-message-size."


class PeerBroke(Fault):
    code = -31008
    default_hint = "The server's answer does not follow the protocol; its log may say more."
    default_may_have_run = True


class BackendDown(Fault):
    code = -31009
    default_hint = "The server's log has the rest of the child's output."
    default_may_have_run = True


class ShuttingDown(Fault):
    code = -31010
    default_hint = (
        "The call may have run on the server. At the end of input, --drain gives running calls more time than a second."
    )
    default_may_have_run = True


class OwnMistake(Fault):
    code = -32603
    default_hint = "This is a defect of the bridge, not of the server. Please report it with the output of --debug."
    default_may_have_run = True


FAULTS: tuple[type[Fault], ...] = (
    Unreachable,
    TimedOut,
    Interrupted,
    SessionLost,
    SignInNeeded,
    Refused,
    TooLarge,
    PeerBroke,
    BackendDown,
    ShuttingDown,
    OwnMistake,
)
"""One class per code; the reference page is printed from this."""


def as_error(fault: Fault, identifier: JsonId | None, source: str = "mcp-remote-py") -> Message:
    """Return the JSON-RPC error that answers a request with this fault."""
    data: dict[str, Any] = {
        "source": source,
        "name": fault.name,
        "hint": fault.hint,
        "may_have_run": fault.may_have_run,
    }
    if fault.http_status is not None:
        data["http_status"] = fault.http_status
    if fault.attempts:
        data["attempts"] = fault.attempts
    if fault.retry_after is not None:
        data["retry_after"] = fault.retry_after
    return message.error(identifier, fault.code, str(fault), data)
