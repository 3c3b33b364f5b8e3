"""A trust server in memory, honest until a test tells it to lie; and what a client asked of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from engine.content_trust.server import TrustServer
from engine.content_trust.updating import Updater
from tests.trust.tuf.kit import GUN, NOW, Repository
from trust.tuf.cache import MetadataCache
from trust.tuf.errors import NoTrustDataError
from trust.tuf.pinning import Pins
from trust.tuf.trusted import TRUST_ON_FIRST_USE, TrustedSet


@dataclass
class Simulator(TrustServer):
    """Serves a ``Repository``. ``lies`` replace answers by name: a role, ``role.hash`` or root."""

    repository: Repository
    lies: dict[str, bytes] = field(default_factory=dict)
    everything: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    gun: str = GUN
    offers_set: bool = False

    async def current(self, role: str) -> bytes:
        return self._answer(role, self.repository.files.get(role))

    async def hashed(self, role: str, sha256: str, length: int) -> bytes:
        for data in (*self.repository.files.values(), *self.everything.values()):
            if hashlib.sha256(data).hexdigest() == sha256:
                return self._answer(role, data)
        return self._answer(role, None)

    async def current_set(self) -> dict[str, bytes]:
        self.requests.append("set")
        names = ("timestamp", "snapshot", "targets", "targets/releases")
        return {role: self.lies.get(role, self.repository.files[role]) for role in names}

    async def root(self, version: int) -> bytes:
        return self._answer(f"{version}.root", self.repository.roots.get(version))

    def _answer(self, name: str, data: bytes | None) -> bytes:
        self.requests.append(name)
        answer = self.lies.get(name, data)
        if answer is None:
            raise NoTrustDataError(f"no {name}")
        return answer


@dataclass
class Reader:
    """A client with a cache of its own."""

    server: Simulator
    folder: Path
    pins: Pins = TRUST_ON_FIRST_USE
    now: datetime = NOW

    @property
    def cache(self) -> MetadataCache:
        return MetadataCache(self.folder, GUN)

    async def update(self, *, everything: bool = False) -> TrustedSet:
        self.server.requests.clear()
        updater = Updater(self.server, self.cache, self.pins, lambda: self.now)
        return await updater.update(everything=everything)

    def snapshot(self) -> dict[str, bytes]:
        """Every file of the cache."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)
