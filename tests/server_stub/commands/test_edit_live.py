"""The editing commands beside a real server that runs the file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from server_stub import cli

HOSTED = str(Path(__file__).parents[2] / "support" / "children" / "hosted.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"mcpServers": {"one": {"command": sys.executable, "args": [HOSTED]}}}))
    return file


@pytest.fixture
def url(path: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "server_stub", "--config", str(path), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert process.stderr is not None
    found = None
    for line in process.stderr:
        found = re.search(r"listening on (http://\S+)", line)
        if found:
            break
    assert found is not None
    rest = threading.Thread(target=process.stderr.read)  # a full pipe would stop the server
    rest.start()
    yield found.group(1)
    process.terminate()
    assert process.wait(15) == 0
    rest.join()
    process.stderr.close()


def test_what_works_stays_and_what_does_not_is_taken_back(
    path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--config", str(path), "--server", url]
    assert cli.main(["add", "two", *where, "--", sys.executable, HOSTED]) == 0
    before = path.read_text()
    assert cli.main(["add", "bad", *where, "--", sys.executable, "-c", "raise SystemExit(3)"]) == 1
    assert path.read_text() == before
    assert "status 3" in capsys.readouterr().err
    assert cli.main(["disable", "one", *where]) == 0
    assert cli.main(["enable", "one", *where]) == 0
    assert path.read_text() == before
    assert cli.main(["list", *where, "--format", "json"]) == 0
    out = capsys.readouterr().out
    states = {row["name"]: row["state"] for row in json.loads(out[out.rindex("\n[") :])}
    assert set(states) == {"one", "two"}
    assert None not in states.values()
    assert cli.main(["remove", "two", "--test", *where]) == 0
