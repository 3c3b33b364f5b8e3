"""cosign's signatures under the ``sha256-<hex>.sig`` tag: payload bytes, signing, reading,
appending.

cosign SIGNATURE_SPEC.md as its code has it: the member is ``docker-manifest-digest`` in lower case,
and parsers that accept another spelling can be made to disagree. The signature is over the
payload's bytes as they are, so they are checked before they are parsed and never written again.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import Any, Final

from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Manifest
from images.mediatype import OCI_CONFIG
from images.reference import Reference
from trust.errors import MalformedSignatureError, SigningError
from trust.fields import FieldError, canonical_base64, dump, members, parse, text
from trust.signature import MAX_PAYLOAD, Claim, SimpleSignature, require_sha256, signed_name
from trust.signers.signer import Signer

SIMPLE_SIGNING: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_ANNOTATION: Final = "dev.cosignproject.cosign/signature"
PAYLOAD_TYPE: Final = "cosign container image signature"
FORMAT: Final = "cosign"
"""How explanations name this format."""


def signature_tag(digest: Digest) -> str:
    """The tag that holds the signatures of ``digest``; raises ``SigningError`` unless sha256."""
    require_sha256(digest)
    return f"{digest.algorithm}-{digest.hex}.sig"


def payload(
    reference: Reference, digest: Digest, *, annotations: Mapping[str, str] | None = None
) -> bytes:
    """The bytes to sign for ``digest`` under the name ``reference``; ``annotations`` become
    ``optional``.

    Raises:
        SigningError: the digest is not sha256, or the annotations make the payload too long to
            verify.
    """
    require_sha256(digest)
    data = dump(
        {
            "critical": {
                "identity": {"docker-reference": signed_name(reference)},
                "image": {"docker-manifest-digest": str(digest)},
                "type": PAYLOAD_TYPE,
            },
            "optional": dict(sorted(annotations.items())) if annotations else None,
        }
    )
    if len(data) > MAX_PAYLOAD:
        raise SigningError(
            f"the annotations make a payload of {len(data)} bytes",
            where=str(reference),
            fix=f"keep the payload under {MAX_PAYLOAD} bytes",
        )
    return data


def sign(
    key: Signer,
    reference: Reference,
    digest: Digest,
    *,
    annotations: Mapping[str, str] | None = None,
) -> SimpleSignature:
    """Sign ``digest`` as the content of ``reference``; raises ``SigningError`` like ``payload``."""
    data = payload(reference, digest, annotations=annotations)
    encoded = base64.b64encode(key.sign(data)).decode()
    return SimpleSignature(data, encoded, {SIGNATURE_ANNOTATION: encoded})


def decode_signature(signature: str) -> bytes:
    """The signature's bytes; raises ``MalformedSignatureError`` unless the base64 is canonical."""
    try:
        return canonical_base64(signature, at="the signature")
    except FieldError as error:
        raise MalformedSignatureError(str(error), fix="sign the image again") from error


def parse_payload(data: bytes) -> Claim:
    """Read a payload whose signature was checked.

    Raises:
        MalformedSignatureError: not exactly the members that cosign writes, or a bad digest or
            name.
    """
    try:
        return read_payload(data, kind=PAYLOAD_TYPE, form=FORMAT)
    except (FieldError, ImagesError) as error:
        reason = error.what if isinstance(error, ImagesError) else str(error)
        raise MalformedSignatureError(
            f"the signed payload is not cosign's: {reason}",
            fix="sign the image again with lading, cosign, skopeo or podman",
        ) from error


def read_payload(data: bytes, *, kind: str, form: str) -> Claim:
    """The claim of a payload of type ``kind``; simple signing has the same, with another type.

    Raises:
        FieldError: other members than these, or of other types.
        ImagesError: a bad digest or name.
    """
    top = members(
        parse(data, what="the payload", limit=MAX_PAYLOAD),
        required=("critical",),
        optional=("optional",),
        at="payload",
    )
    critical = members(top["critical"], required=("identity", "image", "type"), at="critical")
    identity = members(critical["identity"], required=("docker-reference",), at="identity")
    image = members(critical["image"], required=("docker-manifest-digest",), at="image")
    if text(critical["type"], at="type") != kind:
        raise FieldError(f"type is not {kind!r}")
    optional = top.get("optional")
    if optional is not None and not isinstance(optional, dict):
        raise FieldError("optional must be an object or null")
    name = text(identity["docker-reference"], at="docker-reference")
    return Claim(
        format=form,
        digests=frozenset({Digest.parse(text(image["docker-manifest-digest"], at="digest"))}),
        reference=Reference.parse(name, default_tag=None),
        annotations=optional or {},
    )


def signature_layers(manifest: Manifest) -> tuple[Descriptor, ...]:
    """The layers of a ``.sig`` manifest that hold signatures; pair each with ``signature_of``."""
    return tuple(layer for layer in manifest.layers if layer.media_type == SIMPLE_SIGNING)


def append(manifest: Manifest | None, signature: SimpleSignature) -> tuple[Manifest, bytes]:
    """The ``.sig`` manifest with one more signature, and its config's bytes.

    ``manifest`` is what the tag holds now, None for nothing; its layers stay as they are, also
    those of other kinds. Push the payload and the config first.
    """
    annotations = {**signature.annotations, SIGNATURE_ANNOTATION: signature.signature}
    layer = Descriptor(
        SIMPLE_SIGNING, Digest.of(signature.payload), len(signature.payload), annotations
    )
    layers = (*manifest.layers, layer) if manifest is not None else (layer,)
    config = _config(layers)
    grown = Manifest.build(
        Descriptor(OCI_CONFIG, Digest.of(config), len(config)),
        layers,
        annotations=manifest.annotations if manifest is not None else None,
        subject=manifest.subject if manifest is not None else None,
    )
    return grown, config


def without(manifest: Manifest, gone: Collection[Descriptor]) -> tuple[Manifest, bytes] | None:
    """The ``.sig`` manifest without these layers, and its config's bytes; None: nothing is left."""
    layers = tuple(layer for layer in manifest.layers if layer not in gone)
    if not layers:
        return None
    config = _config(layers)
    smaller = Manifest.build(
        Descriptor(OCI_CONFIG, Digest.of(config), len(config)),
        layers,
        annotations=manifest.annotations,
        subject=manifest.subject,
    )
    return smaller, config


def signature_of(layer: Descriptor, data: bytes) -> SimpleSignature:
    """Pair a layer's annotation with the payload ``data`` that was fetched for it.

    Raises:
        MalformedSignatureError: the layer has no signature annotation, or ``data`` is not its blob.
    """
    signature = layer.annotations.get(SIGNATURE_ANNOTATION)
    if signature is None:
        raise MalformedSignatureError(
            "a signature layer has no signature", fix="sign the image again"
        )
    if len(data) != layer.size or Digest.of(data, layer.digest.algorithm) != layer.digest:
        raise MalformedSignatureError(
            "a signature's payload does not hash to its digest", where=str(layer.digest)
        )
    return SimpleSignature(data, signature, layer.annotations)


def _config(layers: tuple[Descriptor, ...]) -> bytes:
    # The payloads are stored uncompressed, so a layer's digest is its diff-id.
    document: dict[str, Any] = {
        "architecture": "",
        "created": "0001-01-01T00:00:00Z",
        "history": [{"created": "0001-01-01T00:00:00Z"} for _ in layers],
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": [str(layer.digest) for layer in layers]},
        "config": {},
    }
    return dump(document)
