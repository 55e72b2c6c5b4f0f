"""Claims of a JSON Web Token, unverified (RFC 7519): to tell early what its receiver will say, never to trust."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

from mcp_remote_py.core import message as msg


def read(token: str) -> Mapping[str, Any] | None:
    """Return what a token claims; None for a token of another kind."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        text = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)).decode("utf-8")
        claims = msg.value_of(text)
    except (ValueError, binascii.Error, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def texts(value: object) -> tuple[str, ...]:
    """Return a claim that may be one text or several, such as `aud`."""
    items = value if isinstance(value, list) else [value]
    return tuple(item for item in items if isinstance(item, str))


def life(token: str) -> float | None:
    """Return for how many seconds a token was made, by its own two times: right whatever this machine's clock says."""
    claims = read(token)
    if claims is None:
        return None
    begin, end = claims.get("iat"), claims.get("exp")
    if isinstance(begin, bool) or isinstance(end, bool):
        return None
    if not isinstance(begin, int | float) or not isinstance(end, int | float):
        return None
    try:
        found = float(end) - float(begin)
    except OverflowError:
        return None
    return found if math.isfinite(found) and found > 0 else None
