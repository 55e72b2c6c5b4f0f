"""The doorkeeper: asks every verifier in turn who a credential belongs to. No HTTP here."""

from __future__ import annotations

from collections.abc import Sequence

from server_stub.core.access import Credential
from server_stub.settings import Auth
from server_stub.verifiers import Verifier


class Doorkeeper:
    """Asks every verifier in turn."""

    def __init__(self, verifiers: Sequence[Verifier]) -> None:
        self._verifiers = tuple(verifiers)

    def follow(self, other: Doorkeeper) -> None:
        """Do as another one does from now on: the configuration was read again."""
        self._verifiers = other._verifiers

    def as_now(self) -> Doorkeeper:
        """Return one that goes on doing what this one does now."""
        return Doorkeeper(self._verifiers)

    @property
    def is_on(self) -> bool:
        """Whether a token is needed at all."""
        return bool(self._verifiers)

    def principal(self, credential: Credential) -> str | None:
        """Return whom the credential belongs to, or None."""
        for verifier in self._verifiers:
            if credential.is_api_key and not verifier.takes_api_keys:
                continue
            found = verifier.verify(credential.token)
            if found is not None:
                return found
        return None

    def knows(self, principal: str | None) -> bool:
        """Whether a principal that somebody else has verified is one whom we would let in."""
        return principal is not None and any(verifier.knows(principal) for verifier in self._verifiers)

    def turns_away(self, principal: str | None, before: Doorkeeper) -> bool:
        """Whether somebody whom another doorkeeper has let in before would not be let in by us.

        Whose tokens come from an issuer is not known to us; these end with their time.
        """
        if not self.is_on:
            return False
        return not self.knows(principal) and (principal is None or before.knows(principal))


def doorkeeper_of(auth: Auth) -> Doorkeeper:
    """Return the doorkeeper of these settings. Raises `ConfigError` for a key that cannot be used."""
    found: list[Verifier] = []
    if auth.tokens:
        from server_stub.verifiers.static import StaticTokens

        found.append(StaticTokens(auth.tokens))
    if auth.jwt is not None:
        from server_stub.verifiers.jwt import JsonWebTokens

        found.append(JsonWebTokens(auth.jwt))
    return Doorkeeper(found)
