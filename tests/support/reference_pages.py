"""The pages of docs/reference that are printed from tables in the code.

`python -m tests.support.reference_pages` writes them; `tests/test_docs.py` fails while one of them is stale.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from mcp_remote_py.core import errors

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
_BRANCH = re.compile(r"[├└]── (?P<name>\w+)\s+(?P<meaning>.+?)\s+(?P<code>-\d+)\s+(?P<ran>.+)")


def errors_page() -> str:
    """Return docs/reference/errors.md, printed from the error tree of `mcp_remote_py.core.errors`."""
    tree = {match["name"]: match for match in map(_BRANCH.search, (errors.__doc__ or "").splitlines()) if match}
    faults = [*errors.FAULTS, *(inner for fault in errors.FAULTS for inner in fault.__subclasses__())]
    rows = [
        f"| {fault.code} | `{fault.__name__}` | {tree[fault.__name__]['meaning']} | {tree[fault.__name__]['ran']} "
        f"| {fault.default_hint} |"
        for fault in sorted(faults, key=lambda fault: (-fault.code if fault.code > -32000 else 40000, fault.__name__))
    ]
    return _ERRORS.format(rows="\n".join(rows))


_ERRORS = """\
# Errors

<!-- Printed from mcp_remote_py/core/errors.py: edit that file, then run `python -m tests.support.reference_pages`. -->

Every request of the host ends in exactly one answer, and none is made up where the server gave one: an error that the
server wrote passes byte for byte, whatever the HTTP status. Where there is no answer to pass on, the bridge answers
with an error of its own, and its `data.source` says so:

```json
{{"jsonrpc": "2.0", "id": 3, "error": {{"code": -31001, "message": "...",
  "data": {{"source": "mcp-remote-py", "name": "Unreachable", "hint": "...", "may_have_run": false}}}}}}
```

- `name` is the kind of error from the table below, `hint` says what to do.
- `may_have_run` says whether the request may have had an effect on the server: `false` means that it is safe to
  repeat. "By status" and "by place" in the table mean that it depends on what happened.
- `http_status` is there where an HTTP answer was the reason.

| Code | Name | Meaning | May the call have run? | Usual hint |
| --- | --- | --- | --- | --- |
{rows}

The codes from -31001 to -31010 lie outside the range that JSON-RPC and MCP keep for themselves.

What the host itself did wrong is answered with the standard codes of JSON-RPC: -32700 for a line that is not JSON
(with `id` null), -32600 for a message whose envelope is wrong (with its id where it has one). The bridge goes on after
either.
"""

PAGES: dict[str, Callable[[], str]] = {"reference/errors.md": errors_page}
"""Path below docs/ -> what it must say."""


def write() -> None:
    """Write all pages."""
    for path, page in PAGES.items():
        (DOCS / path).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
