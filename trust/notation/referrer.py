"""How an envelope is kept in a registry: a manifest that refers to the signed one.

Notary Project signature specification, "Storage". Push the config and the envelope first, then the
manifest by its digest, without a tag.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from images.descriptor import Descriptor
from images.digest import Digest
from images.manifest import Manifest
from images.mediatype import OCI_EMPTY
from trust.errors import MalformedSignatureError, UnsupportedSignatureError
from trust.notation.certificates import thumbprint
from trust.notation.envelope import JWS, MAX_ENVELOPE

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

ARTIFACT: Final = "application/vnd.cncf.notary.signature"
"""The artifact type to ask the referrers API for."""

COSE: Final = "application/cose"
THUMBPRINTS: Final = "io.cncf.notary.x509chain.thumbprint#S256"

_EMPTY_CONFIG: Final = b"{}"


def referrer(
    envelope: bytes, chain: Sequence[Certificate], subject: Descriptor, *, created: datetime
) -> tuple[Manifest, bytes]:
    """The manifest that attaches ``envelope`` to ``subject``, and its config's bytes."""
    manifest = Manifest.build(
        Descriptor(OCI_EMPTY, Digest.of(_EMPTY_CONFIG), len(_EMPTY_CONFIG)),
        [Descriptor(JWS, Digest.of(envelope), len(envelope))],
        subject=Descriptor(subject.media_type, subject.digest, subject.size),
        artifact_type=ARTIFACT,
        annotations={
            THUMBPRINTS: json.dumps([thumbprint(item) for item in chain], separators=(",", ":")),
            "org.opencontainers.image.created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
    )
    return manifest, _EMPTY_CONFIG


def referrer_layer(manifest: Manifest, subject: Digest, *, where: str) -> Descriptor | None:
    """The envelope's layer in a referrer, or None if the manifest attaches to something else.

    Raises:
        MalformedSignatureError: not exactly one envelope, or one that is too large.
        UnsupportedSignatureError: the envelope is COSE.
    """
    if manifest.subject is None or manifest.subject.digest != subject:
        return None
    layer = manifest.layers[0] if len(manifest.layers) == 1 else None
    if layer is not None and layer.media_type == COSE:
        raise UnsupportedSignatureError(
            "the signature is a COSE envelope; lading reads JWS",
            where=where,
            fix="sign with `notation sign --signature-format jws`",
        )
    if layer is None or layer.media_type != JWS:
        raise MalformedSignatureError("a signature's manifest must hold one envelope", where=where)
    if layer.size > MAX_ENVELOPE:
        raise MalformedSignatureError(
            f"an envelope is larger than {MAX_ENVELOPE} bytes", where=where
        )
    return layer
