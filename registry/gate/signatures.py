"""The signatures of a manifest, out of the repository that holds it.

What the client of ``engine.signatures`` asks a registry for, the registry reads for itself: under
the same limits, and only what this repository has. A damaged signature hides no good one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Manifest
from images.reference import Reference
from registry.errors import MissingContentError
from registry.index import SqlIndex
from registry.protocols import BlobReader
from registry.settings import MANIFEST_LIMIT
from trust import bundle, cosign
from trust.errors import TooManySignaturesError
from trust.notation import envelope, referrer
from trust.policy import Decision
from trust.signature import (
    MAX_BUNDLE,
    MAX_PAYLOAD,
    MAX_SIGNATURES,
    BundleSignature,
    NotationSignature,
    OpenPgpSignature,
    Signature,
)

MAX_OPENPGP: Final = 16
"""Most OpenPGP signatures of one manifest: each takes a process to verify."""

LayerOf = Callable[..., Descriptor | None]


@dataclass(frozen=True, slots=True)
class _Kind:
    """One format of signatures that are kept as referrers."""

    artifact_type: str
    layer_of: LayerOf
    limit: int
    wrap: Callable[[bytes], Signature]


_BUNDLES: Final = _Kind(bundle.BUNDLE, bundle.referrer_layer, MAX_BUNDLE, BundleSignature)
_NOTATION: Final = _Kind(
    referrer.ARTIFACT, referrer.referrer_layer, envelope.MAX_ENVELOPE, NotationSignature
)


@dataclass(slots=True)
class StoredSignatures:
    """A ``trust.signature.SignatureSource`` over one repository, of what ``decision`` asks for.

    Methods block. ``damage`` collects what was wrong with signatures that were passed over.
    """

    decision: Decision
    repository: str
    index: SqlIndex
    storage: BlobReader
    damage: list[ImagesError] = field(default_factory=list)

    def signatures(self, reference: Reference, digest: Digest) -> Iterator[Signature]:
        """All signatures of ``digest`` that could count, unchecked.

        Raises:
            TooManySignaturesError: one format has more than ``MAX_SIGNATURES``; none was read.
        """
        if self.decision.needs_keys:
            if digest.algorithm == "sha256":
                yield from self._tagged(reference, digest)
            yield from self._attached(reference, digest, _BUNDLES)
        if self.decision.needs_notation:
            yield from self._attached(reference, digest, _NOTATION)
        if self.decision.needs_openpgp:
            rows = self.index.simple_signatures(self.repository, str(digest))
            _check_count(len(rows), reference, most=MAX_OPENPGP)
            yield from (OpenPgpSignature(row.content) for row in rows)

    def _tagged(self, reference: Reference, digest: Digest) -> Iterator[Signature]:
        row = self.index.tagged_manifest(self.repository, cosign.signature_tag(digest))
        manifest = None if row is None else self._manifest(row.digest)
        if manifest is None:
            return
        layers = cosign.signature_layers(manifest)
        _check_count(len(layers), reference)
        for layer in layers:
            data = self._blob(layer, MAX_PAYLOAD)
            if data is None:
                continue
            try:
                yield cosign.signature_of(layer, data)
            except ImagesError as error:
                self.damage.append(error)

    def _attached(self, reference: Reference, digest: Digest, kind: _Kind) -> Iterator[Signature]:
        rows = self.index.referrers(
            self.repository,
            str(digest),
            artifact_type=kind.artifact_type,
            last="",
            limit=MAX_SIGNATURES + 1,
        )
        _check_count(len(rows), reference)
        for name, _ in rows:
            manifest = self._manifest(name)
            try:
                layer = None if manifest is None else kind.layer_of(manifest, digest, where=name)
            except ImagesError as error:
                self.damage.append(error)
                continue
            data = self._blob(layer, kind.limit) if layer is not None else None
            if data is not None:
                yield kind.wrap(data)

    def _manifest(self, digest: str) -> Manifest | None:
        row = self.index.manifest(self.repository, digest)
        try:
            if row is None or row.size > MANIFEST_LIMIT:
                raise MissingContentError([digest])
            raw = self.storage.read(Digest.parse(row.digest), limit=row.size)
            return Manifest.parse(raw, row.media_type)
        except ImagesError as error:
            self.damage.append(error)
            return None

    def _blob(self, layer: Descriptor, limit: int) -> bytes | None:
        """The bytes of a small blob that this repository has."""
        link = self.index.blob(self.repository, str(layer.digest))
        try:
            if link is None or not link.size == layer.size <= limit:
                raise MissingContentError([str(layer.digest)])
            return self.storage.read(layer.digest, limit=limit)
        except ImagesError as error:
            self.damage.append(error)
            return None


def _check_count(count: int, reference: Reference, *, most: int = MAX_SIGNATURES) -> None:
    if count > most:
        raise TooManySignaturesError(
            f"the manifest has more than {most} signatures of one format",
            where=str(reference),
            fix="delete signatures that nobody needs, and sign again",
        )
