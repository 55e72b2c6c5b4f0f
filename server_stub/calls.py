"""Call: what a decorated function can say and ask while it runs. (MCP 2025-11-25: progress, logging, client side.)"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.message import JsonId
from server_stub.backends.handler import RpcError, Session


class Unanswered(Exception):
    """The client cannot be asked, or did not give what it was asked for. The text is fit for a model."""


class Call:
    """The course of one call: progress, log lines, questions to the client. A parameter annotated `Call` gets it.

    The methods are coroutines; those that end in `_sync` are for synchronous functions.
    """

    def __init__(self, session: Session, token: JsonId | None, capabilities: dict[str, Any]) -> None:
        self.session = session
        self.progress_token = token
        """The token the client gave for progress; None where it wants none."""
        self.capabilities = capabilities
        """What the client said it can do, as in its `initialize`."""

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Report progress, where the client wants to hear of it."""
        await self.session.progress(self.progress_token, progress, total, message)

    async def log(self, level: str, data: object) -> None:
        """Send a log message to the client."""
        await self.session.log(level, data)

    def progress_sync(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """`progress` for a synchronous function."""
        self.session.progress_sync(self.progress_token, progress, total, message)

    def log_sync(self, level: str, data: object) -> None:
        """`log` for a synchronous function."""
        self.session.log_sync(level, data)

    async def elicit(self, message: str, schema: dict[str, Any]) -> dict[str, Any]:
        """Ask the user: returns `{"action": "accept" | "decline" | "cancel", "content": ...}`. Raises `Unanswered`."""
        return await self._ask("elicitation", "elicitation/create", {"message": message, "requestedSchema": schema})

    async def sample(self, prompt: str, max_tokens: int = 1000, **more: Any) -> dict[str, Any]:
        """Have the client's model answer a prompt: returns `{"role", "content", "model", ...}`. Raises `Unanswered`."""
        messages = [{"role": "user", "content": {"type": "text", "text": prompt}}]
        params = {"messages": messages, "maxTokens": max_tokens, **more}
        return await self._ask("sampling", "sampling/createMessage", params)

    async def roots(self) -> list[dict[str, Any]]:
        """Return the client's roots, `{"uri", "name"}` each. Raises `Unanswered`."""
        roots = (await self._ask("roots", "roots/list", None)).get("roots")
        return roots if isinstance(roots, list) else []

    def wait_for(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Run a coroutine of this call from a synchronous function: `call.wait_for(call.roots)`."""
        return self.session.wait_for(ask)

    async def _ask(self, capability: str, method: str, params: dict[str, Any] | None) -> dict[str, Any]:
        if capability not in self.capabilities:
            raise Unanswered(f"this client offers no {capability}")
        try:
            result = await self.session.request(method, params)
        except RpcError as error:
            raise Unanswered(f"the client refused {method}: {error.message}") from error
        except Fault as fault:
            raise Unanswered(f"the client did not answer {method}: {fault}") from fault
        return result if isinstance(result, dict) else {}
