"""The state machine that believes trust data, or says why not (TUF specification 1.0, section 5).

One reference time for all of it. The order is fixed: root(s), timestamp, snapshot, targets,
delegations; each step takes raw bytes and returns a larger ``TrustedSet`` or raises, and nothing of
the refused bytes is kept. What was trusted earlier (``Seen``) forbids going back.

Steps of ``load``, each with its own error:

1. length, then hash, against the signed parent (``OversizeError``, ``WrongHashError``);
2. shape of the envelope (``MalformedMetadataError``);
3. signatures: at least the threshold of distinct keys, whatever they are called
   (``ThresholdError``);
4. type and specification (``WrongTypeError``, ``UnknownSpecificationError``);
5. version not below what was trusted (``RollbackError``); a root exactly one above
   (``RootSkipError``, ``RootRotationError``);
6. not expired (``ExpiredError``); an intermediate root may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Self

from trust.errors import KeyFileError
from trust.tuf import certificates, limits, roles
from trust.tuf.errors import (
    ExpiredError,
    OversizeError,
    RollbackError,
    RootRotationError,
    RootSkipError,
    ThresholdError,
    TufError,
    UnknownRoleError,
    UntrustedRootError,
    WrongHashError,
)
from trust.tuf.keys import Key
from trust.tuf.metadata import Envelope, FileMeta, Listing, RoleKeys, Root, Targets
from trust.tuf.pinning import Pins

TRUST_ON_FIRST_USE: Final = Pins()


@dataclass(frozen=True, slots=True)
class TrustedSet:
    """What is believed of one repository so far; ``raw`` holds the very bytes, by role.

    ``seen`` are the least versions that may still come, by role, from what was trusted earlier.
    ``lapsed`` are delegations that are published but not believed any more, for who signs them
    anew: what expired as it was, what lost its keys without its names.
    """

    gun: str
    now: datetime
    root: Root
    raw: Mapping[str, bytes] = field(repr=False)
    timestamp: Listing | None = None
    snapshot: Listing | None = None
    targets: Mapping[str, Targets] = field(default_factory=dict, repr=False)
    seen: Mapping[str, int] = field(default_factory=dict)
    lapsed: Mapping[str, Targets] = field(default_factory=dict, repr=False)

    @classmethod
    def begin(cls, gun: str, raw: bytes, *, now: datetime, pins: Pins = TRUST_ON_FIRST_USE) -> Self:
        """Believe a first root: nothing was trusted before, ``pins`` decide.

        Raises:
            UntrustedRootError: no acceptable certificate, or not the pinned one.
            ThresholdError: it is not signed by its own keys. Others as the module says.
        """
        envelope, root = _read_root(raw)
        keys = _acceptable(root, gun, now=now, pins=pins, first=True)
        _require(envelope, keys, root.roles[roles.ROOT].threshold, role=roles.ROOT)
        _not_expired(root, roles.ROOT, now)
        return cls(gun, now, root, {roles.ROOT: raw})

    @classmethod
    def resume(
        cls, gun: str, raw: bytes, *, now: datetime, pins: Pins = TRUST_ON_FIRST_USE
    ) -> Self:
        """Go on from a root that was trusted before: it is the anchor, expired or not.

        Raises:
            UntrustedRootError, ThresholdError: the cached copy is damaged, another repository's or
                not the one that was pinned since.
        """
        envelope, root = _read_root(raw)
        keys = _acceptable(root, gun, now=None, pins=pins, first=False)
        _require(envelope, keys, root.roles[roles.ROOT].threshold, role=roles.ROOT)
        return cls(gun, now, root, {roles.ROOT: raw})

    def remember(self, role: str, raw: bytes) -> Self:
        """Take the version of a cached copy as the least to come, if the copy is the role's.

        What does not verify any more (keys were rotated) says nothing, as with notary.
        """
        try:
            envelope = Envelope.parse(raw, role=role)
            keys, threshold = self._signers_of(role)
            _require(envelope, keys, threshold, role=role)
            version = _parsed(envelope, role).version
        except TufError:
            return self
        return replace(self, seen={**self.seen, role: version})

    def with_root(self, raw: bytes, *, final: bool = True, pins: Pins = TRUST_ON_FIRST_USE) -> Self:
        """Replace the root by its successor; ``final`` roots must not be expired.

        The same bytes again are accepted. Everything below the root must be loaded anew.

        Raises:
            RootSkipError: not the next version. RollbackError: an older one.
            RootRotationError: the trusted root's keys did not sign it.
            ThresholdError, UntrustedRootError, ExpiredError: as for ``begin``.
        """
        fresh = replace(self, timestamp=None, snapshot=None, targets={}, raw={roles.ROOT: raw})
        if raw == self.raw[roles.ROOT]:
            if final:
                _not_expired(self.root, roles.ROOT, self.now)
            return fresh
        envelope, root = _read_root(raw)
        old = _acceptable(self.root, self.gun, now=None, pins=TRUST_ON_FIRST_USE, first=False)
        try:
            _require(envelope, old, self.root.roles[roles.ROOT].threshold, role=roles.ROOT)
        except ThresholdError as error:
            if root.version > self.root.version + 1:
                raise _skipped(self.root, root) from error
            raise RootRotationError(
                f"root {root.version} of {self.gun} is not signed by the keys of "
                f"root {self.root.version}"
            ) from error
        keys = _acceptable(root, self.gun, now=self.now if final else None, pins=pins, first=False)
        _require(envelope, keys, root.roles[roles.ROOT].threshold, role=roles.ROOT)
        _not_older(root.version, self.root.version, roles.ROOT)
        if root.version > self.root.version + 1:
            raise _skipped(self.root, root)
        if final:
            _not_expired(root, roles.ROOT, self.now)
        return replace(fresh, root=root)

    def with_timestamp(self, raw: bytes) -> Self:
        """Believe a timestamp; raises as the module says."""
        envelope = self._signed(raw, roles.TIMESTAMP)
        found = envelope.timestamp()
        self._current(found, roles.TIMESTAMP)
        return replace(self, timestamp=found, raw={**self.raw, roles.TIMESTAMP: raw})

    def with_snapshot(self, raw: bytes) -> Self:
        """Believe the snapshot that the timestamp names; raises as the module says."""
        self.promise(roles.SNAPSHOT).check(raw, what="snapshot")
        found = self._signed(raw, roles.SNAPSHOT).snapshot()
        self._current(found, roles.SNAPSHOT)
        return replace(self, snapshot=found, raw={**self.raw, roles.SNAPSHOT: raw})

    def with_targets(self, role: str, raw: bytes) -> Self:
        """Believe ``targets`` or a delegation of what is loaded; raises as the module says."""
        self.promise(role).check(raw, what=role)
        found = self._signed(raw, role).targets(role)
        self._current(found, role)
        return replace(self, targets={**self.targets, role: found}, raw={**self.raw, role: raw})

    def with_lapsed(self, role: str, raw: bytes) -> Self:
        """Note a delegation that ``with_targets`` refused; nothing of it becomes believed.

        Raises:
            WrongHashError, MalformedMetadataError: the bytes are not even what the snapshot names.
        """
        self.promise(role).check(raw, what=role)
        found = Envelope.parse(raw, role=role).targets(role)
        try:
            self._signed(raw, role)
        except ThresholdError:
            found = Targets(found.version, found.expires)
        return replace(self, lapsed={**self.lapsed, role: found})

    def promise(self, role: str) -> FileMeta:
        """What the signed parent says of the bytes of ``role``.

        Raises:
            UnknownRoleError: it does not name the role, or is not loaded.
        """
        parent = self.timestamp if role == roles.SNAPSHOT else self.snapshot
        if parent is None or role not in parent.meta:
            raise UnknownRoleError(f"nothing signed names {role} of {self.gun}")
        found = parent.meta[role]
        if found.length > limits.of(role):
            raise OversizeError(f"{role} has {found.length} bytes, more than {limits.of(role)}")
        return found

    def names(self, role: str) -> bool:
        """Whether the snapshot has metadata of this role."""
        return self.snapshot is not None and role in self.snapshot.meta

    def root_agrees(self) -> bool:
        """Whether the trusted root is the one the snapshot names; if not, there is a newer one."""
        try:
            self.promise(roles.ROOT).check(self.raw[roles.ROOT], what=roles.ROOT)
        except WrongHashError:
            return False
        return True

    def _signed(self, raw: bytes, role: str) -> Envelope:
        envelope = Envelope.parse(raw, role=role)
        keys, threshold = self._signers_of(role)
        _require(envelope, keys, threshold, role=role)
        return envelope

    def _signers_of(self, role: str) -> tuple[tuple[Key, ...], int]:
        if role in roles.BASE_ROLES:
            return self.root.keys_of(role), self.root.roles[role].threshold
        parent = self.targets.get(roles.parent(role))
        delegation = None if parent is None else parent.delegation(role)
        if parent is None or delegation is None:
            raise UnknownRoleError(f"nobody delegates to {role} in {self.gun}")
        return keys_of(parent, delegation.who), delegation.who.threshold

    def _current(self, found: Targets | Listing, role: str) -> None:
        _not_older(found.version, self.seen.get(role, 1), role)
        _not_expired(found, role, self.now)


def keys_of(parent: Targets, who: RoleKeys) -> tuple[Key, ...]:
    """The keys of a delegation of ``parent``."""
    return tuple(parent.keys[key_id] for key_id in who.key_ids if key_id in parent.keys)


def signed_by(envelope: Envelope, keys: Iterable[Key]) -> tuple[Key, ...]:
    """Which of ``keys`` made one of the envelope's signatures; each bare key counts once.

    A key that appears under two names (in two certificates) is one key, and so is one that signed
    twice.
    """
    known = {key.id: key for key in keys}
    found: dict[str, Key] = {}
    for signature in envelope.signatures:
        key = known.get(signature.key_id)
        if key is None:
            continue
        try:
            bare = key.bare().id
        except KeyFileError:
            continue
        if bare not in found and key.verifies(signature.value, signature.method, envelope.message):
            found[bare] = key
    return tuple(found.values())


def _require(envelope: Envelope, keys: Iterable[Key], threshold: int, *, role: str) -> None:
    count = len(signed_by(envelope, keys))
    if count < threshold:
        raise ThresholdError(f"{role} is signed by {count} of its keys, and needs {threshold}")


def _read_root(raw: bytes) -> tuple[Envelope, Root]:
    envelope = Envelope.parse(raw, role=roles.ROOT)
    return envelope, envelope.root()


def _parsed(envelope: Envelope, role: str) -> Root | Targets | Listing:
    match role:
        case roles.ROOT:
            return envelope.root()
        case roles.TIMESTAMP:
            return envelope.timestamp()
        case roles.SNAPSHOT:
            return envelope.snapshot()
    return envelope.targets(role)


def _acceptable(
    root: Root, gun: str, *, now: datetime | None, pins: Pins, first: bool
) -> tuple[Key, ...]:
    """The root keys that may speak for ``gun``."""
    problems = {key: certificates.problem(key, gun, now=now) for key in root.keys_of(roles.ROOT)}
    valid = [key for key, problem in problems.items() if problem is None]
    accepted = tuple(key for key in valid if pins.accepts(gun, key, first=first, now=now))
    if accepted:
        return accepted
    reason = "it is not the pinned one" if valid else next(iter(problems.values()), "it has none")
    raise UntrustedRootError(f"no root key of {gun} can be trusted: {reason}")


def _not_older(version: int, least: int, role: str) -> None:
    if version < least:
        raise RollbackError(f"{role} has version {version}, and {least} was trusted before")


def _not_expired(found: Root | Targets | Listing, role: str, now: datetime) -> None:
    if found.expires <= now:
        raise ExpiredError(f"{role} expired on {found.expires:%Y-%m-%d %H:%M} UTC")


def _skipped(old: Root, new: Root) -> RootSkipError:
    return RootSkipError(f"root {new.version} does not follow root {old.version}")
