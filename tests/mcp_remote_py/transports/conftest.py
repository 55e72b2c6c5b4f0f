"""Fixtures for the tests of the wires."""

from __future__ import annotations

import pytest

from tests.support.quick_clock import QuickClock


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()
