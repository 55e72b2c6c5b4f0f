"""Header file: the headers that a file names, read again when it changes.

A file that is missing, half-written or broken leaves the last good headers in force, with one warning.
"""

from __future__ import annotations

import logging

from mcp_remote_py import settings
from mcp_remote_py.core import options
from mcp_remote_py.core.credentials import Source
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http.headers import Headers
from mcp_remote_py.credentials.watched_file import Unreadable, WatchedFile

_LOG = logging.getLogger("mcp_remote_py.credentials.header_file")


class HeaderFile:
    """`headers` is what it said when it was last read and good: the same object until something else was read."""

    def __init__(self, given: settings.HeaderFile) -> None:
        self.headers: Headers = given.headers
        self._given = given
        self._environ = dict(given.environ)
        self._file = WatchedFile(given.path)
        self._has_warned = False

    @property
    def source(self) -> Source:
        """What gives the `Authorization` header, where the file has one."""
        return Source(
            f"the Authorization header of {self._given.where}",
            "It is wrong, expired or meant for another server. Renew it in the file; it is read again then.",
        )

    def look_again(self) -> None:
        """Read at the next question, whatever the file's times say."""
        self._file.look_again()

    def read(self) -> Headers:
        """Return the headers of now."""
        try:
            text = self._file.changed()
            if text is not None:
                self._take(self._parse(text))
        except Unreadable as reason:
            self._warn(f"{self._given.where}: cannot be read ({reason})")
        except ConfigError as error:
            self._warn(str(error).rstrip("."))
            self._file.look_again()  # perhaps it is being written
        return self.headers

    def _parse(self, text: str) -> Headers:
        if not text.strip() and self.headers:
            raise ConfigError(f"{self._given.where}: is empty now")
        found: dict[str, tuple[str, str]] = {}
        for name, content in options.header_lines(text, self._given.where, self._environ):
            if name.lower() in found:
                raise ConfigError(f"{self._given.where} gives the header {name} twice")
            found[name.lower()] = (name, content)
        return tuple(pair for name, pair in found.items() if name not in self._given.without)

    def _take(self, headers: Headers) -> None:
        self._has_warned = False
        if headers != self.headers:
            _LOG.info("%s was read again, as it has changed", self._given.where)
            self.headers = headers

    def _warn(self, trouble: str) -> None:
        if not self._has_warned:
            _LOG.warning("%s. What it said before is sent on (and ${VAR} is as it was at the start).", trouble)
        self._has_warned = True
