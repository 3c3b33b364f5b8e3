"""Signs what was received: digest, name, time and pusher of each manifest, as referrers of it.

A follower of the index: a push waits for nothing, and none is missed. The signature and the
position after it are one transaction, so a crash neither repeats nor loses one. What is signed is a
statement any cosign (a sigstore bundle) or notation client verifies with the registry's key:
``timestamp`` and ``pusher`` are signed with it. Signatures themselves are not countersigned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol

from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Manifest
from images.mediatype import OCI_MANIFEST
from images.reference import Reference
from registry.countersign.keyring import Keyring
from registry.countersign.settings import CountersignSettings
from registry.database import NO_REPOSITORY
from registry.errors import PolicyError
from registry.index import SqlIndex
from registry.manifests import examine
from registry.outbox import Change, Event, read_events
from registry.records import ManifestRow
from registry.rules import repository_matcher
from registry.transparency.log import SIGNATURE_TYPES
from trust import bundle
from trust.cosign import SIMPLE_SIGNING
from trust.notation import referrer as notation_referrer
from trust.signature import TIMESTAMP

log = logging.getLogger("registry")

FACT: Final = "countersigned"
"""The fact that holds the last event that was taken."""

PUSHER: Final = "pusher"
"""The annotation with the account that pushed; absent for nobody in particular."""


class SmallBlobs(Protocol):
    """Storage, as far as small content goes into and out of it."""

    def read(self, digest: Digest, *, limit: int) -> bytes:
        """Read and verify a small blob; raises ``BlobUnknownError`` or ``InternalError``."""
        ...

    def put(self, data: bytes, digest: Digest) -> None:
        """Store bytes that hash to ``digest``; returns when they are durable."""
        ...


class Countersigner:
    """The countersigning of one registry. Methods block."""

    def __init__(
        self,
        settings: CountersignSettings,
        index: SqlIndex,
        storage: SmallBlobs,
        keyring: Keyring,
    ) -> None:
        self._settings = settings
        self._index = index
        self._storage = storage
        self.keyring = keyring
        self._matchers = [repository_matcher(pattern) for pattern in settings.repositories]

    @property
    def position(self) -> int:
        """The last event that was taken."""
        return int(self._index.fact(FACT) or 0)

    def catch_up(self) -> int:
        """Sign what came since; returns how many manifests. One process at a time."""
        signed = 0
        while events := read_events(self._index.reader(), after=self.position):
            for event in events:
                signed += self._take(event)
        return signed

    def _take(self, event: Event) -> int:
        writes: list[Callable[[], None]] = []
        if self._concerns(event):
            row = self._index.manifest(event.repository, event.digest)
            if row is not None and not self._is_signature(row):
                writes = self._countersigned(event, row)
        try:
            self._index.write(event.repository, partial(self._commit, event, writes))
        except PolicyError as error:
            log.warning("cannot countersign %s@%s: %s", event.repository, event.digest, error)
            self._index.write(NO_REPOSITORY, partial(self._commit, event, ()))
            return 0
        return bool(writes)

    def _concerns(self, event: Event) -> bool:
        return (
            event.change is Change.MANIFEST
            and event.artifact_type not in SIGNATURE_TYPES
            # Neither format can name another algorithm.
            and event.digest.startswith("sha256:")
            and any(matches(event.repository) for matches in self._matchers)
        )

    def _is_signature(self, row: ManifestRow) -> bool:
        """Whether it is what cosign keeps under its tag, which is known by its layers alone."""
        try:
            raw = self._storage.read(Digest.parse(row.digest), limit=row.size)
            manifest = Manifest.parse(raw, row.media_type)
        except ImagesError:
            return False
        kinds = {layer.media_type for layer in manifest.layers}
        return kinds == {SIMPLE_SIGNING}

    def _countersigned(self, event: Event, row: ManifestRow) -> list[Callable[[], None]]:
        """Store the signatures of one manifest; returns the writes that make them known."""
        subject = Descriptor(row.media_type, Digest.parse(row.digest), row.size)
        moment = datetime.fromtimestamp(event.moment, UTC)
        claims = {TIMESTAMP: str(event.moment)}
        if event.actor:
            claims[PUSHER] = event.actor
        key = self.keyring.current()
        name = Reference(self._settings.name, event.repository, None, subject.digest)
        made = bundle.sign(key.key, name, subject.digest, annotations=claims)
        manifest, config = bundle.referrer(made, subject, created=moment)
        writes = self._stored(event.repository, manifest, (config, made.raw))
        if self._settings.notation:
            signed = Descriptor(subject.media_type, subject.digest, subject.size, claims)
            envelope = key.sign(signed, signed_at=moment)
            manifest, config = notation_referrer.referrer(
                envelope, key.chain, subject, created=moment
            )
            writes += self._stored(event.repository, manifest, (config, envelope))
        return writes

    def _stored(
        self, repository: str, manifest: Manifest, blobs: Iterable[bytes]
    ) -> list[Callable[[], None]]:
        writes: list[Callable[[], None]] = []
        for data in blobs:
            digest = Digest.of(data)
            self._storage.put(data, digest)
            writes.append(partial(self._index.link_blob, repository, str(digest), len(data)))
        self._storage.put(manifest.raw, manifest.digest)
        record = examine(manifest.raw, OCI_MANIFEST, manifest.digest)
        writes.append(partial(self._index.put_manifest, repository, record, (), actor="registry"))
        return writes

    def _commit(self, event: Event, writes: Iterable[Callable[[], None]]) -> None:
        for write in writes:
            write()
        self._index.set_fact(FACT, event.id)
