"""How bytes reach a host. Knows no MCP. Nothing is imported here: each file costs what it loads."""
