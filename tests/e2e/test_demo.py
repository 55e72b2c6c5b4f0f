"""`mcp-remote-py demo`, as the README tells a new user to run it."""

from __future__ import annotations

import subprocess
import sys

import psutil

from tests.support.host import clean_environment, script

WITHOUT_SERVER = """
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "aiohttp" else real(name, *rest)
from mcp_remote_py.cli import main
sys.exit(main(["demo"]))
"""


def test_three_of_three_transports_work_and_nothing_is_left_behind() -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    done = subprocess.run(
        [script("mcp-remote-py"), "demo"],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
        env=clean_environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "3/3 transports ok"
    for wire in ("Streamable HTTP", "HTTP+SSE", "WebSocket"):
        assert f"  wire        {wire}, protocol" in done.stdout
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


def test_without_the_server_side_it_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SERVER], capture_output=True, text=True, check=False, env=clean_environment()
    )
    assert done.returncode == 2
    assert "[server]" in done.stderr
