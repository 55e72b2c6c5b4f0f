"""What all tests here share."""

from __future__ import annotations

import pytest

from tests.support.survival import hurry


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
