"""Mishaps: what was raised, as a fault that may be shown: without secrets, and without the words of a defect."""

from __future__ import annotations

import logging

from mcp_remote_py.core.errors import Fault, OwnMistake
from mcp_remote_py.core.redact import Redactor, printable

_LOG = logging.getLogger("mcp_remote_py.bridge")


class Mishaps:
    """See the module's text."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def clean(self, fault: Fault) -> Fault:
        """A fault goes to the host and into the log: take secrets and control characters out of it."""
        fault.args = (printable(self._redactor.scrub(str(fault))),)
        fault.hint = printable(self._redactor.scrub(fault.hint))
        return fault

    def own(self, defect: Exception) -> Fault:
        """A defect of ours is written down, and whoever waited hears that there was one."""
        _LOG.error("a defect of the bridge", exc_info=defect)
        return OwnMistake(f"the bridge made a mistake of its own ({type(defect).__name__})")
