"""Sigstore bundles v0.3: a DSSE envelope around an in-toto statement, stored as a referrer.

Sources: sigstore protobuf-specs ``sigstore_bundle.proto``, DSSE protocol.md, in-toto Statement v1,
cosign BUNDLE_SPEC. What is signed is ``DSSEv1 <len type> <type> <len body> <body>`` with lengths in
decimal.

Rules: an envelope has exactly one signature (the bundle specification's own rule); a statement has
exactly one subject; a key hint, if there is one, must be the verifying key's. The subject's
``name`` holds the image name: cosign leaves it out, and such a bundle proves the digest alone.
Certificates and log entries are not verified here, so a bundle that rests on them is refused by
name.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Manifest
from images.mediatype import OCI_EMPTY
from images.reference import Reference
from records import Record
from trust.errors import MalformedSignatureError, SigningError, UnsupportedSignatureError
from trust.fields import FieldError, array, canonical_base64, dump, mapping, members, parse, text
from trust.signature import (
    MAX_BUNDLE,
    MAX_PAYLOAD,
    BundleSignature,
    Claim,
    require_sha256,
    signed_name,
)
from trust.signers.signer import Signer

BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
IN_TOTO: Final = "application/vnd.in-toto+json"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
COSIGN_SIGN: Final = "https://sigstore.dev/cosign/sign/v1"
FORMAT: Final = "bundle"
"""How explanations name this format."""

_EMPTY_CONFIG: Final = b"{}"


class Envelope(Record):
    """The parts of a bundle that verification needs; ``hint`` and ``key_id`` may be empty."""

    payload_type: str
    payload: bytes
    signature: bytes
    hint: str
    key_id: str

    @property
    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return pae(self.payload_type, self.payload)


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def statement(
    reference: Reference, digest: Digest, *, annotations: Mapping[str, str] | None = None
) -> bytes:
    """The in-toto statement to sign; raises ``SigningError`` unless the digest is sha256."""
    require_sha256(digest)
    subject: dict[str, Any] = {
        "name": signed_name(reference),
        "digest": {digest.algorithm: digest.hex},
    }
    if annotations:
        subject["annotations"] = dict(sorted(annotations.items()))
    return dump(
        {"_type": STATEMENT, "subject": [subject], "predicateType": COSIGN_SIGN, "predicate": {}}
    )


def sign(
    key: Signer,
    reference: Reference,
    digest: Digest,
    *,
    annotations: Mapping[str, str] | None = None,
) -> BundleSignature:
    """Sign ``digest`` as the content of ``reference``; raises ``SigningError`` as ``statement``
    does.
    """
    return enclose(key, statement(reference, digest, annotations=annotations))


def enclose(key: Signer, body: bytes) -> BundleSignature:
    """Sign the bytes of an in-toto statement, whatever they state.

    Raises:
        SigningError: the bundle would be larger than ``MAX_BUNDLE``, which verifiers refuse.
    """
    signature = key.sign(pae(IN_TOTO, body))
    bundle = {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": key.public.hint}},
        "dsseEnvelope": {
            "payload": base64.b64encode(body).decode(),
            "payloadType": IN_TOTO,
            "signatures": [{"sig": base64.b64encode(signature).decode()}],
        },
    }
    made = BundleSignature(dump(bundle))
    if len(made.raw) > MAX_BUNDLE:
        raise SigningError(
            f"a bundle of {len(made.raw)} bytes is over the limit of {MAX_BUNDLE}",
            fix="attach a large statement unsigned, and sign the image",
        )
    return made


def parse_bundle(raw: bytes) -> Envelope:
    """Take a bundle apart, unverified.

    Raises:
        MalformedSignatureError: it breaks the format, or has not exactly one signature.
        UnsupportedSignatureError: it rests on a certificate, or signs a bare message.
    """
    try:
        return _parse_bundle(raw)
    except FieldError as error:
        raise MalformedSignatureError(
            f"damaged sigstore bundle: {error}", fix="sign the image again"
        ) from error


def _parse_bundle(raw: bytes) -> Envelope:
    top = members(
        parse(raw, what="the bundle", limit=MAX_BUNDLE),
        required=("mediaType", "verificationMaterial"),
        optional=("dsseEnvelope", "messageSignature"),
        at="the bundle",
    )
    if top["mediaType"] != BUNDLE:
        raise FieldError(f"mediaType is not {BUNDLE}")
    material = members(
        top["verificationMaterial"],
        optional=(
            "publicKey",
            "certificate",
            "x509CertificateChain",
            "tlogEntries",
            "timestampVerificationData",
        ),
        at="verificationMaterial",
    )
    if "dsseEnvelope" not in top or "publicKey" not in material:
        raise UnsupportedSignatureError(
            "the bundle is not a signature by a key over an in-toto statement",
            fix="sign with a key: `lading trust sign` or `cosign sign --key`",
        )
    if "messageSignature" in top or "certificate" in material or "x509CertificateChain" in material:
        raise FieldError("the bundle holds two kinds of signature")
    key = members(material["publicKey"], optional=("hint",), at="publicKey")
    return _parse_envelope(top["dsseEnvelope"], hint=text(key.get("hint", ""), at="hint"))


def _parse_envelope(value: object, *, hint: str) -> Envelope:
    envelope = members(value, required=("payload", "payloadType", "signatures"), at="dsseEnvelope")
    signatures = array(envelope["signatures"], at="signatures", most=1)
    if len(signatures) != 1:
        raise FieldError("the envelope has no signature")
    signature = members(signatures[0], required=("sig",), optional=("keyid",), at="signature")
    return Envelope(
        payload_type=text(envelope["payloadType"], at="payloadType"),
        payload=canonical_base64(envelope["payload"], at="payload"),
        signature=canonical_base64(signature["sig"], at="sig"),
        hint=hint,
        key_id=text(signature.get("keyid", ""), at="keyid"),
    )


def parse_statement(envelope: Envelope) -> Claim:
    """Read the statement of an envelope whose signature was checked.

    Raises:
        MalformedSignatureError: not an in-toto statement of cosign's sign predicate over one
            subject.
    """
    try:
        return _parse_statement(envelope)
    except (FieldError, ImagesError) as error:
        reason = error.what if isinstance(error, ImagesError) else str(error)
        raise MalformedSignatureError(
            f"the bundle does not say what an image signature says: {reason}",
            fix="sign the image with `lading trust sign` or `cosign sign`",
        ) from error


def _parse_statement(envelope: Envelope) -> Claim:
    if envelope.payload_type != IN_TOTO:
        raise FieldError(f"payloadType is not {IN_TOTO}")
    top = members(
        parse(envelope.payload, what="the statement", limit=MAX_PAYLOAD),
        required=("_type", "subject", "predicateType"),
        optional=("predicate",),
        at="the statement",
    )
    if top["_type"] != STATEMENT:
        raise FieldError(f"_type is not {STATEMENT}")
    # An attestation (SBOM, provenance) also names the digest; it must not pass for approval of the
    # image.
    if top["predicateType"] != COSIGN_SIGN:
        raise FieldError(f"predicateType is not {COSIGN_SIGN}")
    subjects = array(top["subject"], at="subject", most=1)
    if len(subjects) != 1:
        raise FieldError("the statement has no subject")
    subject = members(
        subjects[0], required=("digest",), optional=("name", "annotations"), at="subject"
    )
    digests = members(subject["digest"], optional=("sha256", "sha512"), at="digest")
    name = text(subject.get("name", ""), at="name")
    return Claim(
        format=FORMAT,
        digests=frozenset(
            Digest(algorithm, text(value, at="digest")) for algorithm, value in digests.items()
        ),
        reference=Reference.parse(name, default_tag=None) if name else None,
        annotations=mapping(subject.get("annotations", {}), at="annotations"),
    )


def referrer(
    bundle: BundleSignature,
    subject: Descriptor,
    *,
    created: datetime,
    predicate_type: str = COSIGN_SIGN,
) -> tuple[Manifest, bytes]:
    """The manifest that attaches ``bundle`` to ``subject``, and its config's bytes.

    Push the config and the bundle first, then the manifest by its digest, without a tag.
    """
    manifest = Manifest.build(
        Descriptor(OCI_EMPTY, Digest.of(_EMPTY_CONFIG), len(_EMPTY_CONFIG)),
        [Descriptor(BUNDLE, Digest.of(bundle.raw), len(bundle.raw))],
        subject=Descriptor(subject.media_type, subject.digest, subject.size),
        artifact_type=BUNDLE,
        annotations={
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": predicate_type,
            "org.opencontainers.image.created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
    )
    return manifest, _EMPTY_CONFIG


def referrer_layer(manifest: Manifest, subject: Digest, *, where: str) -> Descriptor | None:
    """The bundle's layer in a referrer, or None if the manifest attaches to something else.

    Raises:
        MalformedSignatureError: the manifest has not exactly one bundle, or one that is too large.
    """
    if manifest.subject is None or manifest.subject.digest != subject:
        return None
    if len(manifest.layers) != 1 or manifest.layers[0].media_type != BUNDLE:
        raise MalformedSignatureError("a signature's manifest must hold one bundle", where=where)
    if manifest.layers[0].size > MAX_BUNDLE:
        raise MalformedSignatureError(f"a bundle is larger than {MAX_BUNDLE} bytes", where=where)
    return manifest.layers[0]
