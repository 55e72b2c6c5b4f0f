"""What several of the end-to-end tests share, and which of their cases belong to the first tier.

Each case starts real processes, and many tests are tables: each wire with each flag, with each way to fail. Of each
test the first tier runs a few cases in which, as far as the number allows, every value of every parameter stands once;
the others are marked slow here. Without `-m "not slow"` all of them run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import authority

MOST_CASES = 3
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the certificate of the tests' authority."""
    path = tmp_path_factory.mktemp("trust") / "root.pem"
    authority().cert_pem.write_to_path(str(path))
    return path


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the chosen cases of each test in the first tier."""
    tests: dict[tuple[Path, str], list[pytest.Function]] = defaultdict(list)
    for item in items:
        if HERE in item.path.parents and isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            tests[(item.path, item.originalname)].append(item)
    for number, cases in enumerate(tests.values()):
        chosen = set(_chosen([item.callspec.indices for item in cases], number))
        for at, item in enumerate(cases):
            if at not in chosen:
                item.add_marker(pytest.mark.slow)


def _chosen(cases: list[dict[str, int]], turn: int) -> Iterator[int]:
    """Yield the positions of the cases that show the most values which none before them showed.

    `turn` decides between equals: each test begins elsewhere, so that no value is always left out.
    """
    missing = {value for case in cases for value in case.items()}
    left = list(range(len(cases)))
    for _ in range(min(MOST_CASES, len(cases))):
        best = max(left, key=lambda at: (len(missing & _values(cases[at])), -((at - turn) % len(cases))))
        if not missing & _values(cases[best]):
            return
        yield best
        left.remove(best)
        missing -= _values(cases[best])


def _values(case: dict[str, int]) -> set[tuple[str, int]]:
    return set(case.items())
