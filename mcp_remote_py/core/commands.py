"""The commands: everything the relay can want done. Types only; a driver performs them in the order given."""

from __future__ import annotations

from typing import NamedTuple

from mcp_remote_py.core.errors import Asked
from mcp_remote_py.core.message import Key, Message


class ToServer(NamedTuple):
    """Carry a message to the server. `exchange` names the request; None for notifications and answers.

    `urgent` messages (answers to the server, cancellations) overtake notifications that are still on their way.
    """

    message: Message
    exchange: Key | None = None
    urgent: bool = False


class ToClient(NamedTuple):
    """Write one line to the client: a message, or the array that answers a batch."""

    raw: bytes


class Drop(NamedTuple):
    """Stop waiting for this exchange; on HTTP its stream is closed."""

    exchange: Key


class Dial(NamedTuple):
    """Open a link over this wire (`http`, `sse` or `ws`); the one that was open before is closed."""

    wire: str


class Listen(NamedTuple):
    """Keep a stream for what the server says on its own, as soon as all notifications so far have arrived."""


class Arm(NamedTuple):
    """Ring once, so many seconds from now."""

    name: Timer
    seconds: float


class Disarm(NamedTuple):
    """Forget a timer."""

    name: Timer


class Keep(NamedTuple):
    """What is remembered of the server has changed: keep it for the next start."""


class SignIn(NamedTuple):
    """Have a person sign in; `signed_in` or `sign_in_failed` is the answer. There is one at a time."""

    asked: Asked


class Note(NamedTuple):
    """A line for the log. `level` is a logging level name in lower case."""

    level: str
    text: str


class Timer(NamedTuple):
    """The name of a timer: what it is for (`timeout`, `silence`, `linger`, `ping`, `greet`, `hold`, `again`, `return`,
    `near`, `silent`), and which exchange it concerns.

    Arming a timer that is armed already sets it anew.
    """

    purpose: str
    exchange: Key


Command = ToServer | ToClient | Drop | Dial | Listen | Arm | Disarm | Keep | SignIn | Note
