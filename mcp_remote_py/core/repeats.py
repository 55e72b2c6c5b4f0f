"""Repeats: which call is sent again, after which pause, within `--hold` and the budget for all of them.

`core.retries` has the rules; here they meet a call and what is known of the server's tools. Pure.
"""

from __future__ import annotations

from mcp_remote_py.core import retries
from mcp_remote_py.core.calls import Pending
from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.memory import Memory
from mcp_remote_py.core.retries import Budget, Policy, Verdict


class Repeats:
    """See the module's text."""

    def __init__(self, policy: Policy, memory: Memory) -> None:
        self._policy = policy
        self._memory = memory
        self._budget = Budget()

    def judge(self, pending: Pending, fault: Fault) -> Verdict:
        """Say what to do with a call that met this fault."""
        if self._policy.hold <= 0 or pending.cancelled or pending.held_out:
            return Verdict.END
        return retries.judge(fault, harmless=retries.is_harmless(pending.message, self._memory.harmless))

    def pause(self, pending: Pending, fault: Fault) -> float | None:
        """Return the seconds after which it is sent again; None where they do not fit any more."""
        seconds = retries.pause(pending.attempts, self._policy.chance(), fault.retry_after)
        if pending.waited + seconds > self._policy.hold or not self._budget.spend():
            return None
        pending.waited += seconds
        pending.may_have_run = pending.may_have_run or fault.may_have_run
        return seconds

    def outlives_pipe(self, pending: Pending, fault: Fault) -> bool:
        """Whether a call on a shared pipe that broke is sent again on the next one."""
        if self.judge(pending, fault) is Verdict.END or not self._budget.spend():
            return False
        pending.may_have_run = pending.may_have_run or fault.may_have_run
        return True

    def answered(self) -> None:
        """The server answered a call."""
        self._budget.earn()
