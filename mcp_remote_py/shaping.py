"""Builds the chain of shapers that the flags ask for. Imported only where one of them was given."""

from __future__ import annotations

from mcp_remote_py.core.filters import Filter, Rule
from mcp_remote_py.core.heartbeat import Heartbeat
from mcp_remote_py.core.late_results import LateResults
from mcp_remote_py.core.names import Names
from mcp_remote_py.core.pins import Pins
from mcp_remote_py.core.result_size import ResultSize
from mcp_remote_py.core.shaping import Chain, Shaper
from mcp_remote_py.pin_store import PinStore
from mcp_remote_py.settings import Settings, Visibility


def chain(settings: Settings) -> Chain:
    """Return the shapers in their order: the host's view first, the server's own words last."""
    given = settings.shaping
    shapers: list[Shaper] = []
    if given.heartbeat is not None:
        shapers.append(Heartbeat(given.heartbeat))
    if given.host_timeout is not None:
        shapers.append(LateResults(given.host_timeout, given.keep_results))
    if given.max_result is not None:
        shapers.append(ResultSize(given.max_result))
    if given.names != "off":
        shapers.append(Names(given.names))
    if given.read_only or any(shown != Visibility() for shown in (given.tools, given.prompts, given.resources)):
        shapers.append(
            Filter(
                Rule("tool", given.tools.ignore, given.tools.only),
                Rule("prompt", given.prompts.ignore, given.prompts.only),
                Rule("resource", given.resources.ignore, given.resources.only),
                read_only=given.read_only,
            )
        )
    if given.pins != "off":
        store = PinStore(settings.home, settings.target.url)
        shapers.append(Pins(given.pins, store.read(), store.write))
    return Chain(shapers)
