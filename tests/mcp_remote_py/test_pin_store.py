"""The file of the pins: kept, merged, set aside when it is of no use."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_remote_py.pin_store import PinStore

URL = "https://example.com/mcp"


def test_pins_are_kept_per_url(tmp_path: Path) -> None:
    PinStore(str(tmp_path), URL).write({"a": "1"})
    PinStore(str(tmp_path), URL).write({"b": "2"})
    assert PinStore(str(tmp_path), URL).read() == {"a": "1", "b": "2"}
    assert PinStore(str(tmp_path), f"{URL}/other").read() == {}


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff", b"[]", b'{"tools":[]}', b'{"tools":{"a":1}}'])
def test_a_file_of_no_use_is_set_aside(damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = PinStore(str(tmp_path), URL)
    store.write({"a": "1"})
    (path,) = (tmp_path / "pins").glob("*.json")
    path.write_bytes(damage)
    assert store.read() == {}
    assert not path.exists()
    assert "set aside" in caplog.text


def test_a_folder_that_cannot_be_made_is_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    store = PinStore(str(tmp_path / "file"), URL)
    store.write({"a": "1"})
    assert store.read() == {}
    assert "cannot be written" in caplog.text
