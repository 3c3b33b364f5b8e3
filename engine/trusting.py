"""Signing in a registry, and the verdict that pull obeys.

The glue between ``images.client`` and ``trust``: ``engine.signatures`` carries what a registry
returns, ``trust.verify`` judges it, and nothing about an image is believed before.

Requests of a verification: the ``.sig`` manifest and one payload; only if these do not satisfy the
policy, the referrers and one manifest and one blob for each bundle or envelope, of the kinds that
the policy asks for. A policy that looks at no signature costs no request.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from engine.signatures import (
    Found,
    SignatureTag,
    fetch_bundles,
    fetch_notation,
    fetch_simple,
    fetch_tag_signatures,
    put_simple,
    signature_tag,
)
from images import manifest as manifests
from images.client.errors import TagMovedError
from images.client.threads import pause, to_thread
from images.descriptor import Descriptor
from images.digest import Digest
from images.manifest import Index, Manifest
from images.mediatype import OCI_MANIFEST, is_index
from images.reference import Reference
from records import Record, field, replace
from trust import bundle, cosign, simple
from trust.claims import authenticate
from trust.errors import (
    MalformedSignatureError,
    SigningError,
    UnsignedError,
    VerificationError,
    WrongKeyError,
)
from trust.keys import PublicKey
from trust.policy import Decision, Policy
from trust.policyfile import read_key as read_key_file
from trust.requirements import NotarySigned, SignatureFormat, SigstoreSigned
from trust.signature import (
    BundleSignature,
    NotationSignature,
    Signature,
    Signatures,
    SimpleSignature,
)
from trust.signers.signer import Signer
from trust.verify import verify

if TYPE_CHECKING:
    from images.client import RegistryClient
    from trust.notation.signing import CertifiedKey

APPEND_ATTEMPTS: Final = 5
"""How often an append to a ``.sig`` tag is repeated when another signer overwrote it."""

CONTENDED_ATTEMPTS: Final = 300
"""How often an append is repeated when another signer's came first; each time one got through."""

MAX_PLATFORMS: Final = 256
"""Most manifests of an index that are signed in one go."""


class Format(StrEnum):
    """Where a signature is kept."""

    TAG = "cosign"
    """The ``sha256-<hex>.sig`` tag, which skopeo, podman and every cosign read."""
    BUNDLE = "bundle"
    """A sigstore bundle as referrer, which cosign 3 writes and prefers."""
    NOTATION = "notation"
    """A Notary Project envelope as referrer; needs a certificate."""


DEFAULT_FORMATS: Final = (Format.TAG, Format.BUNDLE)
"""Both of cosign's, since neither is read by everybody."""


class SignedManifest(Record):
    """One manifest that carries the signature now; ``added`` says what was not there before."""

    descriptor: Descriptor
    added: tuple[Format, ...]


def utc_now() -> datetime:
    """The clock of a signature's ``created`` annotation."""
    return datetime.now(UTC)


async def back_off(attempt: int) -> None:
    """Wait a random while, longer the more signers write to the same tag; ``attempt`` is from 1."""
    await pause(random.uniform(0.0, min(0.02 * 2**attempt, 2.0)))


async def sign(
    client: RegistryClient,
    reference: Reference,
    key: Signer,
    *,
    annotations: Mapping[str, str] | None = None,
    formats: Sequence[Format] = DEFAULT_FORMATS,
    certified: CertifiedKey | None = None,
    recursive: bool = True,
    now: Callable[[], datetime] = utc_now,
    pause: Callable[[int], Awaitable[None]] = back_off,
) -> tuple[SignedManifest, ...]:
    """Sign what ``reference`` points to in its registry and store the signatures there.

    The name is resolved once. An index is signed itself and, unless ``recursive`` is off, with
    every manifest in it, because other tools verify the manifest of their platform. Signing again
    with the same key, name and annotations adds nothing. ``certified`` signs in notation's format,
    beside ``formats``.

    Raises:
        SigningError: the digest is not sha256, or the index is too large to sign.
        RegistryError: the registry's side.
    """
    signer = _Signer(client, reference, key, annotations, tuple(formats), certified, now, pause)
    targets = await signed_manifests(client, reference, recursive=recursive)
    return tuple([await signer.sign(target) for target in targets])


async def sign_simply(
    client: RegistryClient,
    reference: Reference,
    key: str,
    *,
    now: Callable[[], datetime] = utc_now,
) -> tuple[Digest, ...]:
    """Sign with a key of gpg, by the registry's signature extension; returns what was signed.

    Of an index, the manifests in it are signed as well.

    Raises:
        SigningError: gpg does not sign.
        RegistryError: the registry's side; it may have no such extension.
    """
    targets = await signed_manifests(client, reference)
    for target in targets:
        message = await to_thread(simple.sign, key, reference, target.digest, now=now())
        await put_simple(client, reference, target.digest, message)
    return tuple(target.digest for target in targets)


async def verify_digest(
    client: RegistryClient,
    reference: Reference,
    digest: Digest,
    policy: Policy,
    *,
    read_key: Callable[[str], bytes] = read_key_file,
    notary: TrustData | None = None,
    now: Callable[[], datetime] = utc_now,
) -> None:
    """Return if the policy accepts ``digest`` as ``reference``; fetch no more than that takes.

    ``notary`` gathers the trust data of policies that ask for it; without it there is none.

    Raises:
        VerificationError: a subclass for the reason, from ``trust.verify``.
        KeyFileError: a key or trust store of the policy cannot be read.
        RegistryError: signatures are needed and the registry does not answer.
    """

    async def judge(found: Found) -> None:
        # Reading keys and checking signatures block, so they leave the event loop.
        signatures = Signatures(found.items)
        await to_thread(verify, reference, digest, policy, signatures, now=now(), read_key=read_key)

    decision = policy.decide(reference)
    found = Found()
    for fetch in _sources(decision, notary):
        found += await fetch(client, reference, digest)
        if found.items:
            try:
                return await judge(found)
            except VerificationError:
                pass  # The next source may satisfy the policy; the verdict below covers all.
    try:
        return await judge(found)
    except UnsignedError as error:
        raise (found.damage[0] if found.damage else error) from error


Fetch = Callable[["RegistryClient", Reference, Digest], Awaitable[Found]]
TrustData = Callable[[Reference, Digest, NotarySigned], Awaitable[Found]]
"""Asks for the trust data that a requirement wants; see ``engine.content_trust.evidence``."""


async def fetch_evidence(
    decision: Decision, reference: Reference, digest: Digest, notary: TrustData | None
) -> Found:
    """What trust data says, for each requirement of a decision that asks for it."""
    found = Found()
    for requirement in decision.requirements:
        if isinstance(requirement, NotarySigned) and notary is not None:
            found += await notary(reference, digest, requirement)
    return found


def _sources(decision: Decision, notary: TrustData | None) -> tuple[Fetch, ...]:
    """Where the signatures lie that a decision asks for, the cheapest first."""
    if not decision.needs_signatures:
        return ()
    formats = {
        wanted
        for requirement in decision.requirements
        if isinstance(requirement, SigstoreSigned)
        for wanted in requirement.formats
    }
    sources: list[Fetch] = []
    if SignatureFormat.COSIGN in formats:
        sources.append(fetch_tag_signatures)
    if decision.needs_notary:
        sources.append(lambda _, name, digest: fetch_evidence(decision, name, digest, notary))
    if decision.needs_openpgp:
        sources.append(fetch_simple)
    if decision.needs_notation:
        sources.append(fetch_notation)
    if SignatureFormat.BUNDLE in formats:
        sources.append(fetch_bundles)
    return tuple(sources)


async def verify_reference(
    client: RegistryClient,
    reference: Reference,
    policy: Policy,
    *,
    read_key: Callable[[str], bytes] = read_key_file,
    notary: TrustData | None = None,
) -> Descriptor:
    """Resolve ``reference`` once, verify it, and return what it points to; raises likewise."""
    descriptor = await client.resolve(reference)
    digest = descriptor.digest
    await verify_digest(client, reference, digest, policy, read_key=read_key, notary=notary)
    return descriptor


def verifier(
    client: RegistryClient,
    policy: Policy,
    *,
    read_key: Callable[[str], bytes] = read_key_file,
    notary: TrustData | None = None,
) -> Callable[[Reference, Descriptor], Awaitable[None]]:
    """The ``verify`` argument of ``RegistryClient.pull``; what it raises refuses the pull."""

    async def check(reference: Reference, descriptor: Descriptor) -> None:
        digest = descriptor.digest
        await verify_digest(client, reference, digest, policy, read_key=read_key, notary=notary)

    return check


class _Signer(Record):
    """One signing of several manifests: what is the same for all of them."""

    client: RegistryClient
    reference: Reference
    key: Signer
    annotations: Mapping[str, str] | None
    formats: tuple[Format, ...]
    certified: CertifiedKey | None
    now: Callable[[], datetime] = field(repr=False)
    pause: Callable[[int], Awaitable[None]] = field(repr=False)

    async def sign(self, target: Descriptor) -> SignedManifest:
        """Add what is missing in each format."""
        reference = self._name_for(target)
        added: list[Format] = []
        if Format.TAG in self.formats and await self._append(reference, target.digest):
            added.append(Format.TAG)
        if Format.BUNDLE in self.formats and await self._attach(reference, target):
            added.append(Format.BUNDLE)
        if self.certified is not None and await self._enclose(self.certified, target):
            added.append(Format.NOTATION)
        return SignedManifest(target, tuple(added))

    def _name_for(self, target: Descriptor) -> Reference:
        if self.reference.tag is None:
            return replace(self.reference, digest=target.digest)
        return replace(self.reference, digest=None)

    async def _append(self, reference: Reference, digest: Digest) -> bool:
        signature = await to_thread(
            cosign.sign, self.key, reference, digest, annotations=self.annotations
        )
        # The tag is read, changed and written; another signer may write in between. Registries
        # with conditional requests refuse then (412); at others what was written is looked for.
        written = moved = 0
        while written < APPEND_ATTEMPTS and moved < CONTENDED_ATTEMPTS:
            state = await signature_tag(self.client, self.reference, digest)
            if state.manifest is not None and self._signed(state.manifest, signature):
                return written + moved > 0
            try:
                await self._push(digest, state, signature)
                written += 1
            except TagMovedError:
                moved += 1
                await self.pause(moved)
        state = await signature_tag(self.client, self.reference, digest)
        if state.manifest is not None and self._signed(state.manifest, signature):
            return True
        raise SigningError(
            "other signers keep overwriting the signature tag",
            where=f"{self.reference.name}:{cosign.signature_tag(digest)}",
            fix="sign again when they are done",
        )

    def _signed(self, manifest: Manifest, signature: SimpleSignature) -> bool:
        """Whether the manifest has this key's signature over the same payload."""
        expected = Digest.of(signature.payload)
        return any(
            layer.digest == expected
            and made_by(self.key.public, layer.annotations, signature.payload)
            for layer in cosign.signature_layers(manifest)
        )

    async def _push(self, digest: Digest, state: SignatureTag, signature: SimpleSignature) -> None:
        manifest, config = cosign.append(state.manifest, signature)
        await self.client.put_blob(self.reference, signature.payload)
        await self.client.put_blob(self.reference, config)
        tag = self.reference.with_tag(cosign.signature_tag(digest))
        await self.client.put_manifest(tag, manifest.raw, OCI_MANIFEST, condition=state.unchanged)

    async def _attach(self, reference: Reference, target: Descriptor) -> bool:
        made = await to_thread(
            bundle.sign, self.key, reference, target.digest, annotations=self.annotations
        )
        wanted = bundle.parse_bundle(made.raw)
        for item in (await fetch_bundles(self.client, self.reference, target.digest)).items:
            if isinstance(item, BundleSignature) and _same_bundle(item, wanted, self.key.public):
                return False
        manifest, config = bundle.referrer(made, target, created=self.now())
        await self.client.put_blob(self.reference, config)
        await self.client.put_blob(self.reference, made.raw)
        place = replace(self.reference, tag=None, digest=manifest.digest)
        await self.client.put_manifest(place, manifest.raw, OCI_MANIFEST)
        return True

    async def _enclose(self, certified: CertifiedKey, target: Descriptor) -> bool:
        from trust.notation import referrer

        present = (await fetch_notation(self.client, self.reference, target.digest)).items
        if any(_same_envelope(item, certified, target) for item in present):
            return False
        plain = Descriptor(target.media_type, target.digest, target.size, self.annotations or {})
        now = self.now()
        envelope = await to_thread(certified.sign, plain, signed_at=now)
        manifest, config = referrer.referrer(envelope, certified.chain, target, created=now)
        await self._put_referrer(manifest, config, envelope)
        return True

    async def _put_referrer(self, manifest: Manifest, *blobs: bytes) -> None:
        for data in blobs:
            await self.client.put_blob(self.reference, data)
        place = replace(self.reference, tag=None, digest=manifest.digest)
        await self.client.put_manifest(place, manifest.raw, OCI_MANIFEST)


def _same_envelope(present: Signature, certified: CertifiedKey, target: Descriptor) -> bool:
    from trust.notation.envelope import open_envelope

    if not isinstance(present, NotationSignature):
        return False
    try:
        opened = open_envelope(present.raw)
    except VerificationError:
        return False
    return opened.chain[0] == certified.chain[0] and opened.target.digest == target.digest


def made_by(key: PublicKey, annotations: Mapping[str, str], payload: bytes) -> bool:
    """Whether ``key`` made the signature in a layer's annotations over ``payload``."""
    try:
        signature = cosign.decode_signature(annotations.get(cosign.SIGNATURE_ANNOTATION, ""))
        key.verify(signature, payload)
    except (MalformedSignatureError, WrongKeyError):
        return False
    return True


def _same_bundle(present: BundleSignature, wanted: bundle.Envelope, key: PublicKey) -> bool:
    try:
        authenticate(present, [key])
        return bundle.parse_bundle(present.raw).payload == wanted.payload
    except VerificationError:
        return False


async def signed_manifests(
    client: RegistryClient, reference: Reference, *, recursive: bool = True
) -> tuple[Descriptor, ...]:
    """What carries the signatures of ``reference``: the manifest and, of an index, those in it.

    Raises:
        SigningError: the index is too large. RegistryError: the registry's side.
    """
    top = await client.resolve(reference)
    return (top, *(await _platforms(client, reference, top) if recursive else ()))


async def _platforms(
    client: RegistryClient, reference: Reference, top: Descriptor
) -> tuple[Descriptor, ...]:
    """The manifests directly in an index; nothing for a plain image."""
    if not is_index(top.media_type):
        return ()
    raw, media_type = await client.manifest(replace(reference, digest=top.digest))
    index = manifests.parse(raw, media_type)
    if not isinstance(index, Index):
        return ()
    if len(index.manifests) > MAX_PLATFORMS:
        raise SigningError(
            f"the index has {len(index.manifests)} manifests",
            where=str(reference),
            fix=f"sign at most {MAX_PLATFORMS} at once, or the index alone",
        )
    return index.manifests
