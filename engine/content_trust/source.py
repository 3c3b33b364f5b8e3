"""Where an update reads from: a trust server, or answers that are here already."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol


class Source(Protocol):
    """Where trust data comes from; see ``TrustServer``."""

    gun: str
    offers_set: bool

    async def current(self, role: str) -> bytes:
        """The newest bytes of a role; raises ``NoTrustDataError``."""
        ...

    async def current_set(self) -> dict[str, bytes]:
        """What a first look needs after the root, by role."""
        ...

    async def hashed(self, role: str, sha256: str, length: int) -> bytes:
        """The bytes of a role that a signed parent names; raises likewise."""
        ...

    async def root(self, version: int) -> bytes:
        """One version of the root; raises likewise."""
        ...


class Prefetched:
    """A server whose first answers are here already; what is not is asked for."""

    def __init__(self, server: Source, files: Mapping[str, bytes]) -> None:
        self._server = server
        self._files = files
        self.gun = server.gun
        self.offers_set = False

    async def current_set(self) -> dict[str, bytes]:
        """See ``TrustServer.current_set``."""
        return dict(self._files)

    async def current(self, role: str) -> bytes:
        """See ``TrustServer.current``."""
        return self._files[role] if role in self._files else await self._server.current(role)

    async def hashed(self, role: str, sha256: str, length: int) -> bytes:
        """See ``TrustServer.hashed``."""
        data = self._files.get(role)
        if data is not None and hashlib.sha256(data).hexdigest() == sha256:
            return data
        return await self._server.hashed(role, sha256, length)

    async def root(self, version: int) -> bytes:
        """See ``TrustServer.root``."""
        return await self._server.root(version)
