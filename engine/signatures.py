"""Fetching the signatures of an image from its registry; what arrives is carried, not believed.

Rules: work is bounded by ``MAX_SIGNATURES`` before anything is fetched; one damaged signature does
not hide a good one, so damage is returned beside what was found; only the network's own errors are
raised.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from images.client.errors import ManifestUnknownError, RegistryError, RemoteBlobUnknownError
from images.client.request import Repository, Unchanged
from images.client.threads import run_bounded
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import DigestMismatchError, ImagesError, InputError, InvalidManifestError
from images.manifest import Manifest
from images.reference import Reference
from records import Record, replace
from trust import bundle, cosign
from trust.errors import (
    MalformedSignatureError,
    TooManySignaturesError,
    UnsupportedSignatureError,
    VerificationError,
)
from trust.signature import (
    MAX_BUNDLE,
    MAX_PAYLOAD,
    MAX_SIGNATURES,
    BundleSignature,
    NotationSignature,
    OpenPgpSignature,
    Signature,
)

if TYPE_CHECKING:
    from images.client import RegistryClient

_T = TypeVar("_T")

MAX_SIMPLE: Final = 4 << 20
"""Bytes of a list of OpenPGP signatures; each is about 1 KiB."""

PARALLEL: Final = 8
"""Signature blobs fetched at once."""


class Found(Record):
    """What a registry holds for a digest: signatures, and the damage met on the way."""

    items: tuple[Signature, ...] = ()
    damage: tuple[VerificationError, ...] = ()

    def __add__(self, other: Found) -> Found:
        return Found((*self.items, *other.items), (*self.damage, *other.damage))


async def fetch_tag_signatures(
    client: RegistryClient, reference: Reference, digest: Digest
) -> Found:
    """The signatures under the ``.sig`` tag of ``digest``.

    Raises:
        TooManySignaturesError: more than ``MAX_SIGNATURES``; nothing but the manifest was fetched.
        RegistryError: the registry's side; that there is no such tag is no error.
    """
    if digest.algorithm != "sha256":
        return Found()
    try:
        manifest = await signature_manifest(client, reference, digest)
    except MalformedSignatureError as error:
        return Found(damage=(error,))
    if manifest is None:
        return Found()
    layers = cosign.signature_layers(manifest)
    _check_count(len(layers), reference)
    # Signatures by several keys mostly share one payload.
    distinct = {layer.digest: layer for layer in layers}
    jobs = [partial(_read, client, reference, blob, MAX_PAYLOAD) for blob in distinct.values()]
    blobs = await _all(jobs)
    payloads = dict(zip(distinct, blobs, strict=True))
    return _gather([_paired(layer, payloads[layer.digest]) for layer in layers])


async def fetch_bundles(client: RegistryClient, reference: Reference, digest: Digest) -> Found:
    """The sigstore bundles that refer to ``digest``; raises as ``fetch_tag_signatures`` does."""
    kind = _Attached(bundle.BUNDLE, bundle.referrer_layer, MAX_BUNDLE, BundleSignature)
    return await _fetch_attached(client, reference, digest, kind)


async def fetch_notation(client: RegistryClient, reference: Reference, digest: Digest) -> Found:
    """The Notary Project envelopes that refer to ``digest``; raises likewise."""
    # JWS and X.509 are loaded by those whose policy asks for them.
    from trust.notation import envelope, referrer

    kind = _Attached(
        referrer.ARTIFACT, referrer.referrer_layer, envelope.MAX_ENVELOPE, NotationSignature
    )
    return await _fetch_attached(client, reference, digest, kind)


class SignatureTag(Record):
    """What a ``.sig`` tag holds, None for nothing, and the condition to replace it under."""

    manifest: Manifest | None
    unchanged: Unchanged | None


async def signature_tag(
    client: RegistryClient, reference: Reference, digest: Digest
) -> SignatureTag:
    """Read the ``.sig`` tag of ``digest``; raises ``MalformedSignatureError``."""
    tag = reference.with_tag(cosign.signature_tag(digest))
    try:
        fetched = await client.read_manifest(tag)
    except ManifestUnknownError:
        return SignatureTag(None, Unchanged())
    except (InputError, DigestMismatchError) as error:
        raise _damage(error, str(tag)) from error
    if not isinstance(fetched.document, Manifest):
        wrong = InvalidManifestError("expected an image manifest, got an index")
        raise _damage(wrong, str(tag))
    return SignatureTag(fetched.document, fetched.unchanged)


async def signature_manifest(
    client: RegistryClient, reference: Reference, digest: Digest
) -> Manifest | None:
    """What the ``.sig`` tag holds, None if there is none; raises ``MalformedSignatureError``."""
    return (await signature_tag(client, reference, digest)).manifest


async def _read(
    client: RegistryClient, reference: Reference, blob: Descriptor, limit: int
) -> bytes | MalformedSignatureError:
    """A small blob, or the damage that hides it; the network's errors are raised."""
    try:
        return await client.read_blob(reference, blob, limit=limit)
    except (RemoteBlobUnknownError, DigestMismatchError, InputError) as error:
        return _damage(error, f"{reference.name}@{blob.digest}")


async def fetch_simple(client: RegistryClient, reference: Reference, digest: Digest) -> Found:
    """The OpenPGP signatures that the registry's signature extension has.

    A registry without the extension has none; lookaside servers are not asked.
    """
    path = f"/extensions/v2/{reference.repository}/signatures/{digest}"
    place = Repository(reference.registry, reference.repository)
    try:
        raw = await client.get(place, path, what="simple signatures", limit=MAX_SIMPLE)
        listed = json.loads(raw)["signatures"]
        messages = [base64.b64decode(item["content"], validate=True) for item in listed]
    except RegistryError as error:
        if error.status not in (404, 405):
            raise
        return Found()
    except (ValueError, TypeError, KeyError) as error:
        damage = MalformedSignatureError(
            "the registry's list of simple signatures is damaged", where=str(reference)
        )
        damage.__cause__ = error
        return Found(damage=(damage,))
    _check_count(len(messages), reference)
    return Found(tuple(OpenPgpSignature(message) for message in messages))


async def put_simple(
    client: RegistryClient, reference: Reference, digest: Digest, message: bytes
) -> None:
    """Give the registry one more OpenPGP signature of ``digest``.

    Raises:
        RegistryError: it does not take it; 404 and 405 say that it has no signature extension.
    """
    name = f"{digest}@{os.urandom(16).hex()}"
    content = base64.b64encode(message).decode()
    document = {"schemaVersion": 2, "name": name, "type": "atomic", "content": content}
    path = f"/extensions/v2/{reference.repository}/signatures/{digest}"
    place = Repository(reference.registry, reference.repository)
    await client.put(place, path, json.dumps(document).encode(), what="simple signatures")


class _LayerOf(Protocol):
    def __call__(self, manifest: Manifest, subject: Digest, *, where: str) -> Descriptor | None:
        """The layer that holds a signature; see ``trust.bundle.referrer_layer``."""


class _Attached(Record):
    """One format of signatures that are kept as referrers."""

    artifact_type: str
    layer_of: _LayerOf
    limit: int
    wrap: Callable[[bytes], Signature]


async def _fetch_attached(
    client: RegistryClient, reference: Reference, digest: Digest, kind: _Attached
) -> Found:
    found = await client.referrers(reference, digest, artifact_type=kind.artifact_type)
    _check_count(len(found), reference)
    jobs = [partial(_attached, client, reference, digest, kind, item) for item in found]
    return _gather([item for item in await _all(jobs) if item is not None])


async def _attached(
    client: RegistryClient,
    reference: Reference,
    digest: Digest,
    kind: _Attached,
    item: Descriptor,
) -> Signature | VerificationError | None:
    place = replace(reference, tag=None, digest=item.digest)
    try:
        raw, media_type = await client.manifest(place)
        layer = kind.layer_of(Manifest.parse(raw, media_type), digest, where=str(place))
    except (MalformedSignatureError, UnsupportedSignatureError) as error:
        return error
    except (ManifestUnknownError, InputError, DigestMismatchError) as error:
        return _damage(error, str(place))
    if layer is None:
        return None
    data = await _read(client, reference, layer, kind.limit)
    return data if isinstance(data, MalformedSignatureError) else kind.wrap(data)


def _paired(
    layer: Descriptor, data: bytes | MalformedSignatureError
) -> Signature | MalformedSignatureError:
    if isinstance(data, MalformedSignatureError):
        return data
    try:
        return cosign.signature_of(layer, data)
    except MalformedSignatureError as error:
        return error


def _gather(results: Sequence[Signature | VerificationError]) -> Found:
    damage = [item for item in results if isinstance(item, VerificationError)]
    items = [item for item in results if not isinstance(item, VerificationError)]
    return Found(tuple(items), tuple(damage))


def _damage(error: ImagesError, where: str) -> MalformedSignatureError:
    damage = MalformedSignatureError(
        f"the registry's copy of a signature is damaged: {error.what}",
        where=where,
        fix="delete it in the registry and sign the image again",
    )
    damage.__cause__ = error
    return damage


def _check_count(count: int, reference: Reference) -> None:
    if count > MAX_SIGNATURES:
        raise TooManySignaturesError(
            f"the registry lists {count} signatures, more than {MAX_SIGNATURES}",
            where=str(reference),
            fix="delete the signatures in the registry and sign the image again",
        )


async def _all(jobs: Sequence[Callable[[], Coroutine[Any, Any, _T]]]) -> list[_T]:
    """The jobs' results in order; the first failure is raised."""
    results: dict[int, _T] = {}

    async def keep(position: int, job: Callable[[], Coroutine[Any, Any, _T]]) -> None:
        results[position] = await job()

    await run_bounded([partial(keep, *item) for item in enumerate(jobs)], PARALLEL)
    return [results[position] for position in range(len(jobs))]
