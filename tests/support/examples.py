"""How many examples a property is tried with: a third of them in the first tier, all where `.ci/run` asks for them."""

from __future__ import annotations

import os


def examples(thorough: int) -> int:
    """Return `thorough` where MCP_TESTS_THOROUGH is set, else a third of it."""
    return thorough if os.environ.get("MCP_TESTS_THOROUGH") else max(10, thorough // 3)
