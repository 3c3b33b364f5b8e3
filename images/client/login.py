"""Proving credentials to a registry, as ``docker login`` does.

Docker registry v2 token specification: a token server may hand out a refresh token to be stored in
place of the password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from images.client.errors import Target
from images.client.request import Repository, Request
from records import replace

if TYPE_CHECKING:
    from images.client.transport import Transport
    from images.credentials import Credentials


class _Fixed:
    """A credential source that knows one answer."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def get(self, registry: str, repository: str = "") -> Credentials | None:
        return self._credentials


async def login(transport: Transport, registry: str, credentials: Credentials) -> Credentials:
    """Ask ``registry`` for /v2/ with ``credentials``; returns what is worth storing.

    Raises:
        UnauthorizedError: they are refused.
    """
    trial = transport.with_credentials(_Fixed(credentials))
    repository = Repository(registry)
    target = Target(registry, registry, "login")
    async with trial.send(Request("GET", repository, "/v2/", target)):
        pass
    token = await trial.refresh_token(repository)
    if token is None:
        return credentials
    return replace(credentials, password="", identity_token=token)
