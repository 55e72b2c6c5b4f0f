"""What HTTP statuses, headers and streams mean to MCP. Pure."""
