"""Revocation (RFC 7009)."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_remote_py.core.errors import Fault, Unreachable
from mcp_remote_py.core.oauth import revocation
from mcp_remote_py.core.oauth.steps import Fetched
from mcp_remote_py.core.oauth.tokens import Party
from tests.mcp_remote_py.core.oauth.playing import Played
from tests.mcp_remote_py.core.oauth.world import REVOKE, World, a_grant, fields, header

DONE = Fetched(200)


def revoke(answer: Any = DONE, **changes: Any) -> Played[bool]:
    world = World()
    world.answers[REVOKE] = answer
    return world.play(revocation.revoke(a_grant(**changes), world.knowing.senses))


def test_the_refresh_token_goes_first_and_then_the_access_token() -> None:
    played = revoke()
    assert played.result is True
    assert [fields(fetch) for fetch in played.fetches] == [
        {"token": "rt-old", "token_type_hint": "refresh_token", "client_id": "client-1"},
        {"token": "at-old", "token_type_hint": "access_token", "client_id": "client-1"},
    ]
    assert {fetch.url for fetch in played.fetches} == {REVOKE}


def test_a_client_with_a_secret_shows_it() -> None:
    played = revoke(party=Party("mine", "s3cret-one", "client_secret_basic"), refresh_token=None)
    assert (header(played.fetches[0], "Authorization") or "").startswith("Basic ")


@pytest.mark.parametrize("endpoint", [None, "http://as.example.com/revoke", "file:///etc/passwd"])
def test_without_a_usable_endpoint_nobody_is_told(endpoint: str | None) -> None:
    played = revoke(revocation_endpoint=endpoint)
    assert played.result is False
    assert played.fetches == []


@pytest.mark.parametrize("answer", [Fetched(400), Fetched(503), Fetched(307), [DONE, Fetched(400)]])
def test_a_server_that_does_not_revoke_all_is_not_believed_to_have(answer: Any) -> None:
    played = revoke(answer)
    assert played.result is False
    assert len(played.fetches) == 2
    assert any("did not revoke" in line for line in played.lines)


def test_a_server_that_cannot_be_reached_stops_nothing() -> None:
    fault: Fault = Unreachable("no network")
    played = revoke(fault)
    assert played.result is False
    assert any("no network" in line for line in played.lines)


def test_an_id_token_is_not_sent_as_an_access_token() -> None:
    played = revoke(access_token="it", id_token="it")
    assert [fields(fetch)["token"] for fetch in played.fetches] == ["rt-old"]
