"""Performer: carries out the steps of a flow, one after the other, and sends it what came of them.

Where a step fails, the `Fault` is thrown into the flow, which may know another way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.oauth.steps import (
    Authorize,
    Fetch,
    Flow,
    Keep,
    Listen,
    Pause,
    Recall,
    Say,
    ShowCode,
    Sign,
    Step,
)

if TYPE_CHECKING:
    from mcp_remote_py.auth.callback import Callback
    from mcp_remote_py.auth.fetcher import Fetcher
    from mcp_remote_py.auth.signing import Signer
    from mcp_remote_py.auth.store import Store
    from mcp_remote_py.settings import SignIn

_LOG = logging.getLogger("mcp_remote_py.auth")
_Result = TypeVar("_Result")
AGAIN_SECONDS = 30.0
"""So long is waited for the tab of a process that died, before it is opened once more."""


class Invitation(NamedTuple):
    """What a person is asked to do. `opened`: a browser shows it already."""

    url: str
    text: str
    opened: bool


class Tools(NamedTuple):
    """What the steps are carried out with. `show` tells the host. `paste` waits for the redirect URL of the sign-in
    with this `state` from a person; None: from the terminal. `secrets`: no browser is handed a variable with one."""

    fetcher: Fetcher
    callback: Callback
    store: Store
    signer: Callable[[], Signer]
    show: Callable[[Invitation], None]
    paste: Callable[[str], Awaitable[str]] | None = None
    secrets: tuple[str, ...] = ()


class Performer:
    """Performs one flow at a time. `was_opened`: the URL that a process before this one has opened, if any. `opening`
    is told of a URL before it is opened."""

    def __init__(
        self,
        sign_in: SignIn,
        tools: Tools,
        was_opened: str | None = None,
        opening: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._sign_in = sign_in
        self._tools = tools
        self._was_opened = was_opened
        self._opening = opening

    async def run(self, flow: Flow[_Result]) -> _Result:
        """Return what the flow comes to. Raises its `Fault`."""
        try:
            step = next(flow)
            while True:
                try:
                    outcome = await self._perform(step)
                except Fault as fault:
                    step = flow.throw(fault)
                else:
                    step = flow.send(outcome)
        except StopIteration as end:
            result: _Result = end.value
            return result
        finally:
            flow.close()

    async def _perform(self, step: Step) -> Any:
        tools = self._tools
        match step:
            case Fetch():
                _LOG.debug("asking for %s", step.what)
                return await tools.fetcher.fetch(step)
            case Listen(registered):
                return await tools.callback.listen(registered)
            case Authorize():
                return await self._authorize(step)
            case ShowCode():
                return await self._show_code(step)
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Sign():
                return await asyncio.to_thread(lambda: tools.signer().sign(step))
            case Recall(name):
                return await asyncio.to_thread(tools.store.read, name)
            case Keep(name, document):
                await asyncio.to_thread(tools.store.write, name, document)
            case Say(level, text):
                _LOG.log(getattr(logging, level.upper()), "%s", text)
        return None

    # --- A person ----------------------------------------------------------------------------------------------

    async def _authorize(self, step: Authorize) -> str:
        _LOG.info("%s asks for a sign-in at %s", step.resource, step.issuer)
        if self._opening is not None:
            await self._opening(step.url)
        if step.url == self._was_opened:
            _LOG.info(
                "a sign-in that was begun a moment ago goes on; if its tab shows an error, reload it: %s", step.url
            )
            with contextlib.suppress(TimeoutError):  # nobody came back: the tab may have been closed
                async with asyncio.timeout(AGAIN_SECONDS):
                    return await self._returned(step)
        opened = self._sign_in.browser and await self._open(step.url)
        where = "A browser was opened for it" if opened else self._what_to_do()
        _LOG.warning("sign in to %s. %s: %s", step.issuer, where, step.url)
        self._tools.show(Invitation(step.url, f"Sign in to {step.issuer} to use {step.resource}.", opened))
        return await self._returned(step)

    def _what_to_do(self) -> str:
        """Return what a person does for whom no browser was opened."""
        from mcp_remote_py.auth import paste

        if not self._sign_in.browser and (self._tools.paste is not None or paste.has_terminal()):
            return (
                "Open this URL in a browser. If it is on another machine, it ends at a page that cannot be shown: "
                "paste the address of that page here"
            )
        return "Open this URL in a browser on this machine"

    async def _open(self, url: str) -> bool:
        from mcp_remote_py.auth import browser

        return await asyncio.to_thread(browser.open_url, url, self._tools.secrets)

    async def _returned(self, step: Authorize) -> str:
        """Return the query of the redirect, from the browser or from a person who pasted it."""
        waiting: list[Awaitable[str]] = [self._tools.callback.query(step.state)]
        if not self._sign_in.browser:
            waiting.append(self._pasted(step.state))
        return await _first(waiting)

    def _pasted(self, state: str) -> Awaitable[str]:
        if self._tools.paste is not None:
            return self._tools.paste(state)
        from mcp_remote_py.auth import paste

        return paste.from_terminal(state)

    async def _show_code(self, step: ShowCode) -> None:
        from mcp_remote_py.auth import device_prompt

        _LOG.info("%s asks for a sign-in at %s", step.resource, step.issuer)
        text = device_prompt.text(step)
        _LOG.warning("%s", text)
        await asyncio.to_thread(device_prompt.draw, step)
        self._tools.show(Invitation(step.complete_uri or step.verification_uri, text, opened=False))


async def _first(waiting: list[Awaitable[str]]) -> str:
    """Return what comes first, and end the others. Raises the `Fault` that comes first."""
    if len(waiting) == 1:
        return await waiting[0]
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def report(one: Awaitable[str]) -> None:
        try:
            text = await one
        except Fault as fault:
            if not found.done():
                found.set_exception(fault)
        else:
            if not found.done():
                found.set_result(text)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(report(one)) for one in waiting]
        await asyncio.wait([found])
        for task in tasks:
            task.cancel()
    return found.result()
