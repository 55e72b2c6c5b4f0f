"""What one process knows of the tokens when another one has got others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jwt

from mcp_remote_py.auth.authorizer import Authorizer
from mcp_remote_py.auth.signing import dpop_name
from mcp_remote_py.auth.store import Store, open_store
from mcp_remote_py.core.oauth import dpop, names, tokens
from mcp_remote_py.core.oauth.tokens import Grant, Party
from mcp_remote_py.settings import Settings, Target

URL = "https://mcp.example.com/mcp"


def ignore(_: str) -> None:
    """No secret is logged here."""


def keep(store: Store, access_token: str) -> None:
    grant = Grant("https://auth.example.com", URL, Party("me"), "https://auth.example.com/token", access_token, "DPoP")
    name = names.tokens(grant.issuer, grant.resource, "me")
    store.write(name, tokens.to_document(grant))
    store.write(names.server(URL), {"form": 1, "url": URL, "issuer": grant.issuer, "tokens": name})


def key_of(authorizer: Authorizer) -> Any:
    proof = authorizer.signer().sign(dpop.sign(dpop.proof_claims("POST", URL, now=1.0, jti="one")))
    return jwt.get_unverified_header(proof)["jwk"]


async def test_tokens_that_another_process_got_are_shown_with_the_key_that_it_made_for_them(tmp_path: Path) -> None:
    settings = Settings(Target(URL), home=str(tmp_path))
    store = open_store("file", str(tmp_path), ignore)
    keep(store, "first")
    running, other = Authorizer(settings, ignore), Authorizer(settings, ignore)
    assert await running.current() is not None
    first = key_of(running)
    store.write(dpop_name(URL), None)  # as `logout` does
    second = key_of(other)
    assert second != first
    keep(store, "second")
    grant = await running.reread()
    assert grant is not None
    assert grant.access_token == "second"
    assert key_of(running) == second
