"""Users, credentials and tokens for tests of who may do what."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import bcrypt

from registry.access.settings import Right, RuleSettings
from tests.registry.kit import Answer, Client


@dataclass
class FakeCaller:
    """A caller without a request."""

    authorization: str | None = None
    address: str = "192.0.2.1"
    hosts: tuple[str, ...] = ("localhost",)
    origin: str = "http://localhost"
    certificate: bytes | None = None
    led_here: bool = False


def users_file(path: Path, *users: str) -> Path:
    """An htpasswd file; each user's password is the name twice."""
    lines = [
        user.encode() + b":" + bcrypt.hashpw(user.encode() * 2, bcrypt.gensalt(4)) for user in users
    ]
    path.write_bytes(b"# people\n" + b"\n".join(lines) + b"\n")
    return path


def basic(user: str, password: str | None = None) -> dict[str, str]:
    secret = user * 2 if password is None else password
    token = base64.b64encode(f"{user}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def rule(repositories: str, actions: str, **who: Any) -> RuleSettings:
    rights = tuple(Right(action) for action in actions.split(","))
    return RuleSettings(repositories=tuple(repositories.split()), actions=rights, **who)


async def ask_token(
    client: Client, *scopes: str, headers: dict[str, str] | None = None, **query: str
) -> Answer:
    """GET a token."""
    pairs = [("service", "lading"), *query.items(), *(("scope", scope) for scope in scopes)]
    path = f"/auth/token?{urlencode(pairs)}"
    return await client.send("GET", path, headers=headers)


async def token_for(client: Client, user: str, *scopes: str) -> dict[str, str]:
    """The header with a token of ``user`` ("" is nobody) for ``scopes``."""
    answer = await ask_token(client, *scopes, headers=basic(user) if user else None)
    assert answer.status == 200, answer
    return bearer(answer.json["token"])


async def post_form(client: Client, fields: Iterable[tuple[str, str]]) -> Answer:
    """POST a form to the token server."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return await client.send(
        "POST", "/auth/token", data=urlencode(list(fields)).encode(), headers=headers
    )
