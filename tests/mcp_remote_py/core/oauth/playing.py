"""The other side of a flow: performs its steps out of a table, and remembers every one of them. No I/O, no clock.

played = play(discover(URL, None, Preferences()), {URL_OF_METADATA: said({"resource": URL})})
assert played.result.resource == URL        # raises the flow's fault, had it raised one
assert played.urls == [URL_OF_METADATA]
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from itertools import count
from typing import Any, Generic, TypeVar

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.oauth.steps import Document, Fetch, Fetched, Keep, Pause, Recall, Say, Senses, ShowCode, Step

Result = TypeVar("Result")
Answer = Fetched | Fault | Callable[[Fetch], Fetched] | list[Any]
"""To a fetch: an answer, a fault that is thrown into the flow, what makes one of the request, or one after another."""

ABSENT = Fetched(404, b"nothing here")
MOST_STEPS = 500
"""A flow that makes more steps is taken for one that never ends."""


def said(document: object, status: int = 200, **headers: str) -> Fetched:
    """Return an answer with this document. Header names: `_` stands for `-`."""
    return Fetched(status, msg.encode(document), {name.replace("_", "-"): value for name, value in headers.items()})


class Played(Generic[Result]):
    """What came of a flow: its result or its fault, and all its steps in their order."""

    def __init__(self, kept: Mapping[str, Document]) -> None:
        self.steps: list[Step] = []
        self.kept: dict[str, Document] = dict(kept)
        """What is kept at the end, by its name."""
        self.fault: Fault | None = None
        self._results: list[Result] = []

    @property
    def result(self) -> Result:
        """The result. Raises the flow's fault, had it raised one."""
        if self.fault is not None:
            raise self.fault
        return self._results[0]

    @property
    def trouble(self) -> Fault:
        """The flow's fault; there has to be one."""
        assert self.fault is not None, f"the flow went well: {self._results[0]!r}"
        return self.fault

    @property
    def fetches(self) -> list[Fetch]:
        return [step for step in self.steps if isinstance(step, Fetch)]

    @property
    def urls(self) -> list[str]:
        return [fetch.url for fetch in self.fetches]

    @property
    def lines(self) -> list[str]:
        """What was said to people."""
        return [step.text for step in self.steps if isinstance(step, Say)]

    def ended(self, result: Result) -> None:
        self._results.append(result)


def play(
    flow: Generator[Step, Any, Result],
    answers: Mapping[str, Answer],
    *,
    kept: Mapping[str, Document] | None = None,
    others: Mapping[type, Callable[[Any], Any]] | None = None,
    default: Answer = ABSENT,
) -> Played[Result]:
    """Run a flow to its end. `answers`: to fetches by their URL, `default` to all others.

    `kept`: what `Recall` finds; `Keep` adds to it. `others`: functions that perform a step of a type (`Listen`,
    `Authorize`, `Sign`...); what they return is sent in, a `Fault` that they return is thrown in.
    """
    played: Played[Result] = Played(kept or {})
    turns: dict[str, int] = {}
    outcome: Any = None
    try:
        while True:
            step = flow.throw(outcome) if isinstance(outcome, Fault) else flow.send(outcome)
            played.steps.append(step)
            assert len(played.steps) <= MOST_STEPS, f"the flow does not end: {played.steps[-5:]}"
            outcome = _outcome(step, played, turns, answers, others or {}, default)
    except StopIteration as stop:
        played.ended(stop.value)
    except Fault as fault:
        played.fault = fault
    return played


def _outcome(
    step: Step,
    played: Played[Any],
    turns: dict[str, int],
    answers: Mapping[str, Answer],
    others: Mapping[type, Callable[[Any], Any]],
    default: Answer,
) -> Any:
    if type(step) in others:
        return others[type(step)](step)
    if isinstance(step, Fetch):
        turns[step.url] = turns.get(step.url, 0) + 1
        answer = answers.get(step.url, default)
        if isinstance(answer, list):
            answer = answer[min(turns[step.url], len(answer)) - 1]
        return answer(step) if callable(answer) else answer
    if isinstance(step, Recall):
        return played.kept.get(step.name)
    if isinstance(step, Keep):
        if step.document is None:
            played.kept.pop(step.name, None)
        else:
            played.kept[step.name] = step.document
        return None
    if isinstance(step, Say | Pause | ShowCode):
        return None
    raise AssertionError(f"nobody performs this step: {step!r}")


class Knowing:
    """Senses that can be foretold: a clock that stands still, tokens that count up, and what was learnt."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now
        self.learnt: list[str] = []
        self._numbers = count(1)

    @property
    def senses(self) -> Senses:
        return Senses(lambda: self.now, lambda: f"{next(self._numbers):043d}", self.learnt.append)
