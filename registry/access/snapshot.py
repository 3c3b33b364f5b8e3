"""Users, robots, rules and keys as they are at one moment, and how it is noticed that they changed.

A snapshot is replaced, never altered. A file that cannot be used leaves its former content in place
and a line in the log; a registry that once asked for credentials goes on asking.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from images.errors import ImagesError
from records import Record
from registry.access.denials import load_denials
from registry.access.identity import Identity, Kind
from registry.access.keys import KeyRing, load_ring
from registry.access.passwords import fingerprint, load_htpasswd, refuse_known_passwords
from registry.access.policy import Policy, Rights
from registry.access.robots import Robot, load_robots
from registry.access.settings import AccessSettings
from registry.smallfiles import Signature, SmallFile, settled, signature
from registry.sql.errors import DatabaseError
from registry.sql.stores import Stores

log = logging.getLogger("registry")

T = TypeVar("T")

FOLDER: Final = "access"


class Places(Record):
    """Where things are kept: below the root of a registry, or where its replicas share them."""

    root: SmallFile
    settings: AccessSettings
    stores: Stores | None = None

    @property
    def users(self) -> SmallFile:
        """The htpasswd file."""
        return self.settings.htpasswd or self.root / FOLDER / "htpasswd"

    @property
    def robots(self) -> SmallFile:
        """Robot accounts."""
        return self.root / FOLDER / "robots.json"

    @property
    def keys(self) -> SmallFile:
        """The folder of keys that sign tokens."""
        return self.root / FOLDER / "keys"

    @property
    def checked_passwords(self) -> SmallFile:
        """Which administrators' passwords were found good."""
        return self.root / FOLDER / "checked.json"

    @property
    def denials(self) -> SmallFile:
        """Who is not let in any more."""
        return self.root / FOLDER / "denied"

    @property
    def shared(self) -> bool:
        """Whether they are in the database of several replicas, so that a look at them blocks."""
        return not isinstance(self.root, Path)

    @property
    def refresh_tokens(self) -> Path:
        """The store of refresh tokens; that of people's access tokens is beside it."""
        folder = self.root if isinstance(self.root, Path) else Path()
        return folder / FOLDER / "tokens.db"

    def may_have(self, store: Path) -> bool:
        """Whether there may be anything in this store."""
        return self.shared or store.exists()

    def watched(self) -> tuple[str | SmallFile, ...]:
        """What a change is looked for in."""
        if not isinstance(self.root, Path):
            folder = self.root / FOLDER
            configured = self.settings.htpasswd
            return (folder,) if configured is None else (str(configured), folder)
        return (str(self.users), str(self.robots), str(self.keys), str(self.denials))


class Snapshot(Record):
    """All that decides; ``ring`` is None while nobody needs credentials."""

    places: Places
    users: Mapping[str, bytes]
    robots: Mapping[str, Robot]
    denials: frozenset[str]
    policy: Policy
    ring: KeyRing | None
    watched: tuple[str | SmallFile, ...]
    signatures: tuple[Signature, ...]
    settled: bool

    @property
    def required(self) -> bool:
        """Whether callers have to say who they are."""
        return self.ring is not None

    def stale(self, now: float) -> bool:
        """Whether something changed, or the signing key is due; blocks where they are shared."""
        if not self.settled or self.signatures != tuple(map(signature, self.watched)):
            return True
        tokens = self.places.settings.tokens
        if self.ring is None or tokens.key is not None:
            return False
        return now - self.ring.signer.created >= tokens.key_lifetime

    def credential(self, identity: Identity, now: float) -> str | None:
        """The fingerprint of what proves this identity now; None when nothing does any more."""
        if self.denials and str(identity) in self.denials:
            return None
        if identity.kind is Kind.USER:
            stored = self.users.get(identity.name)
            return None if stored is None else fingerprint(stored)
        if identity.kind is Kind.ROBOT:
            robot = self.robots.get(identity.name)
            return None if robot is None or not robot.valid(now) else robot.secret[:16]
        if identity.kind is Kind.OUTSIDE:
            return self.places.settings.fingerprint_of(identity.source)
        return ""

    def ends(self, identity: Identity) -> float:
        """When the identity itself is over, seconds since the epoch."""
        robot = self.robots.get(identity.name) if identity.kind is Kind.ROBOT else None
        return float("inf") if robot is None or robot.expires is None else robot.expires

    def rights(self, identity: Identity) -> Rights:
        """What the rules say about a caller."""
        robot = self.robots.get(identity.name) if identity.kind is Kind.ROBOT else None
        return self.policy.rights(identity, own=() if robot is None else robot.permissions)


def take_snapshot(places: Places, *, now: float, previous: Snapshot | None = None) -> Snapshot:
    """Read everything; blocks. With ``previous``, what cannot be used stays as it was.

    Raises:
        RegistryConfigError, RegistryStartError: without ``previous``, something cannot be used.
    """
    # Signatures first: what changes while it is read is read again.
    watched = places.watched()
    signatures = tuple(map(signature, watched))
    quiet = all(settled(one, time.time_ns()) for one in signatures)
    policy = Policy(places.settings)
    old = previous or _Nothing()
    users = _kept(partial(_users, places, policy), old.users)
    robots = _kept(partial(_robots, places), old.robots)
    denials = _kept(partial(load_denials, places.denials), old.denials)
    ring = old.ring
    if ring is not None or asks_for_credentials(places, robots):
        ring = _kept(partial(load_ring, places.keys, places.settings.tokens, now=now), ring)
    return Snapshot(places, users, robots, denials, policy, ring, watched, signatures, quiet)


class _Nothing(Record):
    """What was there before the first snapshot."""

    users: Mapping[str, bytes] | None = None
    robots: Mapping[str, Robot] | None = None
    denials: frozenset[str] | None = None
    ring: KeyRing | None = None


def asks_for_credentials(places: Places, robots: Mapping[str, Robot]) -> bool:
    """Whether there is anything that tells callers apart."""
    settings = places.settings
    configured = settings.htpasswd or settings.anonymous_pull or settings.rules or settings.sources
    return bool(configured or robots or places.users.exists())


def _users(places: Places, policy: Policy) -> Mapping[str, bytes]:
    if places.settings.htpasswd is None and not places.users.exists():
        return {}
    users = load_htpasswd(places.users)
    refuse_known_passwords(
        users,
        policy.administrators(),
        checked=places.checked_passwords,
        where=str(places.users),
    )
    return users


def _robots(places: Places) -> Mapping[str, Robot]:
    return load_robots(places.robots)


def _kept(load: Callable[[], T], previous: T | None) -> T:
    """What ``load`` returns, or ``previous`` when it fails and there is one."""
    try:
        return load()
    except DatabaseError:
        # It says nothing of the content, which is to be read as soon as that is possible.
        raise
    except ImagesError as error:
        if previous is None:
            raise
        log.error("kept what was in force before: %s", error)  # noqa: TRY400 -- the sentence is enough
        return previous
