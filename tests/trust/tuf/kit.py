"""A repository of trust data in memory, with every key: what an honest server would serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from trust.tuf import roles
from trust.tuf.draft import LIFETIMES, Draft
from trust.tuf.keys import Key, Signer
from trust.tuf.metadata import FileMeta, Listing, sign
from trust.tuf.trusted import TrustedSet

GUN = "registry.example.com/lib/app"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MANIFEST = FileMeta.of(b"a manifest")


@cache
def key(name: str) -> Signer:
    """A key that stays the same during a test run; ``root...`` ones are certificates."""
    made = Signer.generate()
    if name.startswith("root"):
        return made.certified(GUN, start=NOW - DAY, end=NOW + 3650 * DAY)
    return made


@dataclass
class Repository:
    """Published trust data. ``files`` is what a server has by role, ``roots`` by version."""

    ring: dict[str, Signer] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    roots: dict[int, bytes] = field(default_factory=dict)
    draft: Draft | None = None
    timestamp: str = "timestamp"

    @classmethod
    def create(cls, *, root: tuple[str, ...] = ("root",), threshold: int = 1) -> Repository:
        repository = cls()
        repository.draft = Draft.new(
            GUN,
            root=[repository.key(name) for name in root],
            targets=repository.key("targets"),
            snapshot=repository.key("snapshot"),
            timestamp=repository.key("timestamp"),
            now=NOW,
            threshold=threshold,
        )
        return repository

    def key(self, name: str) -> Key:
        signer = key(name)
        self.ring[signer.key.id] = signer
        return signer.key

    def publish(self, draft: Draft | None = None, *, now: datetime = NOW) -> dict[str, bytes]:
        """Sign and serve; returns what was uploaded."""
        made = (draft or self.draft).sign(lambda public: self.ring.get(public.id), now=now)
        self.serve(made, now=now)
        return made

    def serve(self, made: Mapping[str, bytes], *, now: datetime = NOW) -> None:
        self.files.update(made)
        self.files[roles.TIMESTAMP] = self.stamp(now=now)
        if roles.ROOT in made:
            self.roots[len(self.roots) + 1] = made[roles.ROOT]
        self.draft = Draft.of(self.trusted(now=now))

    def stamp(self, *, now: datetime = NOW, **changes: Any) -> bytes:
        """A new timestamp over the snapshot that is served."""
        version = 1
        if roles.TIMESTAMP in self.files:
            from trust.tuf.metadata import Envelope

            version = (
                Envelope.parse(self.files["timestamp"], role="timestamp").signed["version"] + 1
            )
        listing = Listing(
            changes.get("version", version),
            changes.get("expires", now + LIFETIMES[roles.TIMESTAMP]),
            {roles.SNAPSHOT: FileMeta.of(changes.get("snapshot", self.files[roles.SNAPSHOT]))},
        )
        return sign(listing.to_json("Timestamp"), [key(self.timestamp)])

    def trusted(self, *, now: datetime = NOW) -> TrustedSet:
        """What a first client would believe."""
        found = TrustedSet.begin(GUN, self.files[roles.ROOT], now=now)
        return load(found, self.files)


def load(trusted: TrustedSet, files: Mapping[str, bytes]) -> TrustedSet:
    """Believe everything below the root."""
    trusted = trusted.with_timestamp(files[roles.TIMESTAMP]).with_snapshot(files[roles.SNAPSHOT])
    trusted = trusted.with_targets(roles.TARGETS, files[roles.TARGETS])
    waiting = list(trusted.targets[roles.TARGETS].delegations)
    for delegation in waiting:
        if trusted.names(delegation.name):
            trusted = trusted.with_targets(delegation.name, files[delegation.name])
            waiting.extend(trusted.targets[delegation.name].delegations)
    return trusted


def signed_repository() -> Repository:
    """``latest`` released by alice, in a repository as ``docker trust sign`` makes it."""
    repository = Repository.create()
    alice = repository.key("alice")
    draft = repository.draft.delegate("targets/alice", add=[alice])
    draft = draft.delegate(roles.RELEASES, add=[alice])
    for role in ("targets/alice", roles.RELEASES):
        draft = draft.add_target(role, "latest", MANIFEST)
    repository.publish(draft)
    return repository
