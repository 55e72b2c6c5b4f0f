"""A minute of kills. `MCP_SOAK_SECONDS` makes it longer, `MCP_SOAK_SEED` repeats one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.soak.kills import storm

SECONDS = float(os.environ.get("MCP_SOAK_SECONDS", "60"))
SEED = os.environ.get("MCP_SOAK_SEED")


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP, and its kill is no SIGKILL")
async def test_a_server_that_is_killed_at_random_costs_no_answer_and_runs_nothing_twice(tmp_path: Path) -> None:
    report = await storm(SECONDS, tmp_path, seed=None if SEED is None else int(SEED))
    assert report.kills >= SECONDS / 10
    assert report.results > report.calls / 2, report
