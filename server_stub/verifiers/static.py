"""Static tokens: whoever has one gets in. Compared in constant time, all of them, every time."""

from __future__ import annotations

import hmac

from server_stub.core.access import label_of


class StaticTokens:
    """A `Verifier` of a fixed set of tokens. Each token is one principal."""

    takes_api_keys = True

    def __init__(self, tokens: tuple[str, ...]) -> None:
        self._tokens = [(token.encode("utf-8", "surrogateescape"), f"token:{label_of(token)}") for token in tokens]

    def verify(self, token: str) -> str | None:
        given = token.encode("utf-8", "surrogateescape")
        found: str | None = None
        for known, principal in self._tokens:
            if hmac.compare_digest(known, given):
                found = principal
        return found

    def knows(self, principal: str) -> bool:
        return any(principal == known for _, known in self._tokens)
