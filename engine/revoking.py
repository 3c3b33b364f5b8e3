"""Taking signatures back: from the ``.sig`` tag and from among the referrers of a manifest.

With a key only its own signatures go, and only where the bytes prove that it made them; without one
all of the format go. Attestations that lie beside signatures stay. What was pulled already is not
reached, and a registry that keeps old manifests can serve them again: a key that is lost has to
leave the policy, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from engine.signatures import SignatureTag, signature_tag
from engine.trusting import (
    APPEND_ATTEMPTS,
    CONTENDED_ATTEMPTS,
    Format,
    back_off,
    made_by,
    signed_manifests,
)
from images.client.errors import ManifestUnknownError, RemoteBlobUnknownError, TagMovedError
from images.descriptor import Descriptor
from images.errors import DigestMismatchError, InputError
from images.manifest import Manifest
from images.mediatype import OCI_MANIFEST
from images.reference import Reference
from trust import bundle, cosign
from trust.claims import authenticate
from trust.errors import NothingToRevokeError, SigningError, TrustError
from trust.keys import PublicKey
from trust.signature import MAX_BUNDLE, MAX_PAYLOAD, BundleSignature

if TYPE_CHECKING:
    from images.client import RegistryClient

_DAMAGE: Final = (
    DigestMismatchError,
    InputError,
    ManifestUnknownError,
    RemoteBlobUnknownError,
)
"""What hides whose signature it is."""

_PREDICATE: Final = "dev.sigstore.bundle.predicateType"


@dataclass(frozen=True, slots=True)
class Revoked:
    """One manifest, and how many of its signatures are gone, by format."""

    descriptor: Descriptor
    removed: dict[Format, int]


async def revoke(
    client: RegistryClient,
    reference: Reference,
    *,
    formats: Sequence[Format] = tuple(Format),
    key: PublicKey | None = None,
    pause: Callable[[int], Awaitable[None]] = back_off,
) -> tuple[Revoked, ...]:
    """Remove signatures of what ``reference`` points to, and of every manifest in an index.

    Raises:
        NothingToRevokeError: there was none to remove.
        DeletionRefusedError: the registry does not allow it. RegistryError: its side otherwise.
        SigningError: other signers kept writing the signature tag.
    """
    done: list[Revoked] = []
    revoker = _Revoker(client, reference, key, pause)
    for target in await signed_manifests(client, reference):
        counts = {form: await revoker.revoke(form, target) for form in formats}
        removed = {form: count for form, count in counts.items() if count}
        if removed:
            done.append(Revoked(target, removed))
    if not done:
        who = "" if key is None else f" by the key {key.key_id[:12]}"
        raise NothingToRevokeError(
            f"no {' or '.join(formats)} signature{who} to remove", where=str(reference)
        )
    return tuple(done)


@dataclass(frozen=True, slots=True)
class _Revoker:
    """One revocation over several manifests: what is the same for all of them."""

    client: RegistryClient
    reference: Reference
    key: PublicKey | None
    pause: Callable[[int], Awaitable[None]]

    async def revoke(self, form: Format, target: Descriptor) -> int:
        """Remove the signatures of one format; returns how many there were."""
        if form is Format.TAG:
            return await self._from_tag(target) if target.digest.algorithm == "sha256" else 0
        if form is Format.BUNDLE:
            return await self._referrers(target, bundle.BUNDLE, self._is_bundle)
        from trust.notation.referrer import ARTIFACT

        return await self._referrers(target, ARTIFACT, self._is_envelope)

    async def _from_tag(self, target: Descriptor) -> int:
        # Registries without conditional requests write whatever came between, so it is read back.
        removed = written = moved = 0
        while written < APPEND_ATTEMPTS and moved < CONTENDED_ATTEMPTS:
            state = await signature_tag(self.client, self.reference, target.digest)
            gone = [] if state.manifest is None else await self._own_layers(state.manifest)
            if state.manifest is None or not gone:
                return removed
            try:
                await self._shrink(target, state.manifest, state, gone)
            except TagMovedError:
                moved += 1
                await self.pause(moved)
            else:
                removed += len(gone)
                written += 1
        raise SigningError(
            "other signers keep overwriting the signature tag",
            where=f"{self.reference.name}:{cosign.signature_tag(target.digest)}",
            fix="revoke again when they are done",
        )

    async def _own_layers(self, manifest: Manifest) -> list[Descriptor]:
        layers = cosign.signature_layers(manifest)
        if self.key is None:
            return list(layers)
        return [layer for layer in layers if await self._made(layer, self.key)]

    async def _made(self, layer: Descriptor, key: PublicKey) -> bool:
        try:
            payload = await self.client.read_blob(self.reference, layer, limit=MAX_PAYLOAD)
        except _DAMAGE:
            return False
        return await asyncio.to_thread(made_by, key, layer.annotations, payload)

    async def _shrink(
        self, target: Descriptor, manifest: Manifest, state: SignatureTag, gone: list[Descriptor]
    ) -> None:
        """Write the tag without these layers, or remove it where nothing is left.

        The removal is by digest, so that a signature added meanwhile keeps its tag.
        """
        kept = cosign.without(manifest, gone)
        if kept is None:
            place = replace(self.reference, tag=None, digest=manifest.digest)
            await self.client.delete_manifest(place)
            return
        smaller, config = kept
        await self.client.put_blob(self.reference, config)
        tag = self.reference.with_tag(cosign.signature_tag(target.digest))
        await self.client.put_manifest(tag, smaller.raw, OCI_MANIFEST, condition=state.unchanged)

    async def _referrers(
        self, target: Descriptor, artifact_type: str, concerns: Callable[[Manifest, bytes], bool]
    ) -> int:
        found = await self.client.referrers(
            self.reference, target.digest, artifact_type=artifact_type
        )
        count = 0
        for item in found:
            place = replace(self.reference, tag=None, digest=item.digest)
            read = await self._attached(place)
            if read is None:
                gone = self.key is None and not item.annotations.get(_PREDICATE)
            else:
                gone = await asyncio.to_thread(concerns, *read)
            if gone:
                await self.client.delete_manifest(place, subject=target.digest)
                count += 1
        return count

    async def _attached(self, place: Reference) -> tuple[Manifest, bytes] | None:
        """A referrer and the bytes of its one layer; None where damage hides them."""
        try:
            manifest = Manifest.parse(*await self.client.manifest(place))
            if len(manifest.layers) != 1:
                return None
            layer = manifest.layers[0]
            return manifest, await self.client.read_blob(place, layer, limit=MAX_BUNDLE)
        except _DAMAGE:
            return None

    def _is_bundle(self, manifest: Manifest, raw: bytes) -> bool:
        """Whether it is a signature, and the key's; an attestation is none."""
        predicate = manifest.annotations.get(_PREDICATE, "")
        if self.key is None and predicate:
            return predicate == bundle.COSIGN_SIGN
        try:
            if self.key is None:
                bundle.parse_statement(bundle.parse_bundle(raw))
            else:
                authenticate(BundleSignature(raw), [self.key])
        except TrustError:
            return False
        return True

    def _is_envelope(self, _manifest: Manifest, raw: bytes) -> bool:
        """Whether the key signed it; of this artifact type everything is a signature."""
        if self.key is None:
            return True
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        from trust.notation.envelope import open_envelope

        try:
            leaf = open_envelope(raw).chain[0].public_key()
        except TrustError:
            return False
        return leaf.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == self.key.der
