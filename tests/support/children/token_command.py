"""A program that prints what a test wrote down for its runs: `python token_command.py FOLDER`.

`FOLDER/plan.json` has one object per run, the last one for all further runs: `out`, `err` (texts), `code`, `wait`
(until this file exists), `hang`, `child` (leaves a process behind that holds the pipes). Each run adds a line to
`FOLDER/runs`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main(folder: Path) -> None:
    with (folder / "runs").open("a") as file:
        file.write(f"{os.getpid()}\n")
    count = len((folder / "runs").read_text().split())
    plan = json.loads((folder / "plan.json").read_text())
    step = plan[min(count, len(plan)) - 1]
    (folder / "environ.json").write_text(json.dumps(dict(os.environ)))
    (folder / "stdin").write_text(sys.stdin.read())
    if "child" in step:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (folder / "child").write_text(str(child.pid))
    sys.stderr.write(step.get("err", ""))
    sys.stderr.flush()
    sys.stdout.write(step.get("out", ""))
    sys.stdout.flush()
    while "wait" in step and not Path(step["wait"]).exists():
        time.sleep(0.005)
    if "hang" in step:
        time.sleep(60)
    sys.exit(step.get("code", 0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
