"""The pure ring of the server: decisions without sockets, clocks, files or tasks. May import `mcp_remote_py.core`."""
