"""Names: tools and prompts under names that every host accepts, and back again on the way to the server.

`snake` makes `API-get-user` and `getUser` into `api_get_user` and `get_user`; `host-safe` changes only what many hosts
refuse: characters outside A-Z a-z 0-9 _ - and names of more than 64. No two of the server's names become one: where
they would, or where a name is too long, it ends in a hash of the original. A name keeps its translation for as long as
the bridge runs, whatever order lists come in. Titles and descriptions stay.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Literal

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import splice
from mcp_remote_py.core.message import Kind, Message
from mcp_remote_py.core.shaping import Onward, Shaper, Step

Mode = Literal["snake", "host-safe"]
LONGEST = 64
_HASH = 8
_LISTS = {"tools/list": ("tools", "tool"), "prompts/list": ("prompts", "prompt")}
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake(name: str) -> str:
    """Return the name in lower case with single `_` between its words. Empty where nothing of it is left."""
    return re.sub(r"[^A-Za-z0-9]+", "_", _HUMP.sub("_", name)).strip("_").lower()


def host_safe(name: str) -> str:
    """Return the name with `_` for every character that hosts do not take."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


_STYLES: dict[Mode, Callable[[str], str]] = {"snake": snake, "host-safe": host_safe}


class Dictionary:
    """The names of one kind of thing, both ways. `word` begins a name of which nothing is left."""

    def __init__(self, mode: Mode, word: str) -> None:
        self._style = _STYLES[mode]
        self._word = word
        self._ours: dict[str, str] = {}
        self._theirs: dict[str, str] = {}

    def learn(self, names: Iterable[str]) -> None:
        """Give each of the server's names its translation. Those that need none keep theirs before others take it."""
        fresh = [name for name in dict.fromkeys(names) if name not in self._ours]
        for name in sorted(fresh, key=lambda name: self._plain(name) != name):
            translation, attempt = self._plain(name), 0
            while not translation or len(translation) > LONGEST or translation in self._theirs:
                translation = self._hashed(name, attempt)
                attempt += 1
            self._ours[name] = translation
            self._theirs[translation] = name

    def knows(self, name: str) -> bool:
        """Whether the host may call something so, as far as lists have said."""
        return name in self._theirs

    def for_host(self, name: str) -> str:
        """Return the translation; a name that was never learnt has none."""
        return self._ours.get(name, name)

    def for_server(self, name: str) -> str:
        """Return the server's own name for what the host calls so."""
        return self._theirs.get(name, name)

    def _plain(self, name: str) -> str:
        return self._style(name)

    def _hashed(self, name: str, attempt: int) -> str:
        salt = f"{attempt}:" if attempt else ""
        mark = hashlib.sha256(f"{salt}{name}".encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
        stem = (self._style(name).strip("_-") or self._word)[: LONGEST - _HASH - 1]
        return f"{stem}_{mark}"


class Names(Shaper):
    """See the module's text."""

    def __init__(self, mode: Mode) -> None:
        self._tools = Dictionary(mode, "tool")
        self._prompts = Dictionary(mode, "prompt")

    def asks_first(self, message: Message) -> str | None:
        """Return the method of the list that must be known before this request can be translated; None where it is."""
        if message.method == "tools/call":
            return self._unless_known("tools/list", self._tools, message.params.get("name"))
        if message.method == "prompts/get":
            return self._unless_known("prompts/list", self._prompts, message.params.get("name"))
        reference = message.params.get("ref")
        if message.method != "completion/complete" or not isinstance(reference, dict):
            return None
        is_prompt = reference.get("type") == "ref/prompt"
        return self._unless_known("prompts/list", self._prompts, reference.get("name")) if is_prompt else None

    def _unless_known(self, method: str, dictionary: Dictionary, name: object) -> str | None:
        return method if isinstance(name, str) and not dictionary.knows(name) else None

    def from_host(self, message: Message) -> list[Step]:
        if message.kind is not Kind.REQUEST:
            return [Onward(message)]
        if message.method == "tools/call":
            return [Onward(_renamed(message, ("params", "name"), self._tools.for_server))]
        if message.method == "prompts/get":
            return [Onward(_renamed(message, ("params", "name"), self._prompts.for_server))]
        reference = message.params.get("ref")
        is_prompt = isinstance(reference, dict) and reference.get("type") == "ref/prompt"
        if message.method == "completion/complete" and is_prompt:
            return [Onward(_renamed(message, ("params", "ref", "name"), self._prompts.for_server))]
        return [Onward(message)]

    def to_host(self, message: Message, request: Message | None) -> list[Step]:
        if request is None or message.kind is not Kind.RESULT or request.method not in _LISTS:
            return [Onward(message)]
        member, word = _LISTS[request.method]
        dictionary = self._tools if word == "tool" else self._prompts
        listed = message.result.get(member)
        found = [item.get("name") for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
        dictionary.learn(name for name in found if isinstance(name, str))

        def rename(item: str) -> str:
            return splice.at(item, ("name",), lambda text: _changed(text, dictionary.for_host))

        return [Onward(splice.with_items(message, ("result", member), rename))]


def _renamed(message: Message, path: splice.Path, translate: Callable[[str], str]) -> Message:
    return splice.with_at(message, path, lambda text: _changed(text, translate))


def _changed(text: str, translate: Callable[[str], str]) -> str:
    """Return a JSON string translated; as it is written where that changes nothing, or where it is no string."""
    name = msg.value_of(text)
    if not isinstance(name, str):
        return text
    new = translate(name)
    return text if new == name else msg.canonical(new)
