"""What `mcp-remote-server` can do besides serving: one command per module, imported when it is asked for.

Each has `run(arguments, environ)`: the command with the words behind it and the environment in, the exit code out.
Raises `ConfigError`, which is printed, with exit code 2. What people asked to see goes to stdout, all else to stderr.
"""

from __future__ import annotations

COMMANDS: dict[str, str] = {
    "check": "server_stub.commands.check",
    "add": "server_stub.commands.edit",
    "remove": "server_stub.commands.edit",
    "enable": "server_stub.commands.edit",
    "disable": "server_stub.commands.edit",
    "list": "server_stub.commands.list",
    "test": "server_stub.commands.test",
    "add-bridge": "server_stub.commands.add_bridge",
    "setup-env": "server_stub.commands.setup_env",
    "deploy": "server_stub.commands.deploy",
}
"""Command to module."""
