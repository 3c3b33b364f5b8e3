"""The rules of a publish, on bytes: what an upload must be, and what the server adds to it.

notary's ``validateUpdate``: the root is the current one's successor (or a first one), signed by
both; targets and delegations are signed by who their newest parents name, parents first; a snapshot
is checked against what was uploaded, or made here when its key is; a timestamp is always made here.
Whatever is carried on was validated when it came. Nothing that is uploaded is written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from registry.notary.errors import InvalidUpdateError, NotaryError
from registry.notary.store import NewMetadata
from trust.errors import KeyFileError
from trust.tuf import certificates, limits, roles
from trust.tuf.draft import LIFETIMES
from trust.tuf.errors import TufError
from trust.tuf.keys import Key, Signer
from trust.tuf.metadata import Envelope, FileMeta, Listing, Root, Targets, sign
from trust.tuf.trusted import keys_of, signed_by

Held = Callable[[str, Key], Signer | None]
"""``(role, key)``: the server's private key for it, None when it holds none."""

HALF: Final = 2
"""Metadata of ours is signed again when half of its time is over."""


@dataclass(frozen=True, slots=True)
class Publish:
    """One upload on top of what is stored. ``read(role)`` gives the stored bytes of a role.

    ``envelopes`` are the uploads taken apart by ``check_upload``.
    """

    gun: str
    uploads: Mapping[str, bytes]
    envelopes: Mapping[str, Envelope]
    versions: Mapping[str, int]
    read: Callable[[str], bytes | None]
    held: Held
    now: datetime
    _parsed: dict[str, Targets | None] = field(default_factory=dict)

    def files(self) -> dict[str, NewMetadata]:
        """What is to be stored.

        Raises:
            NotaryError: VERSION, or INVALID_UPDATE with the rule that is broken.
        """
        made: dict[str, NewMetadata] = {}
        root = self._root(made)
        for role in sorted(filter(roles.is_targets, self.uploads), key=lambda r: r.count("/")):
            self._load_targets(root, role, made)
        if roles.SNAPSHOT in self.uploads:
            self._check_snapshot(root, made)
        else:
            self._make_snapshot(root, made)
        self._make_timestamp(root, made)
        self._check_versions(made)
        return made

    def refreshed(self) -> dict[str, NewMetadata]:
        """Our snapshot and timestamp signed again as they are, for the time to come."""
        made: dict[str, NewMetadata] = {}
        root = self._stored_root()
        if root is None:
            return made
        _, signer = self._server_key(root, roles.SNAPSHOT)
        if signer is not None:
            self._make_snapshot(root, made)
        self._make_timestamp(root, made)
        return made

    def _stored_root(self) -> Root | None:
        raw = self.read(roles.ROOT)
        return None if raw is None else Envelope.parse(raw, role=roles.ROOT).root()

    def _root(self, made: dict[str, NewMetadata]) -> Root:
        stored = self._stored_root()
        raw = self.uploads.get(roles.ROOT)
        if raw is None:
            if stored is None:
                raise InvalidUpdateError(
                    "ErrValidation", "no pre-existing root and no root provided in update."
                )
            return stored
        current = 1 if stored is None else stored.version
        try:
            envelope = self.envelopes[roles.ROOT]
            root = envelope.root()
            if root.version not in (current, current + 1):
                raise InvalidUpdateError(
                    "ErrBadRoot",
                    "Root modifications must increment the version. "
                    f"Current {current}, new {root.version}",
                )
            if stored is not None:
                self._require_root(envelope, stored, "the current root", dated=False)
            self._require_root(envelope, root, "itself", dated=True)
            self._unexpired(root.expires)
        except (TufError, KeyFileError, _RuleError) as error:
            raise InvalidUpdateError("ErrBadRoot", str(error)) from error
        made[roles.ROOT] = NewMetadata(root.version, raw)
        return root

    def _require_root(self, envelope: Envelope, by: Root, name: str, *, dated: bool) -> None:
        moment = self.now if dated else None
        keys = [
            key
            for key in by.keys_of(roles.ROOT)
            if certificates.problem(key, self.gun, now=moment) is None
        ]
        _require(envelope, keys, by.roles[roles.ROOT].threshold, f"root by {name}")

    def _load_targets(self, root: Root, role: str, made: dict[str, NewMetadata]) -> None:
        raw = self.uploads[role]
        try:
            keys, threshold = self._signers(root, role)
            envelope = self.envelopes[role]
            _require(envelope, keys, threshold, role)
            found = envelope.targets(role)
            self._unexpired(found.expires)
        except (TufError, KeyFileError, _RuleError) as error:
            raise InvalidUpdateError("ErrBadTargets", f"{role}: {error}") from error
        self._parsed[role] = found
        made[role] = NewMetadata(found.version, raw)

    def _signers(self, root: Root, role: str) -> tuple[tuple[Key, ...], int]:
        if role == roles.TARGETS:
            return root.keys_of(role), root.roles[role].threshold
        for ancestor in roles.ancestors(role):
            if self._targets(ancestor) is None:
                raise _RuleError(f"{ancestor} must be loaded first")
        parent = self._targets(roles.parent(role))
        delegation = None if parent is None else parent.delegation(role)
        if parent is None or delegation is None:
            raise _RuleError(f"{roles.parent(role)} does not delegate to it")
        return keys_of(parent, delegation.who), delegation.who.threshold

    def _targets(self, role: str) -> Targets | None:
        """The newest metadata of a targets role: uploaded and validated, or stored."""
        if role not in self._parsed:
            raw = self.read(role)
            loaded = None if raw is None else Envelope.parse(raw, role=role).targets(role)
            self._parsed[role] = loaded
        return self._parsed[role]

    def _check_snapshot(self, root: Root, made: dict[str, NewMetadata]) -> None:
        raw = self.uploads[roles.SNAPSHOT]
        try:
            envelope = self.envelopes[roles.SNAPSHOT]
            threshold = root.roles[roles.SNAPSHOT].threshold
            _require(envelope, root.keys_of(roles.SNAPSHOT), threshold, roles.SNAPSHOT)
            found = envelope.snapshot()
            self._unexpired(found.expires)
            for role in {*made, roles.ROOT, roles.TARGETS}:
                data = made[role].data if role in made else self.read(role)
                if data is None or role not in found.meta:
                    raise _RuleError(f"it does not name {role}, or {role} is not there")
                found.meta[role].check(data, what=role)
        except (TufError, KeyFileError, _RuleError) as error:
            raise InvalidUpdateError("ErrBadSnapshot", str(error)) from error
        made[roles.SNAPSHOT] = NewMetadata(found.version, raw)

    def _make_snapshot(self, root: Root, made: dict[str, NewMetadata]) -> None:
        threshold, signer = self._server_key(root, roles.SNAPSHOT)
        if signer is None or threshold > 1:
            raise InvalidUpdateError(
                "ErrBadHierarchy",
                "no snapshot was included in update and server does not hold current snapshot "
                "key for repository",
                missing=roles.SNAPSHOT,
            )
        meta = self._carried()
        meta |= {role: FileMeta.of(new.data) for role, new in made.items()}
        for role in (roles.ROOT, roles.TARGETS):
            stored = None if role in meta else self.read(role)
            if stored is not None:
                meta[role] = FileMeta.of(stored)
        if roles.TARGETS not in meta:
            raise InvalidUpdateError("ErrValidation", "targets must be loaded first")
        made[roles.SNAPSHOT] = self._listing(roles.SNAPSHOT, meta, signer)

    def _carried(self) -> dict[str, FileMeta]:
        """What the stored snapshot names, without delegations that are gone."""
        raw = self.read(roles.SNAPSHOT)
        if raw is None:
            return {}
        meta = Envelope.parse(raw, role=roles.SNAPSHOT).snapshot().meta
        return {role: found for role, found in meta.items() if self._delegated(role)}

    def _delegated(self, role: str) -> bool:
        if not roles.is_delegation(role):
            return role in (roles.ROOT, roles.TARGETS)
        parent = self._targets(roles.parent(role))
        return parent is not None and parent.delegation(role) is not None

    def _make_timestamp(self, root: Root, made: dict[str, NewMetadata]) -> None:
        threshold, signer = self._server_key(root, roles.TIMESTAMP)
        if signer is None or threshold > 1:
            raise InvalidUpdateError("ErrBadRoot", "no timestamp keys exist on the server")
        new = made.get(roles.SNAPSHOT)
        snapshot = self.read(roles.SNAPSHOT) if new is None else new.data
        if snapshot is None:
            raise InvalidUpdateError("ErrValidation", "snapshot must be loaded first")
        meta = {roles.SNAPSHOT: FileMeta.of(snapshot)}
        made[roles.TIMESTAMP] = self._listing(roles.TIMESTAMP, meta, signer)

    def _server_key(self, root: Root, role: str) -> tuple[int, Signer | None]:
        held = (self.held(role, key) for key in root.keys_of(role))
        return root.roles[role].threshold, next(filter(None, held), None)

    def _listing(self, role: str, meta: Mapping[str, FileMeta], signer: Signer) -> NewMetadata:
        lifetime = LIFETIMES[role]
        version = self.versions.get(role, 0) + 1
        listing = Listing(version, self.now + lifetime, meta)
        data = sign(listing.to_json(role.capitalize()), [signer])
        return NewMetadata(version, data, (self.now + lifetime / HALF).timestamp())

    def _check_versions(self, made: Mapping[str, NewMetadata]) -> None:
        for role, new in made.items():
            if new.version <= self.versions.get(role, 0):
                raise NotaryError("VERSION", detail=f"{role} {new.version} is not newer")

    def _unexpired(self, expires: datetime) -> None:
        if expires <= self.now:
            raise _RuleError(f"it expired on {expires:%Y-%m-%d}")


class _RuleError(Exception):
    """A rule that the upload breaks, before its notary name is known."""


def _require(
    envelope: Envelope, keys: tuple[Key, ...] | list[Key], threshold: int, what: str
) -> None:
    if len(signed_by(envelope, keys)) < threshold:
        raise _RuleError(f"valid signatures did not meet threshold for {what}")


def check_upload(uploads: Mapping[str, bytes]) -> dict[str, Envelope]:
    """The parts of an upload, taken apart.

    Raises:
        NotaryError: INVALID_ROLE, or MALFORMED_JSON for what cannot be metadata at all.
    """
    found: dict[str, Envelope] = {}
    for role, raw in uploads.items():
        if not roles.is_role(role):
            raise NotaryError("INVALID_ROLE", detail=role[:200])
        try:
            found[role] = Envelope.parse(raw, role=role, limit=limits.OTHER)
        except TufError as error:
            raise NotaryError("MALFORMED_JSON", detail=error.what[:200]) from error
    return found
