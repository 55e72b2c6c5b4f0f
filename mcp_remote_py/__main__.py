"""`python -m mcp_remote_py` is the console script `mcp-remote-py`."""

import sys

from mcp_remote_py.cli import main

if __name__ == "__main__":
    sys.exit(main())
