"""OAuth 2.1 as MCP uses it: what to ask, what to believe, what to keep. Decisions only; nothing here does I/O.

A flow is a generator of *steps* (`steps`): it yields what it wants done (fetch this, let a person sign in, remember
that) and is sent what came of it. `mcp_remote_py.auth` performs the steps. Sources: the authorization chapters of the
MCP revisions, RFC 6749, 7591, 7636, 8414, 8628, 8707, 9207, 9449, 9728.
"""
