"""The installed peers. Where they cannot be had, the tests are skipped; where `CI=true`, they fail."""

from __future__ import annotations

import os

import pytest

from tests.peers.install import PeerMissing, Peers, ready


@pytest.fixture(scope="session")
def peers() -> Peers:
    """The real MCP programs, installed on first use."""
    try:
        return ready()
    except PeerMissing as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"a real peer is missing, and CI needs it: {missing}")
        pytest.skip(str(missing))
