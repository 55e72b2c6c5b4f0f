"""Scopes: which ones to ask for. Lists and texts in, the `scope` parameter out; None means that none is sent.

Sources: the authorization chapter of 2025-11-25 ("Scope Selection Strategy") and of 2026-07-28 (offline access, step-up
by the union); RFC 6749 section 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

OFFLINE = "offline_access"
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


def split(text: str) -> tuple[str, ...]:
    """Return the scopes of a text, each once, in their order; what no scope can be is left out."""
    return of_list(text.split())


def of_list(values: Iterable[object]) -> tuple[str, ...]:
    """Return what can be a scope, each once, in their order."""
    return tuple(dict.fromkeys(value for value in values if isinstance(value, str) and _SCOPE.fullmatch(value)))


def join(scopes: Iterable[str]) -> str | None:
    """Return the parameter, None where there is nothing to send."""
    return " ".join(dict.fromkeys(scopes)) or None


def first(
    challenged: str | None,
    resource_scopes: Sequence[str] | None,
    preferred: str | None,
    server_scopes: Sequence[str] | None,
    *,
    for_person: bool = True,
) -> str | None:
    """Return what a first sign-in asks for.

    What the user said (`preferred`, empty: nothing) is sent as it is. Else what the challenge names, else all that the
    resource lists (`resource_scopes`; empty means that none is wanted, None that it does not say), else nothing.

    `server_scopes`: the authorization server's own list. If `offline_access` is in it that is asked for beside other
    scopes, so that a refresh token comes (not alone: it would take the place of the server's default scopes); and if it
    is not in it, it is not asked for because a resource lists it. `for_person`: grants without one have no use for it.
    """
    if preferred is not None:
        return join(split(preferred))
    offered = OFFLINE in (server_scopes or ())
    asked = split(challenged or "")
    if not asked:
        asked = tuple(scope for scope in of_list(resource_scopes or ()) if scope != OFFLINE or offered)
    if asked and offered and for_person:
        asked = (*asked, OFFLINE)
    return join(asked)


def union(*parts: str | None) -> str | None:
    """Return all scopes of these, each once: what a step-up asks for, so that nothing that was granted is lost."""
    return join(scope for part in parts for scope in split(part or ""))


def covers(granted: str | None, wanted: str | None) -> bool:
    """Whether all wanted scopes are among those that were granted, as far as names tell."""
    return set(split(wanted or "")) <= set(split(granted or ""))
