"""mcp-remote-py: the stdio bridge to remote MCP servers.

Nothing is imported here: the console script must start at once, and `server_stub` imports only `core`.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
