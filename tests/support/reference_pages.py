"""The pages of docs/reference that are printed from tables in the code.

`python -m tests.support.reference_pages` writes them; `tests/test_docs.py` fails while one of them is stale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mcp_remote_py.config_file import NOT_INSIDE
from mcp_remote_py.core import errors
from mcp_remote_py.core.options import Option
from mcp_remote_py.option_table import OPTIONS
from server_stub import option_table as server_options
from server_stub.core import supervision
from server_stub.core.roster import Care
from server_stub.core.vitals import State
from tests.peers.conformance import EXTENSION, written
from tests.support.config_pages import config_file_page, schema_page

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
- `attempts` is there where it was [tried again](../explanation/when-the-server-is-away.md), or could have been.
- `retry_after` is there where the server said in how many seconds to try again.

| Code | Name | Meaning | May the call have run? | Usual hint |
| --- | --- | --- | --- | --- |
{rows}

The codes from -31001 to -31010 lie outside the range that JSON-RPC and MCP keep for themselves.

What the host itself did wrong is answered with the standard codes of JSON-RPC: -32700 for a line that is not JSON
(with `id` null), -32600 for a message whose envelope is wrong (with its id where it has one), -32602 for a tool, prompt
or resource that a flag such as `--ignore-tool` hides (`data.name` is `NotOffered`). The bridge goes on after each.
"""


def options_page() -> str:
    """Return docs/reference/options.md, printed from the option tables of both programs."""
    return _OPTIONS.format(
        bridge=_tables(OPTIONS, has_keys=True), server=_tables(server_options.OPTIONS, has_keys=False)
    )


def _tables(table: Sequence[Option], *, has_keys: bool) -> str:
    groups = dict.fromkeys(option.group for option in table)
    parts = (_table(group, [option for option in table if option.group == group], has_keys) for group in groups)
    return "\n\n".join(parts)


def _table(group: str, rows: Sequence[Option], has_keys: bool) -> str:
    titles = ["Flag", "Variable", *(["Key in the file"] if has_keys else []), "Meaning"]
    lines = [f"### {group.capitalize()}", "", f"| {' | '.join(titles)} |", "|" + " --- |" * len(titles)]
    for option in rows:
        flags = ", ".join(f"`{flag} {option.metavar}`" if option.metavar else f"`{flag}`" for flag in option.flags)
        variables = ", ".join(f"`{name}`" for name in option.variables)
        key = "" if option.name in NOT_INSIDE else f"`{option.name.replace('_', '-')}`"
        cells = [flags, variables, *([key] if has_keys else []), option.help]
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |")
    return "\n".join(lines)


_OPTIONS = """\
# Options

<!-- Printed from mcp_remote_py/option_table.py, server_stub/option_table.py and tests/support/reference_pages.py: edit
those files, then run `python -m tests.support.reference_pages`. -->

A flag wins over a variable, a variable over the [configuration file](../how-to/configuration-file.md), that over the
default. Durations are written `250ms`, `30s`, `2m`, `1h` or as bare seconds, sizes `65536`, `64KiB`, `64MiB`; `~` is
expanded wherever a file is named. An unknown flag or key, or a value that cannot work, ends with
[exit code 2](exit-codes.md) and a sentence that says what to write instead; a misspelt variable is named at the start.
Flags of mcp-remote, mcp-proxy and supergateway mean what they meant, or the sentence says
[what to write](../how-to/coming-from-mcp-remote.md).

## mcp-remote-py

`mcp-remote-py URL [options]` carries messages between a host on stdin and stdout and the server at the URL: `https://`,
`http://`, `wss://` or `ws://`. `mcp-remote-py demo` shows it. `--help`, `--version` and `--print-config` answer on
stdout.

Besides the variables in the tables: `MCP_MODE` may be `http` or `remote` (both are `--transport http-first`) or
`websocket` (which is `--ws-only`, with `--ws-auth message` where there is a token). `SSL_CERT_FILE`, `SSL_CERT_DIR`,
`REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` and `NODE_EXTRA_CA_CERTS` add certificates; `HTTPS_PROXY`, `HTTP_PROXY`,
`ALL_PROXY` and `NO_PROXY`, in either case, name proxies. `MCP_REMOTE_PY_BASIC_PASSWORD` is the password of `--basic`.

{bridge}

## mcp-remote-server

`mcp-remote-server --stdio [options] -- CMD ARGS...` serves one server; so do `--shell`, `--handler` and `--demo` in
the place of `--stdio`. `mcp-remote-server --config FILE` serves [a file of them](config-file.md), whose head
(`mcpProxy`) may say what some of these options say; flags and variables win over it. The variables of npm's mcp-proxy
(`MCP_PROXY_PORT`...) count where ours say nothing.

Besides serving there are commands, each with its `--help`:

| Command | What it does |
| --- | --- |
| `check FILE` | says what is wrong with [a file of servers](config-file.md), and starts nothing |
| `add`, `remove`, `enable`, `disable` | [change the file](../how-to/manage-servers.md) |
| `list`, `test NAME` | show the servers of the file; start one of them and list its tools |
| `setup-env` | asks for the variables that the file needs |
| `add-bridge` | writes what puts a stdio server into a container |
| `deploy systemd`, `deploy nginx` | write [a unit, and what stands in front of it](../how-to/deploy-on-linux.md) |

{server}
"""


def conformance_page() -> str:
    """Return docs/reference/conformance.md, printed from what the official suite said in the last run."""
    return _CONFORMANCE.format(tables="\n\n".join(_results(name, found) for name, found in written().items()))


def _results(revision: str, found: dict[str, dict[str, Any]]) -> str:
    passed = sum(bool(row["passed"]) for row in found.values())
    title = "Extensions" if revision == EXTENSION else revision
    lines = [f"## {title}", "", f"{passed} of {len(found)} scenarios pass.", ""]
    lines += ["| Scenario | Result | Checks of the suite |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(_scenario(name, row) for name, row in found.items())])


def _scenario(name: str, row: dict[str, Any]) -> str:
    checks = [
        f"`{check}`" if status == "SUCCESS" else f"`{check}`: {status}" for check, status in row["checks"].items()
    ]
    result = "passes" if row["passed"] else "does not pass"
    if "direct" in row:
        result += f"; the official SDK without a bridge {'passes' if row['direct'] else 'does not pass either'}"
    return f"| `{name}` | {result} | {', '.join(checks)} |"


_CONFORMANCE = """\
# Conformance of sign-in

<!-- Printed from tests/peers/conformance_results.json, which `python -m tests.peers.conformance` writes; then run
`python -m tests.support.reference_pages`. -->

The client scenarios `auth/*` of the official suite (npm `@modelcontextprotocol/conformance`, 0.2.0-alpha.12), each run
through the bridge: the suite starts a host on the official TypeScript SDK, whose stdio server is `mcp-remote-py`, and
judges what arrives at its own servers. CI runs them all and fails when one of them ends otherwise than written here. To
see one: `python -m tests.peers.conformance auth/metadata-default 2025-11-25`.

Of revision 2026-07-28 a scenario can fail only because its MCP server knows nothing but that revision, and the bridge
does not yet translate between it and those before: the sign-in is through by then, as the checks show, and the call
after it cannot be answered (or, where a second sign-in is under test, cannot ask for it).

{tables}
"""


def supervision_page() -> str:
    """Return docs/reference/supervision.md, printed from the table of `server_stub.core.supervision`."""
    rows = [
        f"| {row.state.name} | {row.event.value}{f': {row.guard.value}' if row.guard.value else ''} "
        f"| {row.to.name} | {row.deed} |"
        for row in supervision.TABLE
    ]
    arrows: dict[tuple[State, State], list[str]] = {}
    for row in supervision.TABLE:
        texts = arrows.setdefault((row.state, row.to), [])
        if row.event.value not in texts:
            texts.append(row.event.value)
    lines = [f"  {state.name} --> {to.name}: {' / '.join(texts)}" for (state, to), texts in arrows.items()]
    care = Care()
    return _SUPERVISION.format(
        diagram="\n".join(["stateDiagram-v2", "  [*] --> STOPPED", *lines]),
        rows="\n".join(rows),
        initialize=f"{care.initialize:g}",
        ping=f"{care.ping_every:g}",
        pings=care.ping_failures,
        restarts=care.restarts,
        window=f"{care.window:g}",
        idle=f"{care.idle:g}",
        first=f"{supervision.FIRST_DELAY:g}",
        most=f"{supervision.MOST_DELAY:g}",
    )


_SUPERVISION = """\
# Supervision

<!-- Printed from server_stub/core/supervision.py: edit that file, then run
`python -m tests.support.reference_pages`. -->

What `mcp-remote-server --config FILE` does with the children of a server, from the first start to the last. The key in
the file that changes a number stands beside it.

```mermaid
{diagram}
```

| State | What happens | Next | What comes with it |
| --- | --- | --- | --- |
{rows}

An event that has no row in a state changes nothing there.

## Starting

- A child has {initialize} s to answer `initialize` (`initializeTimeout`). A start has failed when the child could not
  be spawned, exited before that answer, or took too long; whoever waits is answered with the name of the server and
  the reason.
- After a failure the next start waits: {first} s, then four times as long each time, {most} s at most, of which half is
  chance. Requests and sessions that come meanwhile are held, not refused.
- {restarts} failures in {window} s (`maxRestarts`, `restartWindow`) make a server whose sessions have children of their
  own FAILED; an answered `initialize` clears them, and of starts that fail side by side one counts. A child that
  several clients share is restarted {restarts} times in {window} s, whether it failed to start or ended later; the end
  after that makes it FAILED.
- FAILED refuses at once, and names the reason, until the configuration is loaded again or an operator asks for a
  restart (`POST /restart/NAME`). Where there is no configuration (`--stateless` with one command) it passes when the
  failures have left the window. A remote server is never FAILED: it is tried again for as long as somebody wants it.

## Living

- A child that has answered `initialize` is asked with `ping` every {ping} s (`pingInterval`; 0 or `off` for never). It
  is missed when the child said nothing until the next one; an error as the answer is an answer. After {pings} missed in
  a row (`pingFailures`) the child is ended.
- While a call is in progress nothing is asked: a slow child is not a dead child.
- Ending is closing its stdin, after 2 s SIGTERM to its process group, after 2 s SIGKILL.

## Who shares a child (`share`)

- `session` (the default): each client session has its own. It is not restarted: when it ends, its session ends with the
  reason, and the next session starts another. For clients without a session, a child is shared per principal.
- `principal`, `shared`: one for all sessions of a principal, or for all. It is restarted while somebody has a session,
  and stopped after {idle} s without a request (`idleTimeout`).

To a shared child all its clients are one. Ids and progress tokens are replaced by unguessable ones. It is initialized
once, and told that its client offers `sampling`, `elicitation` and `roots`. What it asks goes to the session whose
request is in progress, where there is exactly one, else to the only session; otherwise, and where that client does
not offer what is asked, it gets an error (a call that its client has given up is not in progress any more). Changes
of lists go to all sessions, log messages to those whose level they reach (the child gets the lowest of all), updates
of a resource to its subscribers. After a restart the child gets the log level and the subscriptions again; its lists
are read, and where they differ from those before, the sessions hear so. They hear it, too, when the child that was to
follow does not start, and when one comes after all.

## Eager and lazy (`start`)

- `lazy` (the default): a child starts when somebody wants it.
- `eager`: one starts with the server, is kept, and restarted. With `shared` it serves all; with `principal` it is the
  one of clients that are not authenticated; with `session` it serves no client, but answers operators at once.

`GET /listtools/NAME` asks a shared child that runs, else one that is started for the question and stopped after 30 s
without another.
"""


PAGES: dict[str, Callable[[], str]] = {
    "reference/config-file.md": config_file_page,
    "reference/config-schema.json": schema_page,
    "reference/conformance.md": conformance_page,
    "reference/errors.md": errors_page,
    "reference/options.md": options_page,
    "reference/supervision.md": supervision_page,
}
"""Path below docs/ -> what it must say."""


def write() -> None:
    """Write all pages."""
    for path, page in PAGES.items():
        (DOCS / path).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
