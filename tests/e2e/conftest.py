"""What several of the end-to-end tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.certificates import authority


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the certificate of the tests' authority."""
    path = tmp_path_factory.mktemp("trust") / "root.pem"
    authority().cert_pem.write_to_path(str(path))
    return path
