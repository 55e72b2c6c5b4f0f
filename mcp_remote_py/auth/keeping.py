"""Keeping: what holds for every place where documents of a sign-in are kept: their names, secrets and folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

from mcp_remote_py.core.oauth.steps import Document
from mcp_remote_py.state import private_folder

Learn = Callable[[str], None]
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_SECRET = frozenset(["access_token", "refresh_token", "id_token", "client_secret", "d"])
"""Members that hold secrets, at any depth; `d` is the private part of a JWK. What a sign-in under way has drawn is not
among them: its `state` stands in the URL that a person has to read in the log, and the flow learns the rest itself."""


def make_folder(folder: str) -> None:
    """Make it and the one above it, which may serve others, too, for us alone. Raises `OSError`."""
    os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
    private_folder(folder)


def is_name(name: str) -> bool:
    """Whether a document may be kept under this name."""
    return _NAME.fullmatch(name) is not None


def checked(name: str) -> str:
    """Return a name that cannot lead to another folder. Raises `ValueError`."""
    if not is_name(name):
        raise ValueError("no name for a document of the store")
    return name


def learn_secrets(document: Document, learn: Learn) -> None:
    """Tell `learn` all secrets of a document."""
    for secret in _secrets(document):
        learn(secret)


def _secrets(value: object, *, is_secret: bool = False) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _secrets(inner, is_secret=name in _SECRET)
    elif isinstance(value, list):
        for inner in value:
            yield from _secrets(inner, is_secret=is_secret)
    elif is_secret and isinstance(value, str) and value:
        yield value
