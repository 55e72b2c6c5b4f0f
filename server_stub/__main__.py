"""`python -m server_stub` is the console script `mcp-remote-server`."""

import sys

from server_stub.cli import main

if __name__ == "__main__":
    sys.exit(main())
