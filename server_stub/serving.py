"""The Python way in: `serve(handler)`, and the `RemoteMCPServer` of older programs. No policy of its own.

`RemoteMCPServer(host, port).run()` keeps the shape that programs in the wild have; unlike theirs it listens on
loopback, has no default secret, and takes the environment's MCP_AUTH_TOKEN as a static bearer token.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from mcp_remote_py import __version__, log
from mcp_remote_py.core.options import did_you_mean
from mcp_remote_py.core.redact import Redactor
from server_stub.backends.handler import Handler, Session, connect_handler, is_async
from server_stub.core.access import Doors
from server_stub.settings import Auth, ServeSettings
from server_stub.tools import ToolServer

_SHORT_FORMS = ("token", "tokens", "jwt", "allowed_hosts", "allowed_origins", "cors_origins", "public_url")

logger = logging.getLogger(__name__)


def serve(handler: Handler, *, host: str = "127.0.0.1", port: int = 8080, **options: Any) -> None:
    """Serve a handler until SIGTERM, SIGINT or SIGHUP. Blocks; logs go to stderr unless logging is set up already.

    `options` are fields of `ServeSettings` (`limits`, `timing`, `stateless`, `log_level`, ...), or one of the short
    forms: `token` or `tokens` (who brings one as bearer is let in), `jwt` (a `settings.Jwt`), `allowed_hosts`,
    `allowed_origins`, `cors_origins`, `public_url`.

    Raises `ConfigError` for what would be unsafe or cannot work, TypeError for an option that does not exist.
    """
    settings = settings_of(host, port, options)
    connect = connect_handler(handler)

    async def run() -> None:
        from server_stub.app import run as run_app  # aiohttp is loaded here, and not by importing this module

        await run_app(settings, connect, _announce)

    sink = _set_up_logs(settings)
    try:
        asyncio.run(run())
    finally:
        if sink is not None:
            sink.drain(0.5)


def settings_of(host: str, port: int, options: dict[str, Any]) -> ServeSettings:
    """Return the settings that the options of `serve` mean. Raises TypeError for one that does not exist."""
    known = (*ServeSettings._fields, *_SHORT_FORMS)
    for name in options:
        if name not in known:
            raise TypeError(f"serve() has no option {name!r}.{did_you_mean(name, known)}")
    given = dict(options)
    short = {name: given.pop(name) for name in _SHORT_FORMS if name in given}
    settings = ServeSettings(host=host, port=port, **given)
    auth, doors = settings.auth, settings.doors
    tokens = (*auth.tokens, *short.get("tokens", ()), *([short["token"]] if short.get("token") else []))
    auth = Auth(tokens, short.get("jwt", auth.jwt))
    doors = Doors(
        hosts=tuple(short.get("allowed_hosts", doors.hosts)),
        origins=tuple(short.get("allowed_origins", doors.origins)),
        cors_origins=tuple(short.get("cors_origins", doors.cors_origins)),
        public_url=short.get("public_url", doors.public_url),
    )
    secret = auth.jwt.secret if auth.jwt is not None else None
    secrets = (*settings.secrets, *tokens, *([secret] if secret else []))
    return settings._replace(auth=auth, doors=doors, secrets=secrets)


def _set_up_logs(settings: ServeSettings) -> log.LogHandler | None:
    if logging.getLogger().handlers:
        return None  # the program that embeds us has its own
    redactor = Redactor()
    for secret in settings.secrets:
        redactor.add(secret)
    return log.set_up(settings.service_name, settings.log_level, redactor)


def _announce(url: str) -> None:
    sys.stderr.write(f"mcp-remote-server: listening on {url} (/mcp /sse /ws /health)\n")
    sys.stderr.flush()


class RemoteMCPServer:
    """A server as a class. Give a handler, or define `handle_request(self, message)` in a subclass.

    A handler may also be an object with a method `handle_request(message)`. `MCP_AUTH_TOKEN` in the environment is
    the static bearer token that clients must bring; without it nobody needs one, and only loopback can be bound.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 8080, handler: Any = None, **options: Any) -> None:
        self.host = host
        self.port = port
        self.handler = handler
        self.options = options

    def run(self) -> None:
        """Serve until a signal asks to stop. Blocks. Raises like `serve`."""
        options = dict(self.options)
        token = os.environ.get("MCP_AUTH_TOKEN", "").strip()
        if token and not any(name in options for name in ("token", "tokens", "jwt", "auth")):
            options["token"] = token
        serve(self.as_handler(), host=self.host, port=self.port, **options)

    def as_handler(self) -> Handler:
        """Return what answers: the handler, an object's or our own `handle_request`, else a server without tools."""
        for candidate in (self.handler, self):
            request: Any = getattr(candidate, "handle_request", None)
            if request is not None:
                return _with_one_argument(request)
        if self.handler is not None:
            return _checked(self.handler)
        logger.warning("RemoteMCPServer has no handler: it serves no tools")
        return ToolServer("mcp-remote-server", __version__)


def _checked(handler: Any) -> Handler:
    if not callable(handler):
        raise TypeError(f"a handler is a function (message, session); this is a {type(handler).__name__}")
    checked: Handler = handler
    return checked


def _with_one_argument(request: Callable[[dict[str, Any]], Any]) -> Handler:
    """Return a handler around `handle_request(message)`, which knows no session."""
    if is_async(request):

        async def ask(message: dict[str, Any], session: Session) -> dict[str, Any] | None:
            del session  # the older shape has no place for it
            answer: dict[str, Any] | None = await request(message)
            return answer

        return ask

    def ask_in_a_thread(message: dict[str, Any], session: Session) -> Any:
        del session
        answer = request(message)
        return answer if inspect.isawaitable(answer) or isinstance(answer, dict) else None

    return ask_in_a_thread
