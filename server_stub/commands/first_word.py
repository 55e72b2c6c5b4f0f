"""What is said of a first word that is no command: most often one was misspelt, or `--config` was left out.

Without this, such a word would be taken for the program to serve, as the lines of mcp-proxy begin with it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Sequence

from mcp_remote_py.core.options import did_you_mean
from server_stub.commands import COMMANDS

_PROGRAM = "mcp-remote-server"
_NOTHING = ("serve", "start", "run", "host")
"""Words for what happens without any."""
_MEANT = {"ls": "list", "rm": "remove", "delete": "remove", "validate": "check"}
_FILES = (".json", ".jsonc", ".json5")


def mistake(arguments: Sequence[str]) -> str | None:
    """Return the sentence for a line that begins with a word that can mean nothing. None: it may well mean something.

    Looks for a program of that name, and starts none.
    """
    word, rest = (arguments[0], arguments[1:]) if arguments else ("", ())
    if word in _NOTHING and any(flag.partition("=")[0] in ("--config", "--stdio", "--demo") for flag in rest):
        return f"leave out {word!r}: options alone say what to serve. Type: {_PROGRAM} {shlex.join(rest)}"
    if not word.startswith("-") and word.lower().endswith(_FILES) and not os.access(word, os.X_OK):
        return (
            f"{word} is no program. To serve the servers of that file, or to look for mistakes in it, type:\n"
            f"  {_PROGRAM} --config {shlex.quote(word)}\n  {_PROGRAM} check {shlex.quote(word)}"
        )
    if word in _MEANT:  # there are programs of these names, and none of them is a server
        return f"there is no command {word!r}. Did you mean {_MEANT[word]}?"
    if not re.fullmatch("[a-z]+(-[a-z]+)*", word) or _may_be_a_program(word):
        return None
    guess = did_you_mean(word, COMMANDS)
    return f"there is no command and no program {word!r}.{guess} Commands are: {', '.join(sorted(COMMANDS))}."


def _may_be_a_program(word: str) -> bool:
    from mcp_remote_py.peer_flags import PEERS

    known = word in ("npx", "uvx", *PEERS)  # a line for another program: `compat` has a sentence for it
    return known or os.path.exists(word) or shutil.which(word) is not None
