"""Publishing: trust data that is being changed, as values; signing it makes what is uploaded.

A ``Draft`` is made new or from a trusted set; each change returns another draft and marks the roles
it touched. ``sign`` raises versions, sets dates and signs the touched roles with the keys at hand.
The timestamp is always the server's, the snapshot is unless its key is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Self

from trust.errors import KeyFileError
from trust.tuf import roles
from trust.tuf.errors import MissingKeyError, PublishError
from trust.tuf.keys import Key, Signer
from trust.tuf.metadata import (
    Delegation,
    FileMeta,
    Listing,
    RoleKeys,
    Root,
    Targets,
    sign,
)
from trust.tuf.trusted import TrustedSet

YEAR: Final = timedelta(days=365)
LIFETIMES: Final[Mapping[str, timedelta]] = {
    roles.ROOT: 10 * YEAR,
    roles.TARGETS: 3 * YEAR,
    roles.SNAPSHOT: 3 * YEAR,
    roles.TIMESTAMP: timedelta(days=14),
}
"""notary's; delegations live as long as targets."""

RENEW: Final = timedelta(days=180)
"""A root that would expire sooner is signed again by the next publish, as notary does."""

KeyRing = Callable[[Key], Signer | None]
"""Finds the private key of a public one; None when it is not here."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Trust data under change. ``old_root_keys`` must still sign a root they are rotated out of."""

    gun: str
    root: Root
    targets: Mapping[str, Targets]
    snapshot: Listing | None = None
    dirty: frozenset[str] = frozenset()
    old_root_keys: tuple[Key, ...] = ()
    old_root_threshold: int = 0
    raw: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def new(
        cls,
        gun: str,
        *,
        root: Iterable[Key],
        targets: Key,
        snapshot: Key,
        timestamp: Key,
        now: datetime,
        threshold: int = 1,
    ) -> Self:
        """The first trust data of a repository; ``root`` are certificates.

        Raises:
            PublishError: the threshold cannot be met.
        """
        root_keys = tuple(root)
        _meetable(threshold, root_keys)
        keys = {key.id: key for key in (*root_keys, targets, snapshot, timestamp)}
        who = {
            roles.ROOT: RoleKeys(tuple(key.id for key in root_keys), threshold),
            roles.TARGETS: RoleKeys((targets.id,)),
            roles.SNAPSHOT: RoleKeys((snapshot.id,)),
            roles.TIMESTAMP: RoleKeys((timestamp.id,)),
        }
        return cls(
            gun,
            Root(0, now, keys, who),
            {roles.TARGETS: Targets(0, now)},
            dirty=frozenset({roles.ROOT, roles.TARGETS}),
        )

    @classmethod
    def of(cls, trusted: TrustedSet) -> Self:
        """Published trust data, to be changed."""
        return cls(
            trusted.gun,
            trusted.root,
            {**trusted.lapsed, **trusted.targets},
            trusted.snapshot,
            raw={role: raw for role, raw in trusted.raw.items() if role != roles.TIMESTAMP},
        )

    def add_target(self, role: str, name: str, meta: FileMeta) -> Self:
        """Sign ``name`` by ``role``.

        Raises:
            PublishError: no such role, or the name is outside its paths.
        """
        delegation = self.delegation(role)
        if delegation is not None and not roles.allows(delegation.paths, name):
            raise PublishError(f"{role} may not sign {name}", where=self.gun)
        old = self._editable(role)
        return self._with(role, replace(old, targets={**old.targets, name: meta}))

    def remove_target(self, role: str, name: str) -> Self:
        """Take ``name`` from ``role``; it need not be there."""
        old = self._editable(role)
        if name not in old.targets:
            return self
        kept = {other: meta for other, meta in old.targets.items() if other != name}
        return self._with(role, replace(old, targets=kept))

    def delegate(
        self,
        name: str,
        *,
        add: Iterable[Key] = (),
        remove: Iterable[str] = (),
        paths: Iterable[str] | None = None,
        threshold: int | None = None,
    ) -> Self:
        """Create or change the delegation ``name``.

        ``remove`` are key ids, of certificates or of the bare keys in them. ``paths`` replace those
        that are there; a new delegation gets everything.

        Raises:
            PublishError: a bad name, no parent, or a threshold that its keys cannot meet.
        """
        if not roles.is_delegation(name):
            raise PublishError(
                f"{name!r} cannot be a delegation", fix="write targets/ and then a-z 0-9 - _"
            )
        parent = self._editable(roles.parent(name))
        old = parent.delegation(name) or Delegation(name, RoleKeys(()))
        gone = set(remove)
        keys = {key.id: key for key in add}
        dropped = {i for i in old.who.key_ids if gone & {i, _bare_id(parent.keys[i])}}
        ids = tuple(dict.fromkeys([*(i for i in old.who.key_ids if i not in dropped), *keys]))
        wanted = threshold or min(old.who.threshold, len(ids)) or 1
        known = {**parent.keys, **keys}
        _meetable(wanted, [known[i] for i in ids])
        changed = Delegation(
            name, RoleKeys(ids, wanted), old.paths if paths is None else tuple(paths)
        )
        rows = tuple(r for r in parent.delegations if r.name != name)
        return self._with(
            roles.parent(name), _pruned(replace(parent, keys=known, delegations=(*rows, changed)))
        )

    def undelegate(self, name: str) -> Self:
        """Take a delegation away, with all that is below it; it need not be there."""
        parent = self.targets.get(roles.parent(name))
        if parent is None or parent.delegation(name) is None:
            return self
        rows = tuple(role for role in parent.delegations if role.name != name)
        draft = self._with(roles.parent(name), _pruned(replace(parent, delegations=rows)))
        gone = {role for role in self.targets if role == name or role.startswith(f"{name}/")}
        return replace(
            draft,
            targets={role: t for role, t in draft.targets.items() if role not in gone},
            snapshot=None if draft.snapshot is None else _without(draft.snapshot, gone),
            dirty=draft.dirty - gone,
            raw={role: raw for role, raw in draft.raw.items() if role not in gone},
        )

    def rotate(self, role: str, keys: Iterable[Key], *, threshold: int | None = None) -> Self:
        """Give a base role other keys; root keys are certificates.

        Raises:
            PublishError: not a base role, or a threshold that the keys cannot meet.
        """
        if role not in roles.BASE_ROLES:
            raise PublishError(
                f"{role} has no keys of its own", fix="change its delegation instead"
            )
        fresh = tuple(keys)
        wanted = threshold or min(self.root.roles[role].threshold, len(fresh)) or 1
        _meetable(wanted, fresh)
        who = {**self.root.roles, role: RoleKeys(tuple(key.id for key in fresh), wanted)}
        known = {**self.root.keys, **{key.id: key for key in fresh}}
        used = {key_id for role_keys in who.values() for key_id in role_keys.key_ids}
        root = replace(self.root, keys={i: key for i, key in known.items() if i in used}, roles=who)
        draft = replace(self, root=root, dirty=self.dirty | {roles.ROOT})
        if role == roles.ROOT and not self.old_root_keys:
            draft = replace(
                draft,
                old_root_keys=self.root.keys_of(roles.ROOT),
                old_root_threshold=self.root.roles[roles.ROOT].threshold,
            )
        # What the old key signed no longer counts, so the role is signed anew.
        return replace(draft, dirty=draft.dirty | {role}) if role == roles.TARGETS else draft

    def witness(self, role: str) -> Self:
        """Have ``role`` signed again as it is, by the keys that it has now."""
        self._editable(role)
        return replace(self, dirty=self.dirty | {role})

    def delegation(self, role: str) -> Delegation | None:
        """The delegation called ``role``, None for ``targets`` and for what does not exist."""
        parent = self.targets.get(roles.parent(role))
        return None if parent is None else parent.delegation(role)

    def keys_of(self, role: str) -> tuple[tuple[Key, ...], int]:
        """The keys of any role, and its threshold; raises ``PublishError``."""
        if role in roles.BASE_ROLES:
            return self.root.keys_of(role), self.root.roles[role].threshold
        parent, delegation = self.targets.get(roles.parent(role)), self.delegation(role)
        if parent is None or delegation is None:
            raise PublishError(f"there is no role {role}", where=self.gun)
        return tuple(parent.keys[i] for i in delegation.who.key_ids), delegation.who.threshold

    def sign(self, ring: KeyRing, *, now: datetime) -> dict[str, bytes]:
        """Sign what changed; returns what to upload, by role.

        The snapshot is among it if its key is here.

        Raises:
            MissingKeyError: a role changed whose keys are not here in sufficient number.
        """
        dirty = self.dirty | self._ageing(now)
        made: dict[str, bytes] = {}
        if roles.ROOT in dirty:
            root = replace(
                self.root, version=self.root.version + 1, expires=now + LIFETIMES[roles.ROOT]
            )
            made[roles.ROOT] = sign(root.to_json(), self._root_signers(ring))
        for role in sorted(dirty - {roles.ROOT, roles.SNAPSHOT}):
            old = self.targets[role]
            fresh = replace(old, version=old.version + 1, expires=now + LIFETIMES[roles.TARGETS])
            made[role] = sign(fresh.to_json(), self._signers(role, ring))
        snapshot = self._signed_snapshot({**self.raw, **made}, ring, now=now)
        return made if snapshot is None else {**made, roles.SNAPSHOT: snapshot}

    def _signed_snapshot(
        self, raw: Mapping[str, bytes], ring: KeyRing, *, now: datetime
    ) -> bytes | None:
        keys, threshold = self.keys_of(roles.SNAPSHOT)
        signers = [signer for key in keys if (signer := ring(key)) is not None]
        if len(signers) < threshold:
            return None
        old = {} if self.snapshot is None else dict(self.snapshot.meta)
        promised = {role: FileMeta.of(raw[role]) for role in raw if role != roles.SNAPSHOT}
        version = 0 if self.snapshot is None else self.snapshot.version
        listing = Listing(version + 1, now + LIFETIMES[roles.SNAPSHOT], {**old, **promised})
        return sign(listing.to_json("Snapshot"), signers)

    def _root_signers(self, ring: KeyRing) -> list[Signer]:
        signers = self._signers(roles.ROOT, ring)
        if not self.old_root_keys:
            return signers
        old = [signer for key in self.old_root_keys if (signer := ring(key)) is not None]
        if len(old) < self.old_root_threshold:
            raise _missing(roles.ROOT, self.gun, len(old), self.old_root_threshold)
        present = {signer.key.id for signer in signers}
        return [*signers, *(signer for signer in old if signer.key.id not in present)]

    def _signers(self, role: str, ring: KeyRing) -> list[Signer]:
        keys, threshold = self.keys_of(role)
        signers = [signer for key in keys if (signer := ring(key)) is not None]
        if len(signers) < threshold:
            raise _missing(role, self.gun, len(signers), threshold)
        return signers

    def _ageing(self, now: datetime) -> frozenset[str]:
        """Roles of ours that near their date, when something is published anyway."""
        return frozenset({roles.ROOT} if self.root.expires - now < RENEW else ())

    def _editable(self, role: str) -> Targets:
        loaded = self.targets.get(role)
        if loaded is not None:
            return loaded
        if roles.is_delegation(role) and self.delegation(role) is not None:
            return Targets(0, self.root.expires)
        raise PublishError(f"there is no role {role} to sign with", where=self.gun)

    def _with(self, role: str, changed: Targets) -> Self:
        return replace(self, targets={**self.targets, role: changed}, dirty=self.dirty | {role})


def _pruned(targets: Targets) -> Targets:
    """Without keys that no delegation names any more."""
    used = {key_id for role in targets.delegations for key_id in role.who.key_ids}
    return replace(targets, keys={i: key for i, key in targets.keys.items() if i in used})


def _without(snapshot: Listing, gone: set[str]) -> Listing:
    return replace(snapshot, meta={r: m for r, m in snapshot.meta.items() if r not in gone})


def _meetable(threshold: int, keys: Iterable[Key]) -> None:
    count = len({_bare_id(key) for key in keys})
    if threshold < 1 or threshold > count > 0:
        raise PublishError(
            f"a threshold of {threshold} cannot be met by {count} keys",
            fix="add keys, or lower the threshold",
        )


def _bare_id(key: Key) -> str:
    try:
        return key.bare().id
    except KeyFileError:
        return key.id


def _missing(role: str, gun: str, found: int, needed: int) -> MissingKeyError:
    return MissingKeyError(
        f"{role} must be signed by {needed} of its keys, and {found} are here",
        where=gun,
        fix="load the private key with `lading trust key load`, or sign where it is",
    )
