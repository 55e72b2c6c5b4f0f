"""Client authentication: what is shown, in which form, and that it is learnt first."""

from __future__ import annotations

import base64

import pytest

from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.core.oauth import client_auth
from mcp_remote_py.core.oauth.client_auth import Shown
from mcp_remote_py.core.oauth.steps import Sign
from mcp_remote_py.core.oauth.tokens import Party
from tests.mcp_remote_py.core.oauth.playing import Knowing, play


def shown(party: Party, knowing: Knowing | None = None) -> Shown:
    flow = client_auth.show(party, "https://as.example.com", ("ES256",), (knowing or Knowing()).senses)
    return play(flow, {}, others={Sign: lambda step: f"jwt of {step.claims['jti']}"}).result


def test_a_public_client_says_its_name() -> None:
    assert shown(Party("mine")) == Shown(fields=(("client_id", "mine"),))


def test_nobody_says_nothing() -> None:
    assert shown(Party("")) == Shown()


def test_a_public_client_does_not_show_a_secret_that_came_with_its_registration() -> None:
    assert "s3cret" not in str(shown(Party("mine", "s3cret", "none")))


def test_the_body_has_the_secret() -> None:
    assert shown(Party("mine", "s3 cret", "client_secret_post")).fields[1] == ("client_secret", "s3 cret")


@pytest.mark.parametrize(
    ("client_id", "secret", "pair"),
    [
        ("mine", "s3cret", "mine:s3cret"),
        ("a:b", "c d+e&f%g", "a%3Ab:c+d%2Be%26f%25g"),
        ("ü", "→", "%C3%BC:%E2%86%92"),
        ("https://c.example/client", "s", "https%3A%2F%2Fc.example%2Fclient:s"),
    ],
)
def test_basic_encodes_id_and_secret_before_it_joins_them(client_id: str, secret: str, pair: str) -> None:
    knowing = Knowing()
    found = shown(Party(client_id, secret, "client_secret_basic"), knowing)
    ((name, content),) = found.headers
    assert (name, base64.b64decode(content.removeprefix("Basic ")).decode()) == ("Authorization", pair)
    assert found.fields == ()
    assert {secret, content} <= set(knowing.learnt)


def test_every_assertion_is_another_one() -> None:
    knowing = Knowing()
    party = Party("mine", None, "private_key_jwt")
    first, second = (dict(shown(party, knowing).fields)["client_assertion"] for _ in range(2))
    assert first != second
    assert {first, second} <= set(knowing.learnt)


def test_a_secret_that_is_missing_is_asked_for() -> None:
    with pytest.raises(SignInNeeded, match="client_secret_basic has no secret"):
        shown(Party("mine", None, "client_secret_basic"))
