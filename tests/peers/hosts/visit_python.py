"""A host on the official Python SDK, 1.x or 2.x, that visits many servers at once: lists their tools and calls some.

    python visit_python.py PLAN REPORT

PLAN is a JSON list of `{"name", "wire", "url", "token", "calls": [[tool, arguments], ...], "until": [prefix, ...]}`:
tools are listed again until there is one for each prefix, as slow members of a merged server join later. REPORT will
have `{name: {"server", "tools", "said": [text, ...]}}`. Runs in the SDK's own virtual environment.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

from mcp import ClientSession
from mcp.client.sse import sse_client

PATIENCE = 60.0
IS_V1 = importlib.metadata.version("mcp").startswith("1.")


def transport(stop: dict[str, Any]) -> Any:
    headers = {"Authorization": f"Bearer {stop['token']}"} if stop["token"] else {}
    if stop["wire"] == "sse":
        return sse_client(stop["url"], headers=headers)
    if stop["wire"] == "ws":
        from mcp.client.websocket import websocket_client  # 1.x with the extra [ws] alone; it sends no headers

        return websocket_client(stop["url"])
    if IS_V1:
        from mcp.client.streamable_http import streamablehttp_client

        return streamablehttp_client(stop["url"], headers=headers)
    import httpx2  # what the 2.x SDK brings
    from mcp.client.streamable_http import streamable_http_client

    return streamable_http_client(stop["url"], http_client=httpx2.AsyncClient(headers=headers, timeout=60))


def is_whole(stop: dict[str, Any], names: list[str]) -> bool:
    return all(any(name.startswith(begin) for name in names) for begin in stop["until"])


async def names_of_tools(session: ClientSession) -> list[str]:
    return sorted(tool.name for tool in (await session.list_tools()).tools)


async def visit(stop: dict[str, Any], report: dict[str, Any]) -> None:
    async with transport(stop) as streams, ClientSession(streams[0], streams[1]) as session:
        greeting = (await session.initialize()).model_dump(by_alias=True)
        async with asyncio.timeout(PATIENCE):
            names = await names_of_tools(session)
            while not is_whole(stop, names):
                await asyncio.sleep(0.2)
                names = await names_of_tools(session)
        said = []
        for tool, arguments in stop["calls"]:
            content = (await session.call_tool(tool, arguments)).content
            said.append("".join(getattr(part, "text", "") for part in content))
        report[stop["name"]] = {"server": greeting["serverInfo"]["name"], "tools": names, "said": said}


async def visit_all(plan: list[dict[str, Any]]) -> dict[str, Any]:
    report: dict[str, Any] = {}
    async with asyncio.TaskGroup() as group:
        for stop in plan:
            group.create_task(visit(stop, report))
    return report


def main(plan: Path, file: Path) -> None:
    report = asyncio.run(visit_all(json.loads(plan.read_text(encoding="utf-8"))))
    file.write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
