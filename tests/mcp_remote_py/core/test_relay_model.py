"""The relay beside a model of its world: a host, a driver, a server and a clock, in any order that chance can think of.

What must hold after each step: an id has at most as many answers as it had lives; no call that may do harm is delivered
twice, unless the first delivery provably did not run; "it has not run" is never a lie; notifications keep their order;
whoever waits is known to wait. In the end, with a server that is well: everybody is answered, and nothing is left.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mcp_remote_py.core.commands import Arm, Command, Dial, Disarm, Drop, SignIn, Timer, ToClient, ToServer
from mcp_remote_py.core.errors import (
    Asked,
    Fault,
    Interrupted,
    PeerBroke,
    Refused,
    SessionLost,
    SignInNeeded,
    TimedOut,
    TlsRefused,
    Unreachable,
)
from mcp_remote_py.core.message import Key, Kind, Message
from mcp_remote_py.core.patience import Patience
from mcp_remote_py.core.relay import Relay
from mcp_remote_py.core.retries import Policy
from tests.support.examples import examples
from tests.support.playbook import HTTP, INITIALIZED, PIPE, answer, call, m, note

STRATEGIES = ("http-first", "sse-first", "http-only", "sse-only", "ws-only")
PATIENCE = (Patience(), Patience(request=90.0, ping=15.0), Patience(first_byte=30.0, idle=7.0))
POLICIES = (Policy(hold=20.0, greet_after=20.0), Policy(hold=20.0), Policy(hold=20.0, greet_after=20.0, cache=False))
CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}
TOOLS = {"tools": [{"name": "look", "annotations": {"readOnlyHint": True}}, {"name": "pay"}]}
PICK = st.integers(0, 5)
MOST_MESSAGES_KEPT = 12
"""The greeting, both sides of the handshake, and the lists are remembered; no call is."""


def busy(seconds: float) -> Fault:
    fault = Refused("429", http_status=429, mends=True)
    fault.retry_after = seconds
    return fault


def asks(status: int, challenge: str = "Bearer", *, may_have_run: bool = False) -> Fault:
    """A server that asks for a sign-in."""
    fault = SignInNeeded(str(status), http_status=status, may_have_run=may_have_run)
    fault.asked = Asked(status, challenge)
    return fault


FAULTS = st.sampled_from(
    [
        Unreachable("refused"),
        TimedOut("connect", may_have_run=False),
        Interrupted("reset"),
        Interrupted("not open", may_have_run=False),
        busy(0.0),
        busy(2.0),
        busy(3600.0),
        Refused("503", http_status=503, mends=True, may_have_run=True),
        Refused("500", http_status=500, may_have_run=True),
        Refused("404", http_status=404),
        Refused("403", http_status=403),
        SignInNeeded("401", http_status=401),
        asks(401),
        asks(403, 'Bearer error="insufficient_scope", scope="a"'),
        asks(403, 'Bearer error="insufficient_scope", scope="b"'),
        SessionLost("404"),
        TlsRefused("certificate"),
        PeerBroke("html"),
    ]
)


class Leg:
    """One request on its way to the server, or there."""

    def __init__(self, message: Message, exchange: Key) -> None:
        self.message = message
        self.exchange = exchange
        self.is_written = False
        self.is_dying = False
        """Its link was left: nothing can come but the news of that."""


class World(RuleBasedStateMachine):
    """See the module's text. The driver's part is played as the bridge plays it."""

    @initialize(
        strategy=st.sampled_from(STRATEGIES),
        policy=st.sampled_from(POLICIES),
        patience=st.sampled_from(PATIENCE),
        warm=st.booleans(),
    )
    def begin(self, strategy: str, policy: Policy, patience: Patience, warm: bool) -> None:
        self.relay = Relay(strategy, private_id="private", policy=policy, patience=patience, in_flight_limit=20)
        self.now = 0.0
        self.timers: dict[Timer, float] = {}
        self.dialling = False
        self.traits = HTTP
        self.is_up = False
        self.is_signing_in = False
        self.legs: list[Leg] = []
        self.telling: list[Message] = []
        self.ids: list[object] = []
        self.keys: dict[object, int] = {}
        self.kinds: dict[int, str] = {}
        self.lives: Counter[object] = Counter()
        self.heard: Counter[object] = Counter()
        self.waiting: set[object] = set()
        self.cancelled: set[object] = set()
        self.ran: Counter[int] = Counter()
        self.claims: list[int] = []
        self.numbers = itertools.count(1)
        self.told_server: list[int] = []
        self.told_host: list[int] = []
        self.questions: list[object] = []
        if warm:
            self._ask("initialize", None)
            self.link_opens()
            self._settle_step()
            self.host_is_ready()
            self._ask("list", None)
            self._settle_step()

    # --- The driver ------------------------------------------------------------------------------------------------

    def perform(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case ToClient(raw):
                    self._hear(json.loads(raw))
                case ToServer(message, exchange):
                    self._send(message, exchange)
                case Arm(name, seconds):
                    assert seconds >= 0
                    self.timers[name] = self.now + seconds
                case Disarm(name):
                    self.timers.pop(name, None)
                case Dial():
                    assert not self.dialling, "one dial at a time"
                    self.dialling, self.is_up = True, False
                    for leg in self.legs:
                        leg.is_dying = True
                    if self.traits is PIPE:
                        self._lose_legs()
                case Drop(exchange):
                    self._drop(exchange)
                case SignIn():
                    assert not self.is_signing_in, "one sign-in at a time"
                    self.is_signing_in = True
        self._check_claims()

    def _drop(self, exchange: Key) -> None:
        for leg in [leg for leg in self.legs if leg.exchange == exchange]:
            self.legs.remove(leg)
            if not leg.is_written and (self.relay.wire != "ws" or self.relay.snapshot().way != "up"):
                self._did_not_run(leg)  # half a message is none; into a socket it goes whole

    def _send(self, message: Message, exchange: Key | None) -> None:
        assert self.is_up, "nothing is sent while there is no way"
        if exchange is None:
            self.telling.append(message)
            number = message.params.get("number") if message.kind is Kind.NOTIFICATION else None
            if number is not None:
                self.told_server.append(number)
            return
        self.legs = [leg for leg in self.legs if leg.exchange != exchange]  # replaced, as the driver does
        self.legs.append(Leg(message, exchange))
        key = message.params.get("key")
        if key is not None:
            self.ran[key] += 1

    def _hear(self, doc: dict[str, Any]) -> None:
        if "method" in doc:
            if "number" in doc.get("params", {}):
                self.told_host.append(doc["params"]["number"])
            return
        identifier = doc["id"]
        self.heard[identifier] += 1
        self.waiting.discard(identifier)
        if "error" in doc and not doc["error"].get("data", {"may_have_run": True})["may_have_run"]:
            self.claims.append(self.keys[identifier])

    def _check_claims(self) -> None:
        """What was said not to have run has not."""
        for key in self.claims:
            assert self.ran[key] <= 0 or self.kinds[key] in ("initialize", "list"), f"call {key} may have run"
        self.claims.clear()

    def _lose_legs(self) -> None:
        for leg in self.legs:
            if not leg.is_written:
                self._did_not_run(leg)
        self.legs.clear()

    def _did_not_run(self, leg: Leg) -> None:
        key = leg.message.params.get("key")
        if key is not None:
            self.ran[key] -= 1

    # --- The host ----------------------------------------------------------------------------------------------

    def _ask(self, what: str, identifier: object) -> None:
        key = next(self.numbers)
        identifier = f"{what}-{key}" if identifier is None else identifier
        if identifier in self.waiting and identifier not in self.cancelled:
            self.lives[identifier] -= 1  # the older one gives way
        self.cancelled.discard(identifier)
        self.ids.append(identifier)
        self.keys[identifier], self.kinds[key] = key, what
        self.lives[identifier] += 1
        self.waiting.add(identifier)
        method = {"initialize": "initialize", "list": "tools/list"}.get(what, "tools/call")
        more = {"protocolVersion": "2025-06-18"} if what == "initialize" else {}
        self.perform(self.relay.from_client(call(identifier, method, name=what, key=key, **more)))

    @rule(what=st.sampled_from(["pay", "pay", "pay", "look", "look", "list", "initialize"]))
    def host_asks(self, what: str) -> None:
        self._ask(what, None)

    @precondition(lambda self: self.ids)
    @rule(what=st.sampled_from(["pay", "look"]), pick=PICK)
    def host_uses_an_id_again(self, what: str, pick: int) -> None:
        identifier = self.ids[-1 - pick % len(self.ids)]
        if self.kinds[self.keys[identifier]] == "initialize" or (self.traits is PIPE and identifier in self.waiting):
            return  # on a pipe nobody can tell which of the two an answer belongs to
        self._ask(what, identifier)

    @precondition(lambda self: self.ids)
    @rule(pick=PICK)
    def host_cancels(self, pick: int) -> None:
        identifier = self.ids[-1 - pick % len(self.ids)]
        if identifier in self.waiting:
            self.cancelled.add(identifier)
        self.perform(self.relay.from_client(note("notifications/cancelled", requestId=identifier)))

    @rule()
    def host_is_ready(self) -> None:
        self.perform(self.relay.from_client(INITIALIZED))

    @rule()
    def host_tells(self) -> None:
        self.perform(self.relay.from_client(note("notifications/told", number=next(self.numbers))))

    @precondition(lambda self: self.questions)
    @rule(pick=PICK)
    def host_answers(self, pick: int) -> None:
        identifier = self.questions.pop(pick % len(self.questions))
        self.perform(self.relay.from_client(answer(identifier)))

    # --- The way -----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.dialling)
    @rule()
    def link_opens(self) -> None:
        self.dialling, self.is_up = False, True
        self.traits = HTTP if self.relay.wire == "http" else PIPE
        self.perform(self.relay.link_up(self.traits))

    @precondition(lambda self: self.dialling)
    @rule(fault=FAULTS)
    def link_fails(self, fault: Fault) -> None:
        self.dialling = False
        fault = fault.restated(may_have_run=False) if fault.mends else fault
        self.perform(self.relay.link_failed(fault.restated()))

    @precondition(lambda self: self.is_up and self.traits is PIPE)
    @rule(
        how=st.sampled_from(
            [None, Interrupted("gone"), PeerBroke("a frame that is none"), asks(401), asks(401, may_have_run=True)]
        )
    )
    def pipe_ends(self, how: Fault | None) -> None:
        self.is_up = False
        if how is not None and not how.may_have_run:
            for leg in self.legs:
                leg.is_written = False
        self._lose_legs()
        self.perform(self.relay.listen_over(how))

    @precondition(lambda self: self.is_up and self.traits is HTTP)
    @rule(how=st.sampled_from([None, Interrupted("gone"), SessionLost("404"), SignInNeeded("401"), asks(401)]))
    def standing_stream_ends(self, how: Fault | None) -> None:
        self.perform(self.relay.listen_over(how))

    @precondition(lambda self: self.telling)
    @rule(fault=st.sampled_from([None, None, Interrupted("reset"), SessionLost("404")]))
    def message_is_told(self, fault: Fault | None) -> None:
        self.perform(self.relay.told(self.telling.pop(0), fault))

    # --- A person ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.is_signing_in)
    @rule(opened=st.booleans())
    def person_is_asked(self, opened: bool) -> None:
        self.perform(self.relay.show_sign_in("https://as/authorize", "Sign in:", opened=opened))

    @precondition(lambda self: self.is_signing_in)
    @rule()
    def person_signs_in(self) -> None:
        self.is_signing_in = False
        self.perform(self.relay.signed_in())

    @precondition(lambda self: self.is_signing_in)
    @rule()
    def person_does_not_sign_in(self) -> None:
        self.is_signing_in = False
        self.perform(self.relay.sign_in_failed(SignInNeeded("nobody signed in")))

    # --- The server --------------------------------------------------------------------------------------------

    def _living(self) -> list[Leg]:
        return [leg for leg in self.legs if not leg.is_dying]

    def _answer_of(self, message: Message) -> Message:
        if message.method == "initialize":
            greeting = {"protocolVersion": "2025-06-18", "capabilities": CAPABILITIES, "serverInfo": {"name": "s"}}
            return answer(message.id, greeting)
        return answer(message.id, TOOLS if message.method == "tools/list" else {})

    def _stream(self, leg: Leg) -> Key | None:
        return leg.exchange if self.traits is HTTP else None

    def _answers(self, leg: Leg, said: Message, *, over: bool = True) -> None:
        self.perform(self.relay.from_server(said, self._stream(leg)))
        if over and leg in self.legs:
            self.legs.remove(leg)
            if self.traits is HTTP:
                self.perform(self.relay.exchange_over(leg.exchange, None))

    @precondition(lambda self: self._living())
    @rule(pick=PICK)
    def request_is_written(self, pick: int) -> None:
        leg = self._living()[pick % len(self._living())]
        leg.is_written = True
        self.perform(self.relay.written(leg.exchange))

    @precondition(lambda self: self._living())
    @rule(pick=PICK, times=st.sampled_from([1, 1, 1, 2]))
    def server_answers(self, pick: int, times: int) -> None:
        leg = self._living()[pick % len(self._living())]
        for _ in range(times - 1):
            self._answers(leg, self._answer_of(leg.message), over=False)
        self._answers(leg, self._answer_of(leg.message))

    @precondition(lambda self: self._living())
    @rule(pick=PICK)
    def server_refuses(self, pick: int) -> None:
        leg = self._living()[pick % len(self._living())]
        error = {"jsonrpc": "2.0", "id": leg.message.id, "error": {"code": -32602, "message": "no"}}
        self._answers(leg, m(error))

    @precondition(lambda self: self._living())
    @rule(pick=PICK)
    def server_tells(self, pick: int) -> None:
        leg = self._living()[pick % len(self._living())]
        told = note("notifications/message", number=next(self.numbers))
        self.perform(self.relay.from_server(told, self._stream(leg)))

    @precondition(lambda self: self.is_up)
    @rule(pick=PICK)
    def server_asks(self, pick: int) -> None:
        identifier = next(self.numbers)
        legs = self._living()
        exchange = self._stream(legs[pick % len(legs)]) if legs else None
        self.questions.append(identifier)
        self.perform(self.relay.from_server(call(identifier, "roots/list"), exchange))

    @precondition(lambda self: self.legs and not self.dialling)
    @rule(pick=PICK, fault=FAULTS)
    def exchange_ends(self, pick: int, fault: Fault) -> None:
        leg = self.legs[pick % len(self.legs)]
        self.legs.remove(leg)
        if leg.is_dying:
            fault = Interrupted("closed from this side")
        if not fault.may_have_run:
            self._did_not_run(leg)
        self.perform(self.relay.exchange_over(leg.exchange, fault.restated()))

    @precondition(lambda self: self._living() and self.traits is HTTP)
    @rule(pick=PICK)
    def stream_ends_in_order(self, pick: int) -> None:
        leg = self._living()[pick % len(self._living())]
        self.legs.remove(leg)
        self.perform(self.relay.exchange_over(leg.exchange, None))

    @precondition(lambda self: self._living() and self.traits is HTTP)
    @rule()
    def server_forgets_the_session(self) -> None:
        """All that is on its way finds out, one after the other."""
        for leg in self._living():
            if leg in self.legs and leg.message.method != "initialize":
                self.legs.remove(leg)
                self._did_not_run(leg)
                self.perform(self.relay.exchange_over(leg.exchange, SessionLost("404")))

    # --- Time --------------------------------------------------------------------------------------------------

    def _rings(self, name: Timer) -> None:
        self.now = max(self.now, self.timers.pop(name))
        self.perform(self.relay.timer(name))

    @precondition(lambda self: self.timers)
    @rule(pick=PICK)
    def time_passes(self, pick: int) -> None:
        """Until a timer rings, and all that are due before it."""
        end = sorted(self.timers.values())[pick % len(self.timers)]
        self._pass_until(end)

    @precondition(lambda self: self.timers)
    @rule(seconds=st.sampled_from([1.0, 25.0, 4000.0]))
    def machine_sleeps(self, seconds: float) -> None:
        """The clock jumps: what is due rings at once, in its order, and what it arms counts from then."""
        self.now += seconds
        for name in sorted((name for name, due in self.timers.items() if due <= self.now), key=self.timers.__getitem__):
            if name in self.timers:
                self._rings(name)

    def _pass_until(self, end: float) -> None:
        for _ in range(100):
            due = [name for name, at in self.timers.items() if at <= end]
            if not due:
                break
            self._rings(min(due, key=self.timers.__getitem__))
        self.now = max(self.now, end)

    # --- What must hold ----------------------------------------------------------------------------------------

    @invariant()
    def promise_is_kept(self) -> None:
        if not hasattr(self, "relay"):
            return  # nothing has begun
        for identifier, count in self.heard.items():
            assert count <= self.lives[identifier], f"{identifier!r} was answered too often"
        for key, count in self.ran.items():
            assert count <= 1 or self.kinds.get(key) != "pay", f"{key} ran twice"
        assert self.told_server == sorted(set(self.told_server)), "what the host tells stays in order, and comes once"
        assert self.told_host == sorted(set(self.told_host)), "what the server tells stays in order, and comes once"
        known = {key.value for key, _, _ in self.relay.open_requests()}
        assert self.waiting - self.cancelled <= known, "whoever waits is known to wait"

    def _settle_step(self) -> None:
        """The server is well: it takes everything, and answers everything."""
        if self.is_signing_in:
            self.person_signs_in()
        if self.dialling:
            self.link_opens()
        while self.telling:
            self.message_is_told(None)
        for leg in list(self.legs):
            if leg not in self.legs:
                continue
            if leg.is_dying:
                self.legs.remove(leg)
                self.perform(self.relay.exchange_over(leg.exchange, Interrupted("closed from this side")))
                continue
            self.perform(self.relay.written(leg.exchange))
            if leg in self.legs:
                self._answers(leg, self._answer_of(leg.message))

    def teardown(self) -> None:
        """In the end the server is well: everybody is answered, and nothing is left."""
        if not hasattr(self, "relay"):
            return
        self._ask("look", "last")
        for _ in range(60):
            self._settle_step()
            self.promise_is_kept()
            due = [name for name in self.timers if name.purpose != "ping"]
            if due:
                self._pass_until(min(self.timers[name] for name in due))
        assert self.heard["last"] == 1
        assert self.relay.is_quiet
        assert not self.waiting - self.cancelled
        assert self.relay.snapshot().in_flight == 0
        assert self.relay.snapshot().held == 0
        assert {name.purpose for name in self.timers} <= {"ping"}, "nobody waits, so nothing ticks"
        assert messages_in(self.relay) <= MOST_MESSAGES_KEPT + len(self.questions)
        heard = sum(self.heard.values())
        self.perform(self.relay.stop("end"))
        assert sum(self.heard.values()) == heard
        assert not self.timers


def messages_in(start: object) -> int:
    """How many messages can be reached from an object of ours: what it keeps, wherever it keeps it."""
    seen: set[int] = set()
    todo: deque[Any] = deque([start])
    found = 0
    while todo:
        item = todo.popleft()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Message):
            found += 1
        elif isinstance(item, dict):
            todo.extend([*item.keys(), *item.values()])
        elif isinstance(item, list | tuple | set | frozenset | deque):
            todo.extend(item)
        elif type(item).__module__.startswith("mcp_remote_py"):
            todo.extend(getattr(item, "__dict__", {}).values())
    return found


def test_any_order_of_events_keeps_the_promise() -> None:
    run_state_machine_as_test(
        World, settings=settings(max_examples=examples(100), stateful_step_count=50, deadline=None)
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_very_many_orders_of_events_keep_the_promise() -> None:
    run_state_machine_as_test(World, settings=settings(max_examples=1500, stateful_step_count=60, deadline=None))
