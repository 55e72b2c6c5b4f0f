"""Cookies: in memory, for each exact origin its own jar. Whatever domain a cookie claims, it goes to no other origin.

A load balancer's cookie keeps a session on its node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mcp_remote_py.core.http.origins import Origin, origin_of

if TYPE_CHECKING:
    from mcp_remote_py.net.cookie_jar import Jar

_SHORTEST_SECRET = 6
"""Shorter values (`1`, `true`) are also words of innocent sentences."""
Jars = dict[Origin, "Jar"]


class Cookies:
    """The cookies of one link. `learn` is told every value that comes, for the redactor.

    `keeps` False: none is sent back. `jars` outlive the link, for whoever gives them to the next one.
    """

    def __init__(self, learn: Callable[[str], None], *, keeps: bool = True, jars: Jars | None = None) -> None:
        self._learn = learn
        self._keeps = keeps
        self._jars: Jars = {} if jars is None else jars

    def keep(self, url: str, fields: Sequence[str]) -> None:
        """Take in the `Set-Cookie` fields of an answer to a request for this URL."""
        if not fields:
            return
        for field in fields:
            value = field.partition(";")[0].partition("=")[2].strip().strip('"')
            if len(value) >= _SHORTEST_SECRET:
                self._learn(value)
        if not self._keeps:
            return
        from mcp_remote_py.net.cookie_jar import Jar

        self._jars.setdefault(origin_of(url), Jar()).keep(url, fields)

    def header(self, url: str) -> str | None:
        """Return the value of the `Cookie` header for a request for this URL, None where there is no cookie."""
        jar = self._jars.get(origin_of(url)) if self._jars else None
        return None if jar is None else jar.header(url)
