"""Files for a machine that serves: a systemd unit and an nginx file, made from the same configuration and rules. The
container files of `add-bridge` are here for their templates alone.

What goes into them is decided in `unit` and `sites`, which are pure; how they look is in the templates beside this
file; `rendering` puts the two together. `commands/deploy` reads and writes.
"""

from __future__ import annotations

MARK = "Written by `mcp-remote-server deploy"
"""What the first line of every file says: one that lacks it was written by somebody else, and is left alone."""
