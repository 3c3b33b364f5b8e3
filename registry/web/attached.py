"""What is attached to a manifest, named for people, with a verdict where the server can give one.

Signatures that this registry made when the manifest arrived are verified with its own keys. Of all
other signatures the server knows whether a gate accepts the image, and nothing about each alone:
whose keys to trust is for the client's policy to say. Blocking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Manifest
from images.reference import Reference
from registry.web.contents import small_blob
from registry.web.text import Moment, clean, moment

if TYPE_CHECKING:
    from registry.countersign.countersigner import Countersigner
    from registry.service import Registry
    from registry.web.site import Visit
    from trust.keys import PublicKey
    from trust.signature import Signature

PAGE: Final = 25
_BUNDLE: Final = "application/vnd.dev.sigstore.bundle"
_PREDICATE: Final = "dev.sigstore.bundle.predicateType"
_COSIGN_TAGS: Final = (("sig", "Signature"), ("att", "Attestation"), ("sbom", "SBOM"))
_PEM: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----\n?", re.DOTALL)
_SECONDS: Final = re.compile(r"[0-9]{1,11}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the server found: ``good``, ``bad`` or "" for nothing, and a sentence."""

    mark: str
    text: str
    received: Moment | None = None
    pusher: str = ""


_PRESENT: Final = Verdict("", "present; not checked by the server")


@dataclass(frozen=True, slots=True)
class Attachment:
    """One thing that is attached; ``reference`` is where to look at it."""

    kind: str
    type: str
    reference: str
    size: int | None
    annotations: tuple[tuple[str, str], ...]
    verdict: Verdict | None


def attachments_of(visit: Visit, digest: str, *, last: str) -> tuple[list[Attachment], str]:
    """A page of what is attached to ``digest``, and after which the next begins ("": no next)."""
    name, index = visit.target.name, visit.registry.index
    rows = index.referrers(name, digest, artifact_type=None, last=last, limit=PAGE + 1)
    check = _checker(visit, digest)
    found = [] if last else [*_tagged(visit, digest), *_openpgp(visit, digest)]
    found += [_attachment(where, orjson.loads(raw), check) for where, raw in rows[:PAGE]]
    return found, rows[PAGE - 1][0] if len(rows) > PAGE else ""


def kind_of(artifact_type: str, predicate: str = "") -> str:
    """What an artifact type means to people."""
    text = f"{artifact_type} {predicate}".lower()
    if artifact_type.startswith(_BUNDLE) and (not predicate or "cosign/sign" in predicate):
        return "Signature (sigstore)"
    for word, kind in (
        ("notary.signature", "Signature (notation)"),
        ("spdx", "SBOM (SPDX)"),
        ("cyclonedx", "SBOM (CycloneDX)"),
        ("slsa", "Provenance (SLSA)"),
        ("openvex", "Vulnerability statement (VEX)"),
        ("in-toto", "Attestation (in-toto)"),
        ("simplesigning", "Signature (cosign)"),
    ):
        if word in text:
            return kind
    return "Attestation (sigstore)" if artifact_type.startswith(_BUNDLE) else "Artifact"


def _attachment(where: str, descriptor: dict[str, Any], check: _Check | None) -> Attachment:
    notes = descriptor.get("annotations") or {}
    artifact_type = str(descriptor.get("artifactType", ""))
    kind = kind_of(artifact_type, str(notes.get(_PREDICATE, "")))
    verdict = None
    if kind.startswith("Signature"):
        verdict = _PRESENT if check is None or "sigstore" not in kind else check.verdict(where)
    shown = tuple((clean(key), clean(value, limit=300)) for key, value in sorted(notes.items()))
    return Attachment(
        kind, clean(artifact_type), where, descriptor.get("size"), shown[:16], verdict
    )


def _tagged(visit: Visit, digest: str) -> Iterator[Attachment]:
    """What cosign keeps under tags made of the digest."""
    for suffix, kind in _COSIGN_TAGS:
        tag = f"{digest.replace(':', '-')}.{suffix}"
        row = visit.registry.index.tagged_manifest(visit.target.name, tag)
        if row is not None:
            verdict = _PRESENT if suffix == "sig" else None
            yield Attachment(f"{kind} (cosign)", row.media_type, tag, row.size, (), verdict)


def _openpgp(visit: Visit, digest: str) -> Iterator[Attachment]:
    """What podman keeps beside the image."""
    count = len(visit.registry.index.simple_signatures(visit.target.name, digest))
    if count:
        noun = "signature" if count == 1 else "signatures"
        yield Attachment("Signature (OpenPGP)", f"{count} {noun}", "", None, (), _PRESENT)


@dataclass(frozen=True, slots=True)
class _Check:
    """Whether the registry itself made a signature of one manifest."""

    visit: Visit
    digest: Digest
    reference: Reference
    keys: tuple[PublicKey, ...]

    def verdict(self, where: str) -> Verdict:
        """The verdict on the referrer ``where``."""
        from trust import bundle
        from trust.errors import TrustError, WrongKeyError
        from trust.signature import MAX_BUNDLE, BundleSignature
        from trust.verify import policy_of_key, verify

        registry, name = self.visit.registry, self.visit.target.name
        manifest = _manifest(registry, name, where)
        try:
            layer = manifest and bundle.referrer_layer(manifest, self.digest, where=where)
            raw = small_blob(registry, name, layer, limit=MAX_BUNDLE) if layer else None
            if raw is None:
                return Verdict("bad", "damaged: the signature is not where it should be")
            policy = policy_of_key(*self.keys)
            verify(self.reference, self.digest, policy, _Only(BundleSignature(raw)))
            claim = bundle.parse_statement(bundle.parse_bundle(raw))
        except WrongKeyError:
            return Verdict("", "present, by a key that is not this registry's")
        except TrustError as error:
            return Verdict("bad", clean(f"does not count: {error.what}"))
        received = str(claim.annotations.get("timestamp", ""))
        when = moment(int(received), self.visit.now) if _SECONDS.match(received) else None
        pusher = str(claim.annotations.get("pusher", ""))
        text = "verified: countersigned by this registry"
        return Verdict("good", text, when, pusher if self.visit.visitor.knows_people else "")


@dataclass(frozen=True, slots=True)
class _Only:
    """A ``trust.signature.SignatureSource`` of a single signature."""

    signature: Signature

    def signatures(self, reference: Reference, digest: Digest) -> Iterator[Signature]:
        yield self.signature


def _checker(visit: Visit, digest: str) -> _Check | None:
    countersigner = visit.registry.followers.countersigner
    if countersigner is None:
        return None
    parsed = Digest.parse(digest)
    host = visit.registry.config.countersign.name
    reference = Reference(host, visit.target.name, None, parsed)
    return _Check(visit, parsed, reference, _keys(countersigner))


def _keys(countersigner: Countersigner) -> tuple[PublicKey, ...]:
    from trust.keys import PublicKey

    return tuple(map(PublicKey.from_pem, _PEM.findall(countersigner.keyring.public_keys())))


def _manifest(registry: Registry, name: str, digest: str) -> Manifest | None:
    row = registry.index.manifest(name, digest)
    if row is None:
        return None
    read = partial(registry.storage.read, Digest.parse(digest), limit=row.size)
    try:
        return Manifest.parse(read(), row.media_type)
    except ImagesError:
        return None
