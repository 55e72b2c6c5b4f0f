"""The demo server of `--demo`: something of everything, to try a client or a wire with. Nothing else may live here."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from server_stub.calls import Call, Unanswered
from server_stub.tools import ToolServer

_LONGEST = 300.0


def make_demo() -> ToolServer:
    """Return a tool server with tools, a resource and a prompt that touch every part of the protocol."""
    server = ToolServer("mcp-remote-demo", "1.0", "A small server to try things with. No tool changes anything.")
    _add_plain_tools(server)
    _add_asking_tools(server)

    @server.resource("demo://greeting", description="A greeting.", mime_type="text/plain")
    def greeting() -> str:
        return "Hello from the demo server."

    @server.prompt
    def greet(name: Annotated[str, "Whom to greet."] = "you") -> str:
        """Ask for a greeting."""
        return f"Write one friendly sentence that greets {name}."

    return server


def _add_plain_tools(server: ToolServer) -> None:
    @server.tool(annotations={"readOnlyHint": True})
    def echo(text: Annotated[str, "What to send back."]) -> str:
        """Return the text as it came."""
        return text

    @server.tool(annotations={"readOnlyHint": True})
    def add(a: float, b: float) -> dict[str, float]:
        """Add two numbers."""
        total = a + b
        return {"sum": int(total) if total.is_integer() else total}

    @server.tool(annotations={"readOnlyHint": True})
    async def slow(
        call: Call, seconds: Annotated[float, "How long to take, 300 at most."] = 2.0, steps: int = 4
    ) -> str:
        """Take some time, and report progress on the way."""
        if not 0 <= seconds <= _LONGEST or not 1 <= steps <= 1000:
            raise ValueError(f"seconds must be from 0 to {_LONGEST:g}, steps from 1 to 1000")
        for step in range(1, steps + 1):
            await asyncio.sleep(seconds / steps)
            await call.progress(step, steps, f"step {step} of {steps}")
        return f"done after {seconds:g} s"


def _add_asking_tools(server: ToolServer) -> None:
    @server.tool(annotations={"readOnlyHint": True})
    async def ask_user(call: Call, question: str = "What is your name?") -> str:
        """Ask the user a question through the client (elicitation)."""
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
        try:
            result = await call.elicit(question, schema)
        except Unanswered as reason:
            return f"The user could not be asked: {reason}."
        content: Any = result.get("content")
        if result.get("action") == "accept" and isinstance(content, dict):
            return f"The user answered: {content.get('answer')}"
        return f"The user did not answer ({result.get('action')})."

    @server.tool(annotations={"readOnlyHint": True})
    async def sample(call: Call, prompt: str = "Say hello.") -> str:
        """Have the client's model answer a prompt (sampling)."""
        try:
            result = await call.sample(prompt, max_tokens=200)
        except Unanswered as reason:
            return f"The model could not be asked: {reason}."
        content: Any = result.get("content")
        return str(content.get("text", "")) if isinstance(content, dict) else "The model's answer has no text."

    @server.tool(annotations={"readOnlyHint": True})
    async def roots(call: Call) -> str:
        """List the client's roots."""
        try:
            found = await call.roots()
        except Unanswered as reason:
            return f"The roots could not be asked for: {reason}."
        return "\n".join(str(root.get("uri")) for root in found) or "The client has no roots."


server = make_demo()
"""The handler that `--demo` serves."""
