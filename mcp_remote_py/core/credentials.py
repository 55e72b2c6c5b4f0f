"""Bearer tokens as text: what a file or a command printed, when a token expires, when to ask for another. Pure.

Nothing here verifies anything: a token is the server's to judge, and its `exp` only tells when to ask for the next one.
Sources: RFC 6750 section 2.1 (the header), RFC 7519 section 4.1.4 (`exp`), RFC 6749 section 5.1 (`expires_in`),
RFC 3339 (times in text).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from mcp_remote_py.core import days

Learn = Callable[[str], None]
"""Told every secret that was received or made, before it is used: the redactor's `learn`."""
Now = Callable[[], float]
"""The wall clock, in seconds since 1970: tokens expire by it."""

RENEW_SECONDS = 30.0
"""So long before a token expires, another one is wanted."""
SHARE = 0.2
"""Of a short life, so much is left when another one is wanted."""

_TOKEN_NAMES = ("access_token", "accessToken", "token", "id_token")
_TIME_NAMES = ("expires_on", "expires_at", "expiresAt", "expiry", "expirationTimestamp", "token_expiry")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:([Zz])|([+-])(\d\d):?(\d\d))")


NOT_TAKEN = "It is wrong, expired or meant for another server."
"""Why a token is refused, as far as anybody but the server knows."""


class Source(NamedTuple):
    """What gives the `Authorization` header, in words for people: `what` was refused, and how to `mend` that."""

    what: str
    mend: str


class Token:
    """One bearer token. Compared by identity: a command that prints the same text again has made another token.

    `expires` and `renew_at` are seconds of the wall clock, None where nothing is known: then it is good until a 401.
    """

    def __init__(self, value: str, *, expires: float | None = None, renew_at: float | None = None) -> None:
        self.value = value
        self.expires = expires
        self.renew_at = renew_at

    def is_stale(self, now: float) -> bool:
        """Whether another one is wanted."""
        return self.renew_at is not None and now >= self.renew_at

    def is_good(self, now: float) -> bool:
        """Whether it has not expired, as far as is known."""
        return self.expires is None or now < self.expires


class Printed(NamedTuple):
    """What a command printed: a token, and when it expires (wall clock) where it says so."""

    token: str
    expires: float | None


def renewal(expires: float | None, now: float, *, short: bool) -> float | None:
    """Return when a token should be renewed: 30 s before it expires; where `short`, after 80 % of what is left of its
    life, if that comes later. None: not before a 401, as nothing is known, or this machine's clock is of no use."""
    if expires is None:
        return None
    if not short:
        return expires - RENEW_SECONDS
    left = expires - now
    return expires - min(RENEW_SECONDS, left * SHARE) if left > 0 else None


def bearer_token(text: str) -> str:
    """Return the token in this text: white space around it, a byte order mark and `Bearer ` before it are tolerated.

    Raises `ValueError`; its text is a phrase for people, without anything of the token.
    """
    text = text.removeprefix("\ufeff").strip()
    scheme, _, rest = text.partition(" ")
    if scheme.lower() == "bearer":
        text = rest.strip()
    if not text:
        raise ValueError("there is nothing in it")
    if len(text.splitlines()) > 1:
        raise ValueError("there is more than one line in it")
    if " " in text or "\t" in text:
        raise ValueError("there is a blank within it")
    if not _VISIBLE.fullmatch(text):
        raise ValueError("there are characters in it that no token has")
    return text


def read_printed(text: str, now: float) -> Printed:
    """Read what a command printed: a token alone, or a JSON object that has one. Raises `ValueError` as above.

    Understood are `access_token`, `accessToken`, `token`, `id_token` (also within `status`, as kubectl's credential
    plugins write it) with `expires_in`, `expires_on`, `expiry`, `expirationTimestamp`... Of these and the token's own
    `exp` the earliest counts.
    """
    plain = text.removeprefix("\ufeff").strip()
    if plain[:1] not in ("{", '"'):
        token = bearer_token(plain)
        return Printed(token, expiry_of(token))
    try:
        document = json.loads(plain)
    except (ValueError, RecursionError):
        raise ValueError("it begins like JSON, and is none") from None
    if isinstance(document, str):
        document = {"token": document}
    fields = {**document, **document["status"]} if isinstance(document.get("status"), dict) else document
    found = next((fields[name] for name in _TOKEN_NAMES if isinstance(fields.get(name), str)), None)
    if found is None:
        raise ValueError(f"there is no {', '.join(_TOKEN_NAMES[:-1])} or {_TOKEN_NAMES[-1]} in the JSON object")
    token = bearer_token(found)
    times = [expiry_of(token), *(_time(fields.get(name)) for name in _TIME_NAMES)]
    seconds = _number(fields.get("expires_in"))
    if seconds is not None:
        times.append(now + seconds)
    return Printed(token, min((time for time in times if time is not None), default=None))


def expiry_of(token: str) -> float | None:
    """Return the `exp` of a JSON Web Token; None where it has none, or the token is of another kind."""
    claims = _claims(token)
    return None if claims is None else _number(claims.get("exp"))


def _claims(token: str) -> dict[str, Any] | None:
    """Return what a JSON Web Token claims, unverified; None for a token of another kind."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def account_of(value: str) -> str:
    """Return what names the account behind the value of a header, and stays the same when its token is renewed.

    For a JSON Web Token with a subject that is issuer, subject and client; for anything else the value itself.
    """
    scheme, _, token = value.strip().rpartition(" ")
    claims = _claims(token)
    if claims is None or not isinstance(claims.get("sub"), str) or not claims["sub"]:
        return value
    names = ("iss", "sub", "aud", "azp", "client_id", "tid", "org_id")
    return json.dumps([scheme, {name: claims[name] for name in names if name in claims}], sort_keys=True)


def claim_value(text: str) -> Any:
    """Return the value of a claim: JSON where it is JSON, else the text itself."""

    def reject(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(text, parse_constant=reject)
    except (ValueError, RecursionError):
        return text


def _number(value: object) -> float | None:
    """Return a number of seconds; some tools write it as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _time(value: object) -> float | None:
    """Return a point in time: seconds since 1970, or RFC 3339 with its offset (without one it would be a guess)."""
    number = _number(value)
    if number is not None or not isinstance(value, str):
        return number
    found = _TIME.fullmatch(value.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(found.group(at)) for at in range(1, 7))
    offset = 0
    if found.group(8):
        offset = (int(found.group(9)) * 60 + int(found.group(10))) * (60 if found.group(8) == "+" else -60)
    return float(days.since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset)
