"""The trust service of one registry root: reads, publishes, keys, and signing again in time.

Methods block (SQLite, signatures) and are called from worker threads. Nothing is kept in memory
between requests but the vault, so processes that share a root agree.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson

from images.errors import ImagesError
from registry.notary.errors import NotaryError
from registry.notary.publishing import Publish, check_upload
from registry.notary.store import Change, SealedKey, StaleError, Stored, TrustStore
from registry.smallfiles import SmallFile
from registry.sql.stores import Stores
from registry.vault import VARIABLE, Vault
from trust.tuf import roles
from trust.tuf.keys import Key, Signer
from trust.tuf.metadata import Envelope

ATTEMPTS: Final = 5
"""How often a publish is validated anew because another one came in between."""

SWEEP: Final = 256
"""Collections signed again in one go."""

SERVER_ROLES: Final = (roles.TIMESTAMP, roles.SNAPSHOT)


def utc_now() -> datetime:
    """The service's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Notary:
    """The service; ``open`` makes one."""

    store: TrustStore
    vault: Vault
    now: Callable[[], datetime] = utc_now

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        files: SmallFile | None = None,
        stores: Stores | None = None,
        environ: Mapping[str, str] = os.environ,
        now: Callable[[], datetime] = utc_now,
    ) -> Notary:
        """Open the service's state in ``folder``, or where replicas share it.

        Raises:
            RegistryStartError, IndexFormatError: it cannot be used.
        """
        vault = Vault.open(files or folder, environ.get(VARIABLE))
        return cls(TrustStore(folder, stores), vault, now)

    def close(self) -> None:
        """Release what is held open."""
        self.store.close()

    def current(self, gun: str, role: str) -> Stored:
        """The newest bytes of a role; ours are signed again first when their time is over.

        Raises:
            NotaryError: METADATA_NOT_FOUND.
        """
        if role in SERVER_ROLES:
            self._refresh_expired(gun)
        if role == roles.SNAPSHOT:
            return self._snapshot_of_timestamp(gun)
        return _found(self.store.current(gun, role))

    def current_set(self, gun: str) -> dict[str, bytes]:
        """The timestamp and what it leads to: snapshot, targets and releases, of one publish.

        Raises:
            NotaryError: METADATA_NOT_FOUND.
        """
        snapshot = self.current(gun, roles.SNAPSHOT).data
        found = {roles.TIMESTAMP: self.current(gun, roles.TIMESTAMP).data, roles.SNAPSHOT: snapshot}
        meta = Envelope.parse(snapshot, role=roles.SNAPSHOT).snapshot().meta
        for role in roles.RELEASED:
            if role in meta:
                found[role] = self.by_hash(gun, role, meta[role].sha256).data
        return found

    def by_hash(self, gun: str, role: str, hexadecimal: str) -> Stored:
        """The bytes of a role with this hash; raises ``NotaryError``."""
        return _found(self.store.by_hash(gun, role, hexadecimal))

    def by_version(self, gun: str, role: str, version: int) -> Stored:
        """One version of a role; raises ``NotaryError``."""
        return _found(self.store.by_version(gun, role, version))

    def publish(self, gun: str, uploads: Mapping[str, bytes]) -> None:
        """Validate an upload and store it, all of it or nothing.

        Raises:
            NotaryError: what is wrong with it; of two that race, one gets VERSION.
        """
        envelopes = check_upload(uploads)
        for _ in range(ATTEMPTS):
            publish = self._on_top(gun, uploads, envelopes)
            files = publish.files()
            try:
                self.store.publish(
                    gun, files, expected=publish.versions, now=publish.now.timestamp()
                )
            except StaleError:
                continue
            return
        raise NotaryError("VERSION", detail="other clients keep publishing")

    def key(self, gun: str, role: str) -> bytes:
        """notary's JSON of the public key for a role: the one the root names, else the newest."""
        root = self.store.current(gun, roles.ROOT)
        held = self.store.keys(gun, role)
        if root is not None:
            wanted = Envelope.parse(root.data, role=roles.ROOT).root().roles[role].key_ids
            named = next((key for key in held if key.id in wanted), None)
            if named is not None:
                return named.public
        if held:
            return held[0].public
        made = self._new_key(gun, role)
        return self.store.first_key(gun, role, made, now=self.now().timestamp()).public

    def rotate_key(self, gun: str, role: str) -> bytes:
        """A new key for a role; it signs once a root that names it is published."""
        made = self._new_key(gun, role)
        self.store.add_key(gun, role, made, now=self.now().timestamp())
        return made.public

    def delete(self, gun: str) -> None:
        """Drop a collection, with its keys; it need not be there."""
        self.store.delete(gun, now=self.now().timestamp())

    def changes(self, gun: str, after: int, count: int) -> list[Change]:
        """See ``TrustStore.changes``."""
        return self.store.changes(gun, after, count)

    def sweep(self) -> int:
        """Sign again what nears its half-life; returns how many collections."""
        due = self.store.due(self.now().timestamp(), limit=SWEEP)
        return sum(self._refresh(gun) for gun in due)

    def _refresh_expired(self, gun: str) -> None:
        stored = self.store.current(gun, roles.TIMESTAMP)
        if stored is None:
            return
        timestamp = Envelope.parse(stored.data, role=roles.TIMESTAMP).timestamp()
        snapshot = _found(self.store.current(gun, roles.SNAPSHOT))
        listed = Envelope.parse(snapshot.data, role=roles.SNAPSHOT).snapshot()
        if min(timestamp.expires, listed.expires) <= self.now():
            self._refresh(gun)

    def _refresh(self, gun: str) -> bool:
        publish = self._on_top(gun, {}, {})
        try:
            files = publish.refreshed()
            if not files:
                return False
            self.store.publish(gun, files, expected=publish.versions, now=publish.now.timestamp())
        except (StaleError, NotaryError):
            # Another process did it, or the keys are not ours any more.
            return False
        return True

    def _snapshot_of_timestamp(self, gun: str) -> Stored:
        """The snapshot that the current timestamp names, never one without its timestamp."""
        stored = _found(self.store.current(gun, roles.TIMESTAMP))
        listed = Envelope.parse(stored.data, role=roles.TIMESTAMP).timestamp()
        return self.by_hash(gun, roles.SNAPSHOT, listed.meta[roles.SNAPSHOT].sha256)

    def _on_top(
        self, gun: str, uploads: Mapping[str, bytes], envelopes: Mapping[str, Envelope]
    ) -> Publish:
        def read(role: str) -> bytes | None:
            stored = self.store.current(gun, role)
            return None if stored is None else stored.data

        def held(role: str, key: Key) -> Signer | None:
            return self._held(gun, role, key)

        versions = self.store.versions(gun)
        return Publish(gun, uploads, envelopes, versions, read, held, self.now())

    def _held(self, gun: str, role: str, key: Key) -> Signer | None:
        found = next((row for row in self.store.keys(gun, role) if row.id == key.id), None)
        if found is None:
            return None
        try:
            return self.vault.unseal(found.sealed, _place(gun, role, found.id))
        except (ValueError, ImagesError) as error:
            raise NotaryError("NO_CRYPTOSERVICE") from error

    def _new_key(self, gun: str, role: str) -> SealedKey:
        signer = Signer.generate()
        key_id = signer.key.id
        sealed = self.vault.seal(signer, _place(gun, role, key_id))
        return SealedKey(key_id, orjson.dumps(signer.key.to_json()), sealed)


def _place(gun: str, role: str, key_id: str) -> str:
    """What a sealed key is bound to; no part can hold a NUL."""
    return f"{gun}\0{role}\0{key_id}"


def _found(stored: Stored | None) -> Stored:
    if stored is None:
        raise NotaryError("METADATA_NOT_FOUND")
    return stored
