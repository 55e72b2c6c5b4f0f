"""Signs of life: an answer over HTTP that tells of every piece of its body. Used where a limit counts silence alone."""

from __future__ import annotations

from collections.abc import Callable

from mcp_remote_py.core.message import Key
from mcp_remote_py.net.http import Chunks, Response, gather


def listened(response: Response, key: Key, heard: Callable[[Key], None] | None, host: str) -> Response:
    """Tell that the head of this request's answer is there, and return the answer, which will tell of its body.

    `heard` None: nobody wants to know, and the answer is returned as it is.
    """
    if heard is None:
        return response
    heard(key)
    return _Listened(response, key, heard, host)


class _Listened:
    """See the module's text. Comments of an event stream are pieces, too: servers send them to stay alive."""

    def __init__(self, response: Response, key: Key, heard: Callable[[Key], None], host: str) -> None:
        self._response = response
        self._key = key
        self._heard = heard
        self._host = host

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def url(self) -> str:
        return self._response.url

    def header(self, name: str) -> str:
        return self._response.header(name)

    def headers(self) -> dict[str, str]:
        return self._response.headers()

    async def chunks(self) -> Chunks:
        async for chunk in self._response.chunks():
            self._heard(self._key)
            yield chunk

    async def read(self, limit: int) -> bytes:
        return await gather(self.chunks(), limit, self.header("content-length"), self._host)
