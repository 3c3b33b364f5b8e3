"""Sigstore bundles: DSSE's encoding, the statement, and the referrer around them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from images.descriptor import Descriptor
from images.digest import Digest
from images.manifest import Manifest
from images.mediatype import OCI_MANIFEST
from images.reference import Reference
from trust import bundle
from trust.errors import MalformedSignatureError, SigningError, UnsupportedSignatureError
from trust.keys import PrivateKey
from trust.signature import MAX_BUNDLE

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def document(web: Reference, digest: Digest, alice: PrivateKey) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(bundle.sign(alice, web, digest).raw)
    return data


def parse(document: dict[str, Any]) -> bundle.Envelope:
    return bundle.parse_bundle(json.dumps(document).encode())


def test_pre_authentication_encoding_is_that_of_the_specification() -> None:
    # The example of DSSE's protocol.md.
    encoded = bundle.pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_bundle_has_the_shape_of_v03(
    document: dict[str, Any], digest: Digest, alice: PrivateKey
) -> None:
    assert document["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert document["verificationMaterial"] == {"publicKey": {"hint": alice.public.hint}}
    (signature,) = document["dsseEnvelope"]["signatures"]
    assert set(signature) == {"sig"}
    statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    assert statement == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "registry.example.com/demo/web:1", "digest": {"sha256": digest.hex}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    }


def test_bundle_is_read_back(
    document: dict[str, Any], web: Reference, digest: Digest, alice: PrivateKey
) -> None:
    envelope = parse(document)
    alice.public.verify(envelope.signature, envelope.signed_bytes)
    claim = bundle.parse_statement(envelope)
    assert (claim.reference, claim.digests) == (web, {digest})


def test_annotations_travel_in_the_subject(
    web: Reference, digest: Digest, alice: PrivateKey
) -> None:
    made = bundle.sign(alice, web, digest, annotations={"by": "ci"})
    claim = bundle.parse_statement(bundle.parse_bundle(made.raw))
    assert claim.annotations == {"by": "ci"}


def test_sha512_images_are_refused_at_signing(web: Reference, alice: PrivateKey) -> None:
    with pytest.raises(SigningError):
        bundle.sign(alice, web, Digest.of(b"x", "sha512"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "_type is not"),
        ({"subject": [{"digest": {}, "annotations": []}]}, "annotations must be an object"),
        ({"subject": [{"digest": {"md5": "x"}}]}, "unknown member 'md5'"),
        ({"subject": [{"digest": {"sha256": "x"}}]}, "invalid digest"),
        ({"subject": [{"digest": {}, "name": "UPPER"}]}, "lowercase"),
        ({"extra": 1}, "unknown member 'extra'"),
    ],
)
def test_statement_that_says_something_else_is_refused(
    document: dict[str, Any], change: dict[str, Any], says: str
) -> None:
    envelope = document["dsseEnvelope"]
    statement = {**json.loads(base64.b64decode(envelope["payload"])), **change}
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    with pytest.raises(MalformedSignatureError, match=says):
        bundle.parse_statement(parse(document))


def test_log_entries_and_timestamps_are_tolerated(document: dict[str, Any]) -> None:
    document["verificationMaterial"] |= {"tlogEntries": [{}], "timestampVerificationData": {}}
    parse(document)


@pytest.mark.parametrize("kind", ["certificate", "x509CertificateChain"])
def test_certificates_are_named_as_unsupported(document: dict[str, Any], kind: str) -> None:
    document["verificationMaterial"] = {kind: {}}
    with pytest.raises(UnsupportedSignatureError, match="key"):
        parse(document)


def test_bare_message_signature_is_named_as_unsupported(document: dict[str, Any]) -> None:
    del document["dsseEnvelope"]
    document["messageSignature"] = {}
    with pytest.raises(UnsupportedSignatureError):
        parse(document)


def test_two_kinds_of_signature_in_one_bundle_are_refused(document: dict[str, Any]) -> None:
    document["messageSignature"] = {}
    with pytest.raises(MalformedSignatureError, match="two kinds"):
        parse(document)


def test_bundle_beyond_the_limit_is_refused_unread() -> None:
    with pytest.raises(MalformedSignatureError, match="limit"):
        bundle.parse_bundle(b"[" * (MAX_BUNDLE + 1))


def test_referrer_points_to_its_subject(web: Reference, digest: Digest, alice: PrivateKey) -> None:
    made = bundle.sign(alice, web, digest)
    subject = Descriptor(OCI_MANIFEST, digest, 7)
    manifest, config = bundle.referrer(made, subject, created=NOW)
    again = Manifest.parse(manifest.raw)
    assert again.artifact_type == bundle.BUNDLE
    assert again.subject == subject
    assert (config, again.config.media_type) == (b"{}", "application/vnd.oci.empty.v1+json")
    assert again.annotations == {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
        "org.opencontainers.image.created": "2026-01-02T03:04:05Z",
    }
    layer = bundle.referrer_layer(again, digest, where="x")
    assert layer is not None
    assert layer.digest == Digest.of(made.raw)
    assert bundle.referrer_layer(again, Digest.of(b"other"), where="x") is None


def test_referrer_with_other_contents_is_refused(digest: Digest) -> None:
    subject = Descriptor(OCI_MANIFEST, digest, 7)
    good = Descriptor(bundle.BUNDLE, digest, 7)
    for layers in ([], [good, good], [Descriptor("text/x", digest, 7)]):
        manifest = Manifest.build(good, layers, subject=subject)
        with pytest.raises(MalformedSignatureError, match="one bundle"):
            bundle.referrer_layer(manifest, digest, where="x")
    huge = Manifest.build(
        good, [Descriptor(bundle.BUNDLE, digest, MAX_BUNDLE + 1)], subject=subject
    )
    with pytest.raises(MalformedSignatureError, match="larger"):
        bundle.referrer_layer(huge, digest, where="x")
