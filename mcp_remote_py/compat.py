"""Flags of `npx mcp-remote` that this version does not have: what each of them was for, and what to do without it.

Imported only when an unknown flag was seen.
"""

from __future__ import annotations

_SIGN_IN = "belongs to signing in with a browser, which this version does not do: give it a token (MCP_AUTH_TOKEN)"
_NOT_YET = "is not offered by this version: leave it out"

NPX_LEFTOVER = "Remove what is left of `npx -y mcp-remote` from the args: they begin with the URL."

MCP_REMOTE_FLAGS: dict[str, str] = {
    "--auth-success-url": _SIGN_IN,
    "--auth-timeout": _SIGN_IN,
    "--authorize-param": _SIGN_IN,
    "--callback-path": _SIGN_IN,
    "--client-credentials": _SIGN_IN,
    "--client-metadata-url": _SIGN_IN,
    "--device-code": _SIGN_IN,
    "--disable-resource-parameter": _SIGN_IN,
    "--host": _SIGN_IN,
    "--ignore-tool": _NOT_YET,
    "--protocol": "is not needed: the host's own protocol version is passed through",
    "--resource": _SIGN_IN,
    "--static-oauth-client-info": _SIGN_IN,
    "--static-oauth-client-metadata": _SIGN_IN,
    "--token-endpoint": _SIGN_IN,
    "--use-id-token": _SIGN_IN,
}


def explain(flag: str) -> str | None:
    """Return one sentence about a flag of mcp-remote or npx, or None for a flag that neither of them has."""
    if flag in ("-y", "--yes"):
        return f"{flag} belongs to npx. {NPX_LEFTOVER}"
    reason = MCP_REMOTE_FLAGS.get(flag)
    return None if reason is None else f"The mcp-remote flag {flag} {reason}."
