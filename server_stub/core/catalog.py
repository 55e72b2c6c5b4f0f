"""Catalog: what the members of a merged server offer, under names that belong to one member each. Pure.

A tool or prompt `t` of the member `s` is called `s__t`. Which name it has depends on the two alone, so it is the same
in every session and after every restart, whoever else is there, and permissions that a host has stored stay right:

    s__t              where that is legal (A-Z a-z 0-9 _ -, at most 64), and where `s` ends before the first `__`
    stem_0123456789ab everywhere else: a readable stem, and a hash of both

The first kind is taken apart without knowing any list, the second is looked up; a name that looks like the second kind
is always given the second. URIs stay as they are; where two members have the same one, that of the later member
stands under `mcp-member://{member}/`. (MCP 2025-11-25: tools, prompts, resources, completion, tasks, pagination.)
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import splice
from mcp_remote_py.core.filters import matches
from mcp_remote_py.core.message import Invalid

LONGEST = 64
SEPARATOR = "__"
SCHEME = "mcp-member://"

_HASH = 12
_SERVER_IN_STEM = 24
_LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HASHED = re.compile(r"_[0-9a-f]{12}\Z")
_EXPRESSION = re.compile(r"\{[^{}]*\}")
_HASHED_NAMES = 50_000
_MENTIONS = 4096
"""So many URIs and tasks are remembered that members have mentioned without listing them."""


class Listing(NamedTuple):
    """One kind of thing that members list."""

    method: str
    member: str
    """Where in the result the items stand."""
    capability: str
    """Without it a server has none of them."""
    key: str
    """What tells one item from another."""
    changed: str | None


TOOLS = Listing("tools/list", "tools", "tools", "name", "notifications/tools/list_changed")
PROMPTS = Listing("prompts/list", "prompts", "prompts", "name", "notifications/prompts/list_changed")
RESOURCES = Listing("resources/list", "resources", "resources", "uri", "notifications/resources/list_changed")
TEMPLATES = Listing("resources/templates/list", "resourceTemplates", "resources", "uriTemplate", RESOURCES.changed)
TASKS = Listing("tasks/list", "tasks", "tasks", "taskId", None)
LISTINGS: Mapping[str, Listing] = {one.method: one for one in (TOOLS, PROMPTS, RESOURCES, TEMPLATES, TASKS)}


class Place(NamedTuple):
    """A thing as its member calls it."""

    member: str
    own: str


# --- Names ----------------------------------------------------------------------------------------------------------


def join_name(member: str, own: str, attempt: int = 0) -> str:
    """Return what a member's tool or prompt is called. `attempt`: others of this hash that came before it, if any."""
    plain = f"{member}{SEPARATOR}{own}"
    if attempt == 0 and own and split_name(plain) == Place(member, own):
        return plain
    salt = f"{attempt}:" if attempt else ""
    text = f"{salt}{len(member)}:{member}{own}"
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
    room = LONGEST - _HASH - 1
    first, second = (re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in (member, own))
    if len(first) + len(SEPARATOR) + len(second) > room:
        first = first[:_SERVER_IN_STEM]
    return f"{first}{SEPARATOR}{second}"[:room] + f"_{mark}"


def split_name(name: str) -> Place | None:
    """Return whose name this is, where the name itself says so; None for one with a hash, and for none of ours."""
    if _LEGAL.fullmatch(name) is None or _HASHED.search(name) is not None:
        return None
    member, separator, own = name.partition(SEPARATOR)
    return Place(member, own) if member and separator and own else None


def is_hashed(name: str) -> bool:
    """Whether only the lists can say whose name this is."""
    return len(name) <= LONGEST and _HASHED.search(name) is not None


# --- URIs -----------------------------------------------------------------------------------------------------------


def join_uri(member: str, own: str) -> str:
    """Return a URI (or template) that names its member."""
    return f"{SCHEME}{quote(member, safe='')}/{own}"


def split_uri(uri: str) -> Place | None:
    """Return whose URI this is, where it says so."""
    if not uri.startswith(SCHEME):
        return None
    member, slash, own = uri[len(SCHEME) :].partition("/")
    return Place(unquote(member), own) if slash else None


# --- The catalog ----------------------------------------------------------------------------------------------------


class Catalog:
    """What is known of the members' lists, in one session. Members count in the order of `order`."""

    def __init__(self) -> None:
        self._order: tuple[str, ...] = ()
        self._hashed: dict[tuple[str, str], Place] = {}
        self._names: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        self._uris: dict[tuple[str, str], dict[str, None]] = {}
        self._mentioned: OrderedDict[tuple[str, str], str] = OrderedDict()

    def order(self, members: Iterable[str]) -> None:
        """These are the members, in this order; what was known of others is forgotten."""
        self._order = tuple(members)
        for gone in {member for _, member in self._uris} - set(self._order):
            self.forget(gone)

    def forget(self, member: str) -> None:
        """Nothing is known of this member's URIs any more. Its names stay what they are."""
        self._uris = {place: uris for place, uris in self._uris.items() if place[1] != member}
        for known in [known for known, owner in self._mentioned.items() if owner == member]:
            del self._mentioned[known]

    # lists

    def learn(self, listing: Listing, member: str, items: Sequence[str]) -> None:
        """Take notice of a member's whole list, each item as it is written."""
        keys = [key for key in (_key_of(item, listing.key) for item in items) if key is not None]
        if listing in (TOOLS, PROMPTS):
            for own in keys:
                self.name_of(listing, member, own)
        elif listing is TASKS:
            for own in keys:
                self.mention(listing, member, own)
        else:
            self._uris[listing.method, member] = dict.fromkeys(keys)

    def shown(self, listing: Listing, member: str, items: Sequence[str]) -> list[str]:
        """Return a member's items as the merged list has them: their bytes, but for the name.

        To be called when all lists are learnt. What has no name, or one that came before, cannot be used and is
        left out.
        """
        found: dict[str, str] = {}
        for item in items:
            own = _key_of(item, listing.key)
            if own is None or own in found:
                continue
            public = self.public(listing, member, own)
            found[own] = item if public == own else _with_key(item, listing.key, public)
        return list(found.values())

    def public(self, listing: Listing, member: str, own: str) -> str:
        """Return what clients call a thing of this member."""
        if listing in (TOOLS, PROMPTS):
            return self.name_of(listing, member, own)
        return own if listing is TASKS else self.uri_of(member, own, listing)

    # tools and prompts

    def name_of(self, listing: Listing, member: str, own: str) -> str:
        """Return the name of a member's tool or prompt, and keep it where only a table can lead back."""
        known = self._names.get((listing.method, member, own))
        if known is not None:
            return known
        place, attempt = Place(member, own), 0
        name = join_name(member, own)
        if split_name(name) is not None:
            return name
        while self._hashed.get((listing.method, name), place) != place:
            attempt += 1
            name = join_name(member, own, attempt)
        self._hashed[listing.method, name] = place
        self._names[listing.method, member, own] = name
        if len(self._names) > _HASHED_NAMES:  # a member that always has other tools
            (method, _, _), oldest = self._names.popitem(last=False)
            del self._hashed[method, oldest]
        return name

    def find(self, listing: Listing, name: str) -> Place | None:
        """Return whose tool or prompt this is; None where nobody has said so."""
        place = self._hashed.get((listing.method, name)) or split_name(name)
        return place if place is not None and place.member in self._order else None

    # resources

    def uri_of(self, member: str, own: str, listing: Listing = RESOURCES) -> str:
        """Return the URI (or template) under which clients reach this one of the member."""
        owner = self._lister(listing, own)
        taken = owner is not None and owner != member and self._is_before(owner, member)
        return join_uri(member, own) if taken or own.startswith(SCHEME) else own

    def owner(self, uri: str) -> Place | None:
        """Return whose URI (or template) this is: it says so, or somebody lists or has mentioned it, or could make it.

        None where nobody can be told to be the one.
        """
        named = split_uri(uri)
        if named is not None:
            return named if named.member in self._order else None
        member = (
            self._lister(RESOURCES, uri)
            or self._lister(TEMPLATES, uri)
            or self._mentioned.get((RESOURCES.method, uri))
            or self._by_template(uri)
        )
        return None if member is None or member not in self._order else Place(member, uri)

    def reachable(self, member: str, uri: str) -> str:
        """Return a URI that leads back to this member, which has just spoken of it; remember that it did."""
        self.mention(RESOURCES, member, uri)
        return uri if self.owner(uri) == Place(member, uri) else join_uri(member, uri)

    def mention(self, listing: Listing, member: str, own: str) -> None:
        """A member has spoken of a URI or a task which it need not list: later requests for it are its."""
        known = (listing.method, own)
        if self._mentioned.get(known, member) == member:
            self._mentioned[known] = member
            self._mentioned.move_to_end(known)
            if len(self._mentioned) > _MENTIONS:
                self._mentioned.popitem(last=False)

    def task_owner(self, task: str) -> str | None:
        """Return whose task this is."""
        member = self._mentioned.get((TASKS.method, task))
        return member if member in self._order else None

    def _lister(self, listing: Listing, own: str) -> str | None:
        return next((name for name in self._order if own in self._uris.get((listing.method, name), ())), None)

    def _is_before(self, one: str, other: str) -> bool:
        return other not in self._order or self._order.index(one) < self._order.index(other)

    def _by_template(self, uri: str) -> str | None:
        """The member whose template fits best: the one of which most is said literally."""
        best: tuple[int, str] | None = None
        for name in self._order:
            for template in self._uris.get((TEMPLATES.method, name), ()):
                literal = len(_EXPRESSION.sub("", template))
                if (best is None or literal > best[0]) and matches(_EXPRESSION.sub("*", template), uri):
                    best = (literal, name)
        return None if best is None else best[1]


def _key_of(item: str, key: str) -> str | None:
    """Return the name or URI of an item; of one that stands twice, the last, which counts for JSON readers."""
    try:
        found = splice.values(item, (key,))
    except Invalid:
        return None
    return found[-1] if found and isinstance(found[-1], str) else None


def _with_key(item: str, key: str, value: str) -> str:
    spelled = msg.encode(value).decode("utf-8")
    return splice.at(item, (key,), lambda _: spelled)
