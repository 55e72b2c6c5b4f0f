"""How many workers `pytest -n auto` starts: most tests wait for a process or a socket, so two for each core."""

from __future__ import annotations

import os


def pytest_xdist_auto_num_workers() -> int:
    return 2 * (os.cpu_count() or 1)
