"""The metadata of a Notary repository as frozen values: root, targets, snapshot, timestamp.

An ``Envelope`` is what travels: signatures, and what they are over. ``parse`` checks shape alone;
whether it is trusted is for ``trust.tuf.trusted``. Member names and types are notary's (``_type``
Root, Targets, Snapshot, Timestamp; hashes in base64; no ``.json`` in meta names).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Self, TypeVar

from trust.fields import FieldError, array, canonical_base64, mapping, members, text
from trust.tuf import canonical, limits, roles
from trust.tuf.errors import (
    MalformedMetadataError,
    UnknownSpecificationError,
    WrongHashError,
    WrongTypeError,
)
from trust.tuf.keys import Key, Signature, Signer

MAX_SIGNATURES: Final = 64
MAX_KEYS: Final = 1024
MAX_TARGETS: Final = 1 << 20
MAX_NAME: Final = 1024
HASHES: Final = ("sha256", "sha512")
"""The hashes that are written and checked; sha256 must be there."""

_TIME: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})\Z", re.ASCII
)
_COMMON: Final = ("_type", "expires", "version")


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What a parent promises of a file: length in bytes, and hashes by algorithm (raw bytes)."""

    length: int
    hashes: Mapping[str, bytes] = field(hash=False)
    custom: Any = field(default=None, hash=False)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The promise that ``data`` keeps."""
        return cls(len(data), {name: hashlib.new(name, data).digest() for name in HASHES})

    @classmethod
    def from_json(cls, value: object, *, at: str) -> Self:
        """Read ``{"length", "hashes", "custom"}``; raises ``FieldError``."""
        top = members(value, required=("length", "hashes"), optional=("custom",), at=at)
        hashes = {
            name: canonical_base64(encoded, at=at)
            for name, encoded in mapping(top["hashes"], at=at).items()
        }
        for name in HASHES:
            if name in hashes and len(hashes[name]) != hashlib.new(name).digest_size:
                raise FieldError(f"{at} has a {name} of the wrong length")
        if "sha256" not in hashes:
            raise FieldError(f"{at} has no sha256")
        return cls(whole(top["length"], at=at, least=0), hashes, top.get("custom"))

    def to_json(self) -> dict[str, Any]:
        """The form ``from_json`` reads."""
        hashes = {name: base64.b64encode(raw).decode() for name, raw in self.hashes.items()}
        document: dict[str, Any] = {"hashes": hashes, "length": self.length}
        return document if self.custom is None else {**document, "custom": self.custom}

    @property
    def sha256(self) -> str:
        """The hex SHA-256: the consistent name of metadata, the digest of an image."""
        return self.hashes["sha256"].hex()

    def check(self, data: bytes, *, what: str) -> None:
        """Return if ``data`` is what was promised.

        Raises:
            WrongHashError: it is not.
        """
        if len(data) != self.length:
            raise WrongHashError(f"{what} has {len(data)} bytes, {self.length} were promised")
        for name in HASHES:
            promised = self.hashes.get(name)
            if promised is None:
                continue
            if not hmac.compare_digest(hashlib.new(name, data).digest(), promised):
                raise WrongHashError(f"{what} is not what its signed parent names")


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """Who may sign a role, and how many must."""

    key_ids: tuple[str, ...]
    threshold: int = 1

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, at: str) -> Self:
        """Read ``keyids`` and ``threshold``; raises ``FieldError``."""
        ids = array(value.get("keyids") or [], at=at, most=MAX_KEYS)
        return cls(
            tuple(dict.fromkeys(text(key_id, at=at) for key_id in ids)),
            whole(value.get("threshold"), at=f"{at} threshold", least=1),
        )

    def to_json(self) -> dict[str, Any]:
        """The form ``from_json`` reads."""
        return {"keyids": list(self.key_ids), "threshold": self.threshold}


@dataclass(frozen=True, slots=True)
class Delegation:
    """A role that a targets role gives names to; ``paths`` are prefixes of target names."""

    name: str
    who: RoleKeys
    paths: tuple[str, ...] = ("",)

    def to_json(self) -> dict[str, Any]:
        """As ``delegations.roles`` holds it."""
        return {**self.who.to_json(), "name": self.name, "paths": list(self.paths)}


@dataclass(frozen=True, slots=True)
class Root:
    """The keys of the repository."""

    version: int
    expires: datetime
    keys: Mapping[str, Key] = field(hash=False)
    roles: Mapping[str, RoleKeys] = field(hash=False)
    consistent_snapshot: bool = False

    def to_json(self) -> dict[str, Any]:
        """What is signed."""
        return {
            **_common("Root", self.version, self.expires),
            "consistent_snapshot": self.consistent_snapshot,
            "keys": {key_id: key.to_json() for key_id, key in self.keys.items()},
            "roles": {name: role.to_json() for name, role in self.roles.items()},
        }

    def keys_of(self, role: str) -> tuple[Key, ...]:
        """The keys of one of the base roles."""
        return tuple(self.keys[i] for i in self.roles[role].key_ids if i in self.keys)


@dataclass(frozen=True, slots=True)
class Targets:
    """The names that one role signs, and whom it delegates to."""

    version: int
    expires: datetime
    targets: Mapping[str, FileMeta] = field(default_factory=dict, hash=False)
    keys: Mapping[str, Key] = field(default_factory=dict, hash=False)
    delegations: tuple[Delegation, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What is signed."""
        return {
            **_common("Targets", self.version, self.expires),
            "delegations": {
                "keys": {key_id: key.to_json() for key_id, key in self.keys.items()},
                "roles": [role.to_json() for role in self.delegations],
            },
            "targets": {name: meta.to_json() for name, meta in self.targets.items()},
        }

    def delegation(self, name: str) -> Delegation | None:
        """The delegation to ``name``, if there is one."""
        return next((role for role in self.delegations if role.name == name), None)


@dataclass(frozen=True, slots=True)
class Listing:
    """A snapshot (every role but itself and the timestamp) or a timestamp (the snapshot)."""

    version: int
    expires: datetime
    meta: Mapping[str, FileMeta] = field(hash=False)

    def to_json(self, kind: str) -> dict[str, Any]:
        """What is signed; ``kind`` is ``Snapshot`` or ``Timestamp``."""
        meta = {name: promise.to_json() for name, promise in self.meta.items()}
        return {**_common(kind, self.version, self.expires), "meta": meta}


M = TypeVar("M", Root, Targets, Listing)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What travels. ``signed`` is as parsed, ``message`` what the signatures are over."""

    signed: dict[str, Any] = field(repr=False, hash=False)
    signatures: tuple[Signature, ...]
    message: bytes = field(repr=False)

    @classmethod
    def parse(cls, raw: bytes, *, role: str, limit: int | None = None) -> Self:
        """Take an envelope apart; nothing in it is trusted.

        Raises:
            OversizeError: more than the role may have.
            MalformedMetadataError: not an envelope.
        """
        limit = limits.of(role) if limit is None else limit
        document = canonical.parse(raw, what=f"{role} metadata", limit=limit)
        try:
            top = members(document, required=("signed", "signatures"), at=f"{role} metadata")
            rows = array(top["signatures"] or [], at="signatures", most=MAX_SIGNATURES)
            signatures = tuple(Signature.from_json(row) for row in rows)
            signed = mapping(top["signed"], at="signed")
        except FieldError as error:
            raise MalformedMetadataError(f"{role}: {error}") from error
        return cls(signed, signatures, canonical.dump(signed))

    def root(self) -> Root:
        """Read it as a root; raises ``MalformedMetadataError``, ``WrongTypeError`` ..."""
        return _shaped(self, roles.ROOT, _root)

    def targets(self, role: str = roles.TARGETS) -> Targets:
        """Read it as the metadata of a targets role; raises likewise."""
        found = _shaped(self, role, _targets)
        for delegation in found.delegations:
            if roles.parent(delegation.name) != role:
                raise MalformedMetadataError(f"{role} delegates to {delegation.name}")
        return found

    def snapshot(self) -> Listing:
        """Read it as a snapshot; raises likewise."""
        found = _shaped(self, roles.SNAPSHOT, _listing)
        if not {roles.ROOT, roles.TARGETS} <= found.meta.keys():
            raise MalformedMetadataError("snapshot: it does not name root and targets")
        return found

    def timestamp(self) -> Listing:
        """Read it as a timestamp; raises likewise."""
        found = _shaped(self, roles.TIMESTAMP, _listing)
        if roles.SNAPSHOT not in found.meta:
            raise MalformedMetadataError("timestamp: it does not name the snapshot")
        return found


def sign(signed: Mapping[str, Any], signers: Iterable[Signer]) -> bytes:
    """The bytes of an envelope around ``signed``, signed by every one of ``signers``.

    They are those that Go's encoding/json writes: Docker's server, where it keeps the snapshot key,
    lists the hashes of what it would write itself and not of what it was sent.
    """
    message = canonical.dump(signed)
    rows = [signer.sign(message).to_json() for signer in signers]
    # ``signed`` is spliced in as it was signed, so that nobody needs to spell it again.
    return b'{"signed":' + _escaped(message) + b',"signatures":' + canonical.dump(rows) + b"}"


def _escaped(message: bytes) -> bytes:
    """Canonical bytes as JSON, with what Go escapes: control characters, ``<``, ``>``, ``&`` and
    the line separators of JavaScript.
    """
    return _ESCAPED.sub(lambda found: b"\\u%04x" % ord(found.group().decode()), message)


_ESCAPED: Final = re.compile(rb"[\x00-\x1f<>&]|\xe2\x80[\xa8\xa9]")


def whole(value: object, *, at: str, least: int) -> int:
    """Return ``value`` as an integer from ``least`` on; raises ``FieldError``."""
    if type(value) is not int or value < least:
        raise FieldError(f"{at} is not a whole number from {least} on")
    return value


def instant(value: object, *, at: str) -> datetime:
    """Read an RFC 3339 time; raises ``FieldError``."""
    written = text(value, at=at)
    try:
        if not _TIME.match(written):
            raise ValueError("not RFC 3339")
        return datetime.fromisoformat(written).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise FieldError(f"{at} is not a time: {written[:40]!r}") from error


def _common(kind: str, version: int, expires: datetime) -> dict[str, Any]:
    moment = expires.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"_type": kind, "expires": moment, "version": version}


_KINDS: Final = {roles.ROOT: "root", roles.SNAPSHOT: "snapshot", roles.TIMESTAMP: "timestamp"}


def _shaped(envelope: Envelope, role: str, read: Callable[[dict[str, Any], int, datetime], M]) -> M:
    signed = envelope.signed
    kind = signed.get("_type")
    if not isinstance(kind, str) or kind.lower() != _KINDS.get(role, "targets"):
        raise WrongTypeError(f"{str(kind)[:40]!r} metadata was served as {role}")
    if "spec_version" in signed:
        raise UnknownSpecificationError(
            f"{role} follows TUF {str(signed['spec_version'])[:20]}, not Notary v1"
        )
    try:
        return read(
            signed,
            whole(signed.get("version"), at="version", least=1),
            instant(signed.get("expires"), at="expires"),
        )
    except FieldError as error:
        raise MalformedMetadataError(f"{role}: {error}") from error


def _root(signed: dict[str, Any], version: int, expires: datetime) -> Root:
    members(
        signed, required=(*_COMMON, "keys", "roles"), optional=("consistent_snapshot",), at="root"
    )
    found = mapping(signed["roles"], at="roles")
    if set(found) != set(roles.BASE_ROLES):
        raise FieldError("roles are not root, targets, snapshot and timestamp")
    consistent = signed.get("consistent_snapshot", False)
    if not isinstance(consistent, bool):
        raise FieldError("consistent_snapshot is not true or false")
    return Root(
        version,
        expires,
        _keys(signed["keys"]),
        {name: RoleKeys.from_json(mapping(found[name], at=name), at=name) for name in found},
        consistent,
    )


def _targets(signed: dict[str, Any], version: int, expires: datetime) -> Targets:
    members(signed, required=(*_COMMON, "targets"), optional=("delegations",), at="targets")
    listed = mapping(signed["targets"] or {}, at="targets")
    if len(listed) > MAX_TARGETS:
        raise FieldError(f"it lists more than {MAX_TARGETS} targets")
    given = mapping(signed.get("delegations") or {}, at="delegations")
    below = members(given, optional=("keys", "roles"), at="delegations")
    rows = array(below.get("roles") or [], at="delegations", most=MAX_KEYS)
    delegations = tuple(_delegation(row) for row in rows)
    if len({role.name for role in delegations}) != len(delegations):
        raise FieldError("it delegates to one role twice")
    return Targets(
        version,
        expires,
        {name: FileMeta.from_json(value, at="a target") for name, value in listed.items()},
        _keys(below.get("keys") or {}),
        delegations,
    )


def _delegation(value: object) -> Delegation:
    top = members(
        value, required=("name", "keyids", "threshold"), optional=("paths",), at="a delegation"
    )
    name = text(top["name"], at="name")
    if not roles.is_delegation(name):
        raise FieldError(f"{name[:80]!r} is not the name of a delegation")
    paths = array(top.get("paths") or [], at="paths", most=MAX_TARGETS)
    return Delegation(
        name,
        RoleKeys.from_json(top, at=name),
        tuple(text(path, at="paths") for path in paths),
    )


def _listing(signed: dict[str, Any], version: int, expires: datetime) -> Listing:
    members(signed, required=(*_COMMON, "meta"), at="meta")
    meta = mapping(signed["meta"], at="meta")
    if len(meta) > MAX_TARGETS:
        raise FieldError("it lists too many roles")
    return Listing(
        version,
        expires,
        {name: FileMeta.from_json(value, at=f"meta {name[:80]!r}") for name, value in meta.items()},
    )


def _keys(value: object) -> dict[str, Key]:
    listed = mapping(value, at="keys")
    if len(listed) > MAX_KEYS:
        raise FieldError(f"it holds more than {MAX_KEYS} keys")
    found = {key_id: Key.from_json(key, at="a key") for key_id, key in listed.items()}
    for key_id, key in found.items():
        if key.id != key_id:
            raise FieldError(f"key {key_id[:64]!r} is not the key it is called by")
    return found
