"""Hosting: the members of a file behind one front; starts, replaces and stops them. Performs plans, makes none.

Each member is what a whole server was: its own sessions, doors and tokens, and a supervisor of its children. A member
that changed is replaced: the new one takes all new sessions at once, the old one gets its grace for open calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http.origins import is_loopback
from mcp_remote_py.core.link import Link
from mcp_remote_py.core.message import Message
from server_stub.backends import Connect
from server_stub.backends.group import Group
from server_stub.backends.process import ProcessLink
from server_stub.backends.shaped import shaped
from server_stub.backends.supervised import Supervised
from server_stub.children import ServerSpec
from server_stub.core.access import Doors
from server_stub.core.addressing import Naming, hosts_of
from server_stub.core.reload import plan
from server_stub.core.roster import Command, Front, Member, Roster
from server_stub.core.vitals import State, Vitals
from server_stub.doorkeeper import Doorkeeper, doorkeeper_of
from server_stub.endpoints.wires import Table, Wires
from server_stub.events.memory import MemoryEvents
from server_stub.fleet import Swept
from server_stub.logbook import request_line
from server_stub.sessions import Gateway
from server_stub.settings import Auth, Hosting, ServeSettings

logger = logging.getLogger(__name__)

Messages = Callable[[Any], str]
_PORTS = 65536
_SHARED_GRACE = 4.0
"""Children that sessions share are stopped after the sessions: together they must keep to what a stop may take."""


_HEAD: dict[str, Callable[[Front], object]] = {
    "the address to listen on": lambda front: (front.host, front.port),
    "baseURL": lambda front: front.base_url,
    "the name or version of the server": lambda front: (front.name, front.version),
    "options.cors of the head": lambda front: front.cors_origins,
    "DOMAIN, or what is logged, in .env": lambda front: front.variables,
}
"""What of a file's head is only read at the start."""


class Secrecy(NamedTuple):
    """What nobody is told."""

    learn: Callable[[str], None]
    """Takes every secret that a remote member gives us, for the redactor."""
    roster: Callable[[], Roster]
    """The configuration that is in force, whose secrets no output of a child may show."""


class HostedMember:
    """One member while it is hosted. See `fleet.Hosted` and `front.Desk`, which it is both."""

    def __init__(
        self,
        member: Member,
        settings: ServeSettings,
        doors: Doors,
        keeper: Doorkeeper,
        messages: Messages,
        secrecy: Secrecy,
    ) -> None:
        self.member = member
        tokens = member.manners.tokens
        origins = member.manners.cors_origins
        self.doors = doors if origins is None else doors._replace(cors_origins=origins)
        self.doorkeeper = keeper if tokens is None else doorkeeper_of(Auth(tokens))
        self.unwanted = asyncio.Event()
        self.revived: Callable[[], None] | None = None
        """Called when an operator has had it restarted: what had given it up may try again."""
        self._why_not = member.invalid if member.enabled else "it is disabled in the configuration"
        self._supervised = Supervised(
            member.name,
            lambda: _link(member, settings, secrecy),
            member.manners,
            invalid=self._why_not,
            remote=not isinstance(member.what, Command),
        )
        names = member.manners.names or settings.names
        self.connect: Connect = shaped(self._supervised.connect, member.manners._replace(names=names))
        timing = settings.timing._replace(grace=min(settings.timing.grace, _SHARED_GRACE))
        self.gateway = Gateway(self.connect, MemoryEvents(), settings.limits, timing, stateless=settings.stateless)
        self.gateway.observe = lambda label, method, identifier: request_line(member.name, method, identifier, label)
        self._grace = timing.grace
        wires = Wires(self.gateway, settings._replace(doors=self.doors, timing=timing), self.doorkeeper, messages)
        self._table = wires.table

    @property
    def may_run(self) -> bool:
        return self._why_not is None

    @property
    def table(self) -> Table:
        return self._table

    @property
    def sessions(self) -> int:
        return self.gateway.count

    def vitals(self) -> Vitals:
        if self._why_not is not None:
            return Vitals(State.STOPPED, why=self._why_not)
        return self._supervised.vitals()

    async def tools(self) -> Message:
        return await self._supervised.tools()

    def sweep(self) -> Swept:
        return Swept(self.gateway.sweep(), self._supervised.sweep())

    async def restart(self) -> None:
        await self._supervised.restart()
        if self.revived is not None:
            self.revived()

    def end_child(self, pid: int, why: str) -> None:
        self._supervised.end_child(pid, why)

    def revive(self) -> None:
        """The configuration was read again: a member that had failed too often may try again."""
        self._supervised.revive()

    def succeed(self, elders: Callable[[], Iterable[HostedMember]]) -> None:
        """Stand in the place of these, as long as they live: what answers their open calls comes to us."""
        self.gateway.elders = lambda: (elder.gateway for elder in elders())

    def make_way(self, heir: HostedMember, before: Doorkeeper) -> int:
        """End the sessions of those whom the doorkeeper of the one that follows turns away. Returns how many.

        Other open calls have their time. `before`: what our own doorkeeper was until now.
        """
        return self.gateway.expel(lambda principal: heir.doorkeeper.turns_away(principal, before))

    def lets_in(self, principal: str | None) -> bool:
        """Whether somebody who was let in by the front may use this member, too."""
        is_own = self.member.manners.tokens is not None and self.doorkeeper.is_on
        return not is_own or self.doorkeeper.knows(principal)

    def expel(self, keeper: Doorkeeper, is_gone: Callable[[str | None], bool]) -> int:
        """This doorkeeper gets other tokens: end the sessions of those whose were taken away. Returns how many."""
        return self.gateway.expel(is_gone) if self.doorkeeper is keeper else 0

    def admit(self, member: Member) -> int:
        """Its tokens are those of this member from now on. Returns how many sessions ended with theirs."""
        before = self.doorkeeper.as_now()
        self.member = member
        self.doorkeeper.follow(doorkeeper_of(Auth(member.manners.tokens or ())))
        return self.gateway.expel(lambda principal: self.doorkeeper.turns_away(principal, before))

    async def live(self, others_too: Callable[[], Awaitable[None]]) -> None:
        """Serve until unwanted, then stop in order. `others_too` waits for calls that come another way."""
        async with self._supervised, self.gateway:
            await self.unwanted.wait()
            await self.gateway.drain(self._grace)
            await others_too()
            await self.gateway.stop(0.0)

    def hurry(self) -> None:
        self.gateway.hurry()


class Hosted:
    """All members. An async context manager: leaving it stops them, side by side. See `front.Directory`."""

    def __init__(self, settings: ServeSettings, hosting: Hosting, roster: Roster, learn: Callable[[str], None]) -> None:
        self.roster = roster
        self._secrecy = Secrecy(learn, lambda: self.roster)
        self._begun = roster.front
        self.warnings: tuple[str, ...] = ()
        """What is wrong with the file as it is now, while the one before is in force."""
        self.stopping = False
        self.doorkeeper = doorkeeper_of(settings.auth)
        self._settings = settings
        self._hosting = hosting
        self._ports: dict[str, int] = {}
        self._members: dict[str, HostedMember] = {}
        self._leaving: set[HostedMember] = set()
        self._lives: set[asyncio.Task[None]] = set()
        self._group = asyncio.TaskGroup()
        self._messages: Messages = lambda _: "/messages"
        self.naming = Naming(hosting.domain, hosting.host_pattern, merged=hosting.aggregate)
        self.doors = settings.doors
        self._merged_group: Group | None = None
        self.merged: _Merged | None = None

    @asynccontextmanager
    async def alive(self, messages: Messages) -> AsyncIterator[None]:
        """Host the members while the block runs. `messages` is the front's."""
        self._messages = messages
        if self._hosting.aggregate:
            name = self.roster.front.name or self._settings.service_name
            grace = min(self._settings.timing.grace, _SHARED_GRACE)
            self._merged_group = Group(self._usable_by, name, self.roster.front.version or "1", grace=grace)
            self.merged = _Merged(self, self._merged_group.connect, self._settings, messages)
        async with self._group:
            if self.merged is not None:
                self._keep(self._group.create_task(self.merged.live()))
            self._note_names()
            for member in self.roster.members:
                self._start(member)
            try:
                yield
            finally:
                await self.stop()

    # --- for the front -----------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._members)

    def desk(self, name: str) -> HostedMember:
        return self._members[name]

    # --- for operators -----------------------------------------------------------------------------------------------

    def members(self) -> tuple[HostedMember, ...]:
        return tuple(self._members.values())

    def find(self, name: str) -> HostedMember | None:
        return self._members.get(name)

    @property
    def waiting(self) -> tuple[str, ...]:
        """What the file's head says now, and a running server cannot do."""
        before, now = self._begun, self.roster.front
        changed = [key for key, read in _HEAD.items() if read(before) != read(now)]
        return tuple(f"{key} was changed: the server has to be started again for that" for key in changed)

    @property
    def ports(self) -> dict[int, str]:
        """The ports of members' own."""
        return {port: name for name, port in self._ports.items()}

    # --- changes -----------------------------------------------------------------------------------------------------

    def apply(self, roster: Roster) -> None:
        """Put a new configuration in the place of the present one. Raises `ConfigError` for one that is unsafe."""
        check_roster(self._settings, self._hosting, roster)
        change = plan(self.roster, roster)
        for hosted in self._members.values():
            hosted.revive()
        gone = {name: self._members.pop(name) for name in (*change.stop, *(member.name for member in change.restart))}
        keepers = {name: hosted.doorkeeper.as_now() for name, hosted in gone.items()}
        self.roster, self.warnings = roster, ()
        kept = dict(self._members)
        expelled = sum(kept[member.name].admit(member) for member in change.admit)
        expelled += self._let_in_by(doorkeeper_of(_auth(self._settings, self._hosting, roster)))
        self._members.clear()
        for member in roster.members:  # in the order of the file
            if member.name in kept:
                self._members[member.name] = kept[member.name]
        self._note_names([member.name for member in roster.members])
        for member in roster.members:
            if member.name not in kept:
                self._start(member)
        self._members = {member.name: self._members[member.name] for member in roster.members}
        for name, hosted in gone.items():
            heir = self._members.get(name)
            expelled += 0 if heir is None else hosted.make_way(heir, keepers[name])
            hosted.unwanted.set()
        if expelled:
            logger.info("%d sessions were ended: their tokens are not valid any more", expelled)
        if self._merged_group is not None:
            self._merged_group.changed()
        changed = ", ".join((*(one.name for one in (*change.start, *change.restart)), *change.stop))
        logger.info(
            "the configuration was read again: %d started, %d stopped, %d replaced, %d as before%s",
            len(change.start), len(change.stop), len(change.restart), len(change.keep) + len(change.admit),
            f" ({changed})" if changed else "",
        )  # fmt: skip

    def _let_in_by(self, fresh: Doorkeeper) -> int:
        """The front's tokens are these from now on: streams and sockets that are open would never be asked again.

        Returns how many sessions were ended.
        """
        before = self.doorkeeper.as_now()
        self.doorkeeper.follow(fresh)
        desks: list[HostedMember | _Merged] = [*self._members.values()]
        if self.merged is not None:
            desks.append(self.merged)
        return sum(desk.expel(self.doorkeeper, lambda principal: fresh.turns_away(principal, before)) for desk in desks)

    def _note_names(self, names: list[str] | None = None) -> None:
        names = [member.name for member in self.roster.members] if names is None else names
        first = self._hosting.port_per_server
        if first is not None:
            self._ports = {name: port for name, port in self._ports.items() if name in names}
            free = (port for port in range(first, 65536) if port not in self._ports.values())
            for name in names:
                if name not in self._ports:
                    self._ports[name] = next(free)
        self.naming = self.naming._replace(ports=self.ports)
        base = self._settings.doors
        self.doors = base._replace(hosts=(*base.hosts, *hosts_of(names, self.naming)))
        for hosted in self._members.values():
            hosted.doors = hosted.doors._replace(hosts=self.doors.hosts)

    def _start(self, member: Member) -> None:
        hosted = HostedMember(member, self._settings, self.doors, self.doorkeeper, self._messages, self._secrecy)
        hosted.revived = None if self._merged_group is None else self._merged_group.changed
        self._members[member.name] = hosted
        hosted.succeed(lambda: [one for one in self._leaving if one.member.name == member.name and one is not hosted])
        self._keep(self._group.create_task(self._live(hosted)))

    def _keep(self, life: asyncio.Task[None]) -> None:
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)

    async def _live(self, hosted: HostedMember) -> None:
        self._leaving.add(hosted)
        try:
            await hosted.live(lambda: self._merged_needs_no_more(hosted))
        except Exception:  # a defect of ours in one member must not end the others
            logger.exception("%s: its part of the server failed", hosted.member.name)
        finally:
            self._leaving.discard(hosted)

    def _usable_by(self, principal: str | None) -> dict[str, Connect]:
        """One that cannot run is among them, so that clients are told why; one that shall not run is not."""
        return {
            name: hosted.connect
            for name, hosted in self._members.items()
            if hosted.member.enabled and hosted.lets_in(principal)
        }

    # --- the end -----------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Take no new sessions and stop everything, side by side; wait until that is done. May be called twice."""
        self.stopping = True
        if self.merged is not None:
            self.merged.unwanted.set()
        for hosted in self._leaving:
            hosted.unwanted.set()
        if self._lives:
            await asyncio.wait(self._lives, timeout=self._settings.timing.whole_stop)

    async def _merged_needs_no_more(self, hosted: HostedMember) -> None:
        """The calls of the merged server get their grace, too, before the children go."""
        if self._merged_group is not None and not self.stopping:
            await self._merged_group.until_let_go(hosted.connect)
        elif self.merged is not None:
            await self.merged.quiet.wait()

    def hurry(self) -> None:
        """A second signal came: cut everything short."""
        if self.merged is not None:
            self.merged.hurry()
        for hosted in self._leaving:
            hosted.hurry()


class _Merged:
    """The merged server: a desk of its own, behind the doors of the front."""

    def __init__(self, hosted: Hosted, connect: Connect, settings: ServeSettings, messages: Messages) -> None:
        self._hosted = hosted
        self._grace = min(settings.timing.grace, _SHARED_GRACE)
        self._gateway = Gateway(connect, MemoryEvents(), settings.limits, settings.timing, stateless=settings.stateless)
        self.unwanted = asyncio.Event()
        self.quiet = asyncio.Event()
        """Set when none of its calls is open any more, or their grace is over."""
        self.table = Wires(self._gateway, settings, hosted.doorkeeper, messages).table
        self.may_run = True

    @property
    def doors(self) -> Doors:
        return self._hosted.doors

    @property
    def doorkeeper(self) -> Doorkeeper:
        return self._hosted.doorkeeper

    def vitals(self) -> Vitals:
        return Vitals(State.READY)

    def expel(self, keeper: Doorkeeper, is_gone: Callable[[str | None], bool]) -> int:
        return self._gateway.expel(is_gone) if self.doorkeeper is keeper else 0

    async def live(self) -> None:
        try:
            async with self._gateway:
                await self.unwanted.wait()
                await self._gateway.drain(self._grace)
                self.quiet.set()
                await self._gateway.stop(0.0)
        finally:
            self.quiet.set()

    def hurry(self) -> None:
        self._gateway.hurry()


def _auth(settings: ServeSettings, hosting: Hosting, roster: Roster) -> Auth:
    """Return whom the front lets in: the tokens of the file may change while the server runs."""
    return settings.auth._replace(tokens=tuple(dict.fromkeys((*hosting.own_tokens, *roster.front.tokens))))


def check_roster(settings: ServeSettings, hosting: Hosting, roster: Roster) -> None:
    """Raise `ConfigError` where this configuration must not be served at all."""
    for member in roster.members:
        if member.invalid is not None and member.manners.panic_if_invalid and member.enabled:
            raise ConfigError(f"{roster.file}: {member.name}: {member.invalid} (panicIfInvalid is set)")
    first = hosting.port_per_server
    if first is not None and first + len(roster.members) > _PORTS:
        raise ConfigError(f"--port-per-server {first}: there are not {len(roster.members)} ports from there on.")
    is_on = _auth(settings, hosting, roster).is_on
    open_ones = [
        member.name
        for member in roster.members
        if member.enabled and not (is_on if member.manners.tokens is None else member.manners.tokens)
    ]
    is_open = bool(open_ones) or (hosting.aggregate and not is_on)
    if is_open and not is_loopback(settings.host) and not settings.allow_unauthenticated:
        who = ", ".join(open_ones) or "the merged server"
        raise ConfigError(
            f"--host {settings.host} lets other machines in, and {who} can be used without a token. Set authTokens in "
            "the file, or --auth-token-env VAR or --auth-token-file FILE; or pass --allow-unauthenticated if everyone "
            "who can reach this port may use the servers."
        )


def _link(member: Member, settings: ServeSettings, secrecy: Secrecy) -> Link:
    what = member.what
    if isinstance(what, Command):
        hosting = settings.hosting
        hidden, passes = ((), False) if hosting is None else (hosting.hidden_variables, hosting.pass_environment)
        spec = ServerSpec(
            command=what.words,
            shell=what.shell,
            env=what.env,
            cwd=what.cwd,
            pass_environment=passes if what.pass_environment is None else what.pass_environment,
            hidden_variables=frozenset((*hidden, *secrecy.roster().token_variables)),
            message_limit=settings.limits.body,
            member=member.name,
            logs_output=member.manners.log,
            secrets=secrecy.roster().secrets,
        )
        return ProcessLink(spec)
    from server_stub.backends.remote import remote_link

    return remote_link(what, learn=secrecy.learn, name=member.name)
