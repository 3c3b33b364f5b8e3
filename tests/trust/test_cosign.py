"""cosign's tag layout: exact payload bytes, and manifests that grow without losing anything."""

from __future__ import annotations

import base64
import json

import pytest

from images.descriptor import Descriptor
from images.digest import Digest
from images.manifest import Manifest
from images.reference import Reference
from trust import cosign
from trust.errors import MalformedSignatureError, SigningError
from trust.keys import PrivateKey


def test_payload_bytes_are_cosigns(web: Reference, digest: Digest) -> None:
    assert cosign.payload(web, digest) == (
        b'{"critical":{"identity":{"docker-reference":"registry.example.com/demo/web:1"},'
        b'"image":{"docker-manifest-digest":"'
        + str(digest).encode()
        + b'"},"type":"cosign container image signature"},"optional":null}'
    )


def test_annotations_are_sorted_and_escaped_as_go_does(web: Reference, digest: Digest) -> None:
    data = cosign.payload(web, digest, annotations={"b": "<2>", "a": "é&"})
    assert data.endswith('"optional":{"a":"é\\u0026","b":"\\u003c2\\u003e"}}'.encode())
    assert cosign.parse_payload(data).annotations == {"a": "é&", "b": "<2>"}


def test_payload_is_read_back(web: Reference, digest: Digest) -> None:
    claim = cosign.parse_payload(cosign.payload(web, digest))
    assert claim.reference == web
    assert claim.digests == {digest}


def test_payload_names_the_digest_where_there_is_no_tag(digest: Digest) -> None:
    pinned = Reference.parse(f"quay.io/a@{digest}")
    assert cosign.parse_payload(cosign.payload(pinned, digest)).reference == pinned


def test_payload_with_cosigns_bare_repository_and_creator_is_read(digest: Digest) -> None:
    document = json.loads(cosign.payload(Reference.parse("quay.io/a:1"), digest))
    document["critical"]["identity"]["docker-reference"] = "quay.io/a"
    document["optional"] = {"creator": "containers/image 5.22", "timestamp": 1700000000}
    claim = cosign.parse_payload(json.dumps(document).encode())
    assert claim.reference == Reference.parse("quay.io/a", default_tag=None)
    del document["optional"]
    cosign.parse_payload(json.dumps(document).encode())


def test_too_long_annotations_are_refused_at_signing(web: Reference, digest: Digest) -> None:
    with pytest.raises(SigningError, match="annotations"):
        cosign.payload(web, digest, annotations={"a": "x" * (1 << 20)})


def test_sha512_images_are_refused_at_signing(web: Reference, alice: PrivateKey) -> None:
    digest = Digest.of(b"x", "sha512")
    for call in (cosign.signature_tag, lambda d: cosign.sign(alice, web, d)):
        with pytest.raises(SigningError, match="sha512"):
            call(digest)


def test_signature_is_der_over_the_payload(
    web: Reference, digest: Digest, alice: PrivateKey
) -> None:
    made = cosign.sign(alice, web, digest)
    der = base64.b64decode(made.signature)
    assert der[0] == 0x30
    alice.public.verify(der, made.payload)
    assert made.annotations == {cosign.SIGNATURE_ANNOTATION: made.signature}


def test_tag_of_a_digest(digest: Digest) -> None:
    assert cosign.signature_tag(digest) == f"sha256-{digest.hex}.sig"


def test_manifest_grows_by_one_layer_and_keeps_the_rest(
    web: Reference, digest: Digest, alice: PrivateKey, mallory: PrivateKey
) -> None:
    first, second = (cosign.sign(key, web, digest) for key in (alice, mallory))
    one, _ = cosign.append(None, first)
    two, config = cosign.append(one, second)
    assert two.layers[0] == one.layers[0]
    again = Manifest.parse(two.raw)
    assert [cosign.signature_of(layer, first.payload) for layer in again.layers] == [first, second]
    assert again.config.digest == Digest.of(config)
    diff_ids = json.loads(config)["rootfs"]["diff_ids"]
    assert diff_ids == [str(layer.digest) for layer in again.layers]


def test_other_layers_are_not_signatures(web: Reference, digest: Digest, alice: PrivateKey) -> None:
    made, _ = cosign.append(None, cosign.sign(alice, web, digest))
    odd = Descriptor("text/plain", digest, 1)
    mixed = Manifest.build(made.config, [odd, *made.layers])
    assert cosign.signature_layers(mixed) == made.layers


def test_layer_must_match_its_blob_and_have_a_signature(
    web: Reference, digest: Digest, alice: PrivateKey
) -> None:
    made = cosign.sign(alice, web, digest)
    (layer,) = cosign.append(None, made)[0].layers
    with pytest.raises(MalformedSignatureError, match="hash"):
        cosign.signature_of(layer, made.payload[:-1] + b"]")
    bare = Descriptor(layer.media_type, layer.digest, layer.size)
    with pytest.raises(MalformedSignatureError, match="no signature"):
        cosign.signature_of(bare, made.payload)
