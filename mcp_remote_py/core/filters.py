"""Filter: which tools, prompts and resources of the server the host may see and use.

Lists lose what is hidden; every other byte stays, cursors too. What is hidden and used all the same is refused here:
the server does not hear of it.

Names are the server's own, `*` in a pattern stands for any characters, and case does not
count (as in mcp-remote). Sources: MCP 2025-06-18 tools, prompts, resources, completion.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import splice
from mcp_remote_py.core.message import Kind, Message
from mcp_remote_py.core.shaping import Onward, Shaper, Step, refuse

Patterns = tuple[str, ...]
_EXPRESSION = re.compile(r"\{[^{}]*\}")
_UPDATED = "notifications/resources/updated"
_RESOURCE_USES = frozenset({"resources/read", "resources/subscribe", "resources/unsubscribe"})


def matches(pattern: str, text: str) -> bool:
    """Whether the text is what the pattern says; `*` stands for any characters, upper and lower case are the same.

    No regular expression: a template of a server is a pattern, too, and must not be able to make us slow.
    """
    first, *others = pattern.lower().split("*")
    text = text.lower()
    if not others:
        return text == first
    last = others.pop()
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in others:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


class Wording(NamedTuple):
    """How a refusal speaks of what has hidden a thing: ends of sentences, `{what}` and `{pattern}` to be filled in."""

    ignored: str
    not_among: str
    hint: str
    source: str


FLAGS = Wording(
    "is hidden by --ignore-{what} {pattern}",
    "is not among those of --only-{what}",
    "The flags of mcp-remote-py in the host's configuration say what may be used.",
    "mcp-remote-py",
)


class Rule(NamedTuple):
    """What is hidden of one kind of thing (`tool`, `prompt`, `resource`), as its two flags say it."""

    what: str
    ignore: Patterns = ()
    only: Patterns = ()
    wording: Wording = FLAGS

    @property
    def is_active(self) -> bool:
        return bool(self.ignore or self.only)

    def hides(self, names: Iterable[str]) -> str | None:
        """Return why a thing of these names is hidden, as the end of a sentence; None where it is not."""
        names = tuple(names)
        for pattern in self.ignore:
            if any(matches(pattern, name) for name in names):
                return self.wording.ignored.format(what=self.what, pattern=pattern)
        if self.only and not any(matches(pattern, name) for pattern in self.only for name in names):
            return self._not_among
        return None

    def is_left_out(self, why: str | None) -> bool:
        """Whether this verdict of `hides` says that a thing is none of those that may be used."""
        return why == self._not_among

    @property
    def _not_among(self) -> str:
        return self.wording.not_among.format(what=self.what)


class _ReadOnly:
    """What the server's lists have said about which tools only read."""

    def __init__(self) -> None:
        self._known: dict[str, bool] = {}

    def learn(self, name: str, tool: dict[str, Any]) -> None:
        annotations = tool.get("annotations")
        self._known[name] = isinstance(annotations, dict) and annotations.get("readOnlyHint") is True

    def hides(self, name: str) -> str | None:
        if name not in self._known:
            return "is hidden by --read-only: no tools/list has said yet that it only reads"
        return None if self._known[name] else "is hidden by --read-only: the server does not say that it only reads"


class _Resources:
    """Resources and templates that the server listed: flags name them by URI or by name, requests by URI alone."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._names: dict[str, str] = {}
        self._templates: dict[str, str] = {}

    def learn(self, uri: str, name: str, *, is_template: bool) -> None:
        (self._templates if is_template else self._names)[uri] = name

    def hides(self, uri: str) -> str | None:
        """Return why this URI, or the template of this text, may not be used."""
        own = self._rule.hides([uri, *(table[uri] for table in (self._names, self._templates) if uri in table)])
        if self._rule.only:
            if not self._rule.is_left_out(own):
                return own
            verdicts = [self._rule.hides(template) for template in self._of(uri)]
            return None if None in verdicts else own
        if own is not None or uri in self._names:
            return own
        return next((why for why in map(self._rule.hides, self._of(uri)) if why is not None), None)

    def _of(self, uri: str) -> list[tuple[str, str]]:
        """The templates that this URI may have been made from, each with its name."""
        return [pair for pair in self._templates.items() if matches(_EXPRESSION.sub("*", pair[0]), uri)]


class Filter(Shaper):
    """See the module's text."""

    def __init__(self, tools: Rule, prompts: Rule, resources: Rule, *, read_only: bool = False) -> None:
        self._tools = tools
        self._prompts = prompts
        self._resources = resources
        self._reads = _ReadOnly() if read_only else None
        self._listed = _Resources(resources)

    # --- From the host ----------------------------------------------------------------------------------------

    def from_host(self, message: Message) -> list[Step]:
        if message.kind is not Kind.REQUEST:
            return [Onward(message)]
        for what, path in self._used(message):
            for name in splice.values(message.raw.decode("utf-8"), path):
                if not isinstance(name, str):
                    return [refuse(message, f"the {path[-1]} of a {what} must be a string", "")]
                why = self._hides(what, name)
                if why is not None:
                    words = self._tools.wording
                    text = f"the {what} {msg.canonical(name)} {why}"
                    return [refuse(message, text, words.hint, words.source)]
        return [Onward(message)]

    def _used(self, message: Message) -> list[tuple[str, splice.Path]]:
        """Return what the request uses, and where in it the name or URI stands."""
        method = message.method
        if method == "tools/call" and (self._tools.is_active or self._reads):
            return [("tool", ("params", "name"))]
        if method == "prompts/get" and self._prompts.is_active:
            return [("prompt", ("params", "name"))]
        if method in _RESOURCE_USES and self._resources.is_active:
            return [("resource", ("params", "uri"))]
        if method == "completion/complete":
            reference = message.params.get("ref")
            kind = reference.get("type") if isinstance(reference, dict) else None
            if kind == "ref/prompt" and self._prompts.is_active:
                return [("prompt", ("params", "ref", "name"))]
            if kind == "ref/resource" and self._resources.is_active:
                return [("resource", ("params", "ref", "uri"))]
        return []

    def _hides(self, what: str, name: str) -> str | None:
        if what == "prompt":
            return self._prompts.hides([name])
        if what == "resource":
            return self._listed.hides(name)
        return self._tools.hides([name]) or (self._reads.hides(name) if self._reads else None)

    # --- To the host ------------------------------------------------------------------------------------------

    def to_host(self, message: Message, request: Message | None) -> list[Step]:
        if message.method == _UPDATED and self._resources.is_active:
            uri = message.params.get("uri")
            hidden = isinstance(uri, str) and self._listed.hides(uri) is not None
            return [] if hidden else [Onward(message)]
        if request is None or message.kind is not Kind.RESULT:
            return [Onward(message)]
        if request.method == "tools/list" and (self._tools.is_active or self._reads):
            message = splice.with_items(message, ("result", "tools"), self._tool)
        elif request.method == "prompts/list" and self._prompts.is_active:
            message = splice.with_items(message, ("result", "prompts"), self._prompt)
        elif request.method == "resources/list" and self._resources.is_active:
            message = splice.with_items(message, ("result", "resources"), self._resource)
        elif request.method == "resources/templates/list" and self._resources.is_active:
            message = splice.with_items(message, ("result", "resourceTemplates"), self._template)
        return [Onward(message)]

    def _tool(self, item: str) -> str | None:
        names = _texts(item, "name")
        if self._reads:
            for name in names:
                self._reads.learn(name, msg.value_of(item))
        why = self._tools.hides(names)
        if why is None and self._reads:
            why = next((why for why in map(self._reads.hides, names) if why is not None), None if names else "no name")
        return item if why is None else None

    def _prompt(self, item: str) -> str | None:
        return item if self._prompts.hides(_texts(item, "name")) is None else None

    def _resource(self, item: str) -> str | None:
        return self._place(item, "uri")

    def _template(self, item: str) -> str | None:
        return self._place(item, "uriTemplate")

    def _place(self, item: str, member: str) -> str | None:
        uris, names = _texts(item, member), _texts(item, "name")
        for uri in uris:
            self._listed.learn(uri, names[-1] if names else "", is_template=member == "uriTemplate")
        return item if self._resources.hides([*uris, *names]) is None else None


def _texts(item: str, name: str) -> list[str]:
    """Return the strings that members of this name have; a name that stands twice counts twice."""
    return [value for value in splice.values(item, (name,)) if isinstance(value, str)]
