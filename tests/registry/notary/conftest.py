"""The trust service on a folder of its own, and publishers with keys in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from registry.notary.service import Notary
from tests.trust.tuf.kit import GUN, MANIFEST, NOW, key
from trust.tuf import roles
from trust.tuf.draft import Draft
from trust.tuf.keys import Key, Signer, parse_key
from trust.tuf.trusted import TrustedSet


@dataclass
class Clock:
    """A clock that tests move."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **span: float) -> None:
        self.now += timedelta(**span)


@dataclass
class Publisher:
    """A client of one service: signs with keys in memory, reads back what it may believe."""

    notary: Notary
    gun: str = GUN
    names: list[str] = field(default_factory=lambda: ["root", "targets", "alice", "root-2"])

    def ring(self, public: Key) -> Signer | None:
        return next((key(name) for name in self.names if key(name).key == public), None)

    def server_key(self, role: str) -> Key:
        return parse_key(self.notary.key(self.gun, role), limit=1 << 16)

    def first(self) -> Draft:
        draft = Draft.new(
            self.gun,
            root=[key("root").key],
            targets=key("targets").key,
            snapshot=self.server_key("snapshot"),
            timestamp=self.server_key("timestamp"),
            now=self.notary.now(),
        )
        alice = key("alice").key
        for role in ("targets/alice", roles.RELEASES):
            draft = draft.delegate(role, add=[alice]).add_target(role, "latest", MANIFEST)
        return draft

    def sign(self, draft: Draft) -> dict[str, bytes]:
        return draft.sign(self.ring, now=self.notary.now())

    def publish(self, draft: Draft) -> dict[str, bytes]:
        made = self.sign(draft)
        self.notary.publish(self.gun, made)
        return made

    def read(self) -> TrustedSet:
        """A fresh client's view, everything loaded."""
        current = {role: self.notary.current(self.gun, role).data for role in ("root", "timestamp")}
        found = TrustedSet.begin(self.gun, current["root"], now=self.notary.now())
        found = found.with_timestamp(current["timestamp"])
        found = found.with_snapshot(self._promised(found, "snapshot"))
        assert found.root_agrees()
        found = found.with_targets("targets", self._promised(found, "targets"))
        for delegation in found.targets["targets"].delegations:
            if found.names(delegation.name):
                found = found.with_targets(delegation.name, self._promised(found, delegation.name))
        return found

    def draft(self) -> Draft:
        return Draft.of(self.read())

    def at(self, gun: str) -> Publisher:
        return replace(self, gun=gun)

    def _promised(self, trusted: TrustedSet, role: str) -> bytes:
        return self.notary.by_hash(self.gun, role, trusted.promise(role).sha256).data


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def notary(tmp_path: Path, clock: Clock) -> Notary:
    return Notary.open(tmp_path / "notary", environ={}, now=clock)


@pytest.fixture
def publisher(notary: Notary) -> Publisher:
    """A publisher whose first trust data is published."""
    found = Publisher(notary)
    found.publish(found.first())
    return found
