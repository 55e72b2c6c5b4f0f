"""docs/reference/config-file.md and config-schema.json, printed from the table of keys of configuration files."""

from __future__ import annotations

import json

from server_stub.core.addressing import RESERVED
from server_stub.core.config_keys import PLACES, Place
from server_stub.core.config_schema import schema


def schema_page() -> str:
    """Return docs/reference/config-schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def config_file_page() -> str:
    """Return docs/reference/config-file.md."""
    tables = "\n\n".join(_table(place) for place in PLACES.values())
    return _PAGE.format(tables=tables, reserved=", ".join(f"`{name}`" for name in sorted(RESERVED)))


def _table(place: Place) -> str:
    title = place.words[0].upper() + place.words[1:]
    lines = [f"### {title}", "", "| Key | Holds | Meaning |", "| --- | --- | --- |"]
    for key in place.keys:
        names = ", ".join(f"`{name}`" for name in (key.name, *key.aliases))
        holds = f"an object: [`{key.place}`](#{_anchor(PLACES[key.place])})" if key.place else key.kind.words
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in (names, holds, key.meaning)) + " |")
    if place.ignored:
        lines += [
            "",
            f"Of other programs, and without effect here: {', '.join(f'`{name}`' for name in place.ignored)}.",
        ]
    return "\n".join(lines)


def _anchor(place: Place) -> str:
    kept = [letter for letter in place.words.lower() if letter.isalnum() or letter in "_- "]
    return "".join(kept).replace(" ", "-")


_PAGE = """\
# The configuration file of mcp-remote-server

<!-- Printed from server_stub/core/config_keys.py and tests/support/config_pages.py: edit those files, then run
`python -m tests.support.reference_pages`. -->

One file of servers: commands to run, and addresses of servers that run elsewhere. `--config FILE` names it, else the
variable `CONFIG_PATH`. Read it before it is served:

```sh
mcp-remote-server check config.json
```

Each line of the answer is `file:line: key: what is wrong`, on stdout; warnings end in `(warning)`. Exit code 0: it can
be served; 2: something in it cannot work. Warnings count, too, with `--strict`; `--format json` is for programs.
Nothing is started. For editors there is a [JSON Schema](config-schema.json).

## Forms

The form is known by its keys; no option names it.

| Keys | Known from |
| --- | --- |
| `mcpServers` | Claude Desktop, Claude Code, Cursor |
| `mcpProxy` and `mcpServers` | TBXark's mcp-proxy; `server` and `clients` of its version 1, too |
| `servers`, `inputs` | VS Code's `mcp.json` |
| `mcp.servers`, or `mcp` with `servers` | VS Code's settings |

JSON with comments (`//`, `/* */`) and commas behind the last item; single quotes and names without quotes are taken,
too. A backslash is written twice: `"C:\\\\tools"`. A key that stands twice in an object is an error, as one of the two
would be lost. Keys at the top of the file that are not listed here belong to other programs and are left alone; keys
that begin with `_`, `$`, `//` or `x-` are remarks anywhere.

## What is wrong with one server harms no other

A server with an error is not started, and who asks for it is told why; all others are served. With `panicIfInvalid`
nothing is served then. An error in the head (`mcpProxy`) concerns all: the file as a whole is refused, as it is when it
is no JSON, or when any user of the machine may write it or a folder on the way to it (`chmod o-w`).

A key that is spelled nearly like a known one is an error with "Did you mean"; any other unknown key is a warning.

Names of servers become parts of paths: they are not empty and have no `/`, `\\` or characters that cannot be seen.
These mean something else as the first part of a path, so a server of such a name is reached under `/servers/NAME/`
only:
{reserved}.

## Variables

| Written | Becomes |
| --- | --- |
| `${{VAR}}`, `${{env:VAR}}` | the variable; where it is not set, that is an error of this server |
| `${{VAR:-text}}`, `${{env:VAR:-text}}` | the text, also with variables in it, where the variable is not set or empty |
| `${{input:ID}}` | VS Code's inputs: the variable that is named `ID`; for `my-key` also `MY_KEY` |
| `$${{` | the two characters `${{` |

They are filled in in every text of a server and of the head, once: what a variable holds is not looked through again.
`$VAR` without braces stays as it is, for a shell. In a disabled server a variable that is not set is a warning.

They are looked up here, and **the later wins**, as with systemd's `EnvironmentFile`:

1. the environment of `mcp-remote-server`,
2. `.env` in the folder of the configuration file, for all servers,
3. the server's own files: `NAME.env` in that folder, then `NAME/NAME.env`; or in their place what `envFile` names.

So a value that is changed in a `.env` file counts with the next reload, whatever the process was started with. All that
stands in a server's **own** files goes into the environment of its child as well, and `env` wins over it. The shared
`.env` is only looked up: a secret reaches those servers alone that name it. In `.env` files values stand as they are:
nothing in them is expanded; quotes, `export` and comments (`#` behind a space) are understood. A `.env` file that any
user may write is refused; one that holds secrets and that any user may read is a warning. In a folder for all, like
`/tmp`, one that belongs to somebody else is passed over. A variable that `authTokens` names holds a token of ours: it
reaches no child, neither from these files nor by `passEnvironment`, unless `env` gives it.

A few names in the shared `.env` mean the server itself: `DOMAIN` or `MCP_DOMAIN` (`--domain`), `LOG_LEVEL_SYSTEM`,
`LOG_LEVEL_MCP`, `LOG_RETENTION_SYSTEM`, `LOG_RETENTION_MCP` (`--log-level-system`...). Flags and the process's own
variables win over them; a change counts when the server is started again.

A child gets the default set of the MCP SDKs (`HOME`, `PATH`, `USER`...), its own `.env` files and its `env`; with
`passEnvironment` all variables of the server, but never its secrets.

Durations are seconds, or `250ms`, `30s`, `5m`, `1h`; sizes are bytes, or `64KiB`, `500MB` (1024 times 1024 each).

## Inheritance

Options may stand in `mcpProxy` and in a server, each time directly or in `options`: a server's win over those of the
head, and what stands directly over `options`, key by key. A server without `authTokens` takes those of the head; with
its own it takes only its own (in version 1: its own and the global ones). An empty list of tokens is an error.
`null` is as if the key were not there.

## Keys

{tables}
"""
