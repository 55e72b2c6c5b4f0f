"""Reload: two configurations in, what has to happen out. Pure; `hosting` performs it.

Members are compared by value: whatever changed about one (its command, its variables, who may call it, whether it is
switched on) changes that one, and nothing else does. The order of the file and its head are no member's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from server_stub.core.roster import Member, Roster


class Plan(NamedTuple):
    """What makes one configuration of another."""

    start: tuple[Member, ...] = ()
    """New names."""
    stop: tuple[str, ...] = ()
    """Names that are gone."""
    restart: tuple[Member, ...] = ()
    """Names that stay, as they are from now on: something about them changed."""
    admit: tuple[Member, ...] = ()
    """Names of which only the tokens changed, and which have some before and after: no child and no call need end."""
    keep: tuple[str, ...] = ()
    """Names about which nothing changed: nothing may reach them."""
    order: tuple[str, ...] = ()
    """All names of the new configuration, in the order of its file."""

    @property
    def is_empty(self) -> bool:
        """Whether no member changes."""
        return not (self.start or self.stop or self.restart or self.admit)

    def applied(self, members: Iterable[Member]) -> tuple[Member, ...]:
        """Return what the members of the old configuration become: those of the new one, in its order."""
        now = {member.name: member for member in members if member.name not in self.stop}
        now |= {member.name: member for member in (*self.start, *self.restart, *self.admit)}
        return tuple(now[name] for name in self.order)


def plan(old: Roster, new: Roster) -> Plan:
    """Return what has to happen so that `new` is served in place of `old`."""
    before = {member.name: member for member in old.members}
    names = tuple(member.name for member in new.members)
    changed = [member for member in new.members if before.get(member.name, member) != member]
    admit = tuple(member for member in changed if _differ_in_tokens_alone(before[member.name], member))
    return Plan(
        start=tuple(member for member in new.members if member.name not in before),
        stop=tuple(name for name in before if name not in names),
        restart=tuple(member for member in changed if member not in admit),
        admit=admit,
        keep=tuple(member.name for member in new.members if before.get(member.name) == member),
        order=names,
    )


def _differ_in_tokens_alone(old: Member, new: Member) -> bool:
    tokens = new.manners.tokens
    if old.manners.tokens is None or tokens is None:
        return False  # whose doors they are changes, too
    return old._replace(manners=old.manners._replace(tokens=tokens)) == new
