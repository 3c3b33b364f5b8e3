"""JWS envelopes: what is written is read again, and nothing else is."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from images.descriptor import Descriptor
from images.digest import Digest
from tests.trust.notation_kit import NOW, TARGET, Identity, envelope, identity
from trust.errors import (
    CertificateError,
    MalformedSignatureError,
    UnsupportedSignatureError,
    VerificationError,
    WrongKeyError,
)
from trust.notation import algorithms
from trust.notation.envelope import Scheme, open_envelope
from trust.notation.referrer import ARTIFACT, COSE, THUMBPRINTS, referrer, referrer_layer

Document = dict[str, Any]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> Document:
    document: Document = json.loads(base64.urlsafe_b64decode(text + "=="))
    return document


def _resigned(signer: Identity, change: Callable[[Document, Document], None]) -> bytes:
    """An envelope whose headers and payload were changed and honestly signed again."""
    document = json.loads(envelope(signer))
    headers, payload = _decode(document["protected"]), _decode(document["payload"])
    change(headers, payload)
    document["protected"] = _encode(json.dumps(headers).encode())
    document["payload"] = _encode(json.dumps(payload).encode())
    message = f"{document['protected']}.{document['payload']}".encode()
    document["signature"] = _encode(algorithms.sign(signer.key, message))
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 2048),
        rsa.generate_private_key(65537, 3072),
    ],
    ids=["ES256", "ES384", "ES512", "PS256", "PS384"],
)
def test_what_is_signed_is_read_again(key: Any) -> None:
    signer = identity(key=key)
    target = Descriptor(TARGET.media_type, TARGET.digest, TARGET.size, {"build": "7"})
    opened = open_envelope(envelope(signer, target, expiry=NOW + timedelta(days=1), agent="t/1"))
    assert opened.target == target
    assert opened.target.annotations == {"build": "7"}
    assert opened.chain == signer.chain
    assert opened.scheme is Scheme.X509
    assert opened.signing_time == NOW
    assert opened.expiry == NOW + timedelta(days=1)
    assert opened.agent == "t/1"


def test_another_key_than_the_leafs_is_refused() -> None:
    document = json.loads(envelope(identity()))
    document["header"] = json.loads(envelope(identity()))["header"]
    with pytest.raises(WrongKeyError):
        open_envelope(json.dumps(document).encode())


def test_an_envelope_cannot_be_signed_with_a_chain_that_may_not() -> None:
    signer = identity()
    with pytest.raises(CertificateError):
        envelope(Identity(signer.key, signer.chain[:1]))


def _drop(name: str) -> Callable[[Document, Document], None]:
    def change(headers: Document, payload: Document) -> None:
        del headers[name]

    return change


def _set(name: str, value: Any) -> Callable[[Document, Document], None]:
    def change(headers: Document, payload: Document) -> None:
        headers[name] = value

    return change


def _payload(name: str, value: Any) -> Callable[[Document, Document], None]:
    def change(headers: Document, payload: Document) -> None:
        payload["targetArtifact"][name] = value

    return change


PREFIX = "io.cncf.notary."


@pytest.mark.parametrize(
    "change",
    [
        _set("alg", "ES384"),
        _set("alg", "none"),
        _set("alg", "HS256"),
        _set("cty", "application/json"),
        _drop("crit"),
        _set("crit", []),
        _set("crit", [PREFIX + "signingScheme", PREFIX + "expiry"]),
        _set(PREFIX + "signingScheme", "notary.x509.other"),
        _set(PREFIX + "signingScheme", None),
        _drop(PREFIX + "signingTime"),
        _set(PREFIX + "signingTime", "yesterday"),
        _set(PREFIX + "signingTime", "2026-06-01T12:00:00"),
        _set(PREFIX + "expiry", "2026-06-01T12:00:00Z"),
        _set(PREFIX + "authenticSigningTime", "2026-06-01T12:00:00Z"),
        _payload("digest", "sha256:abc"),
        _payload("size", -1),
        _payload("size", True),
        _payload("extra", 1),
        _payload("annotations", {"a": 1}),
    ],
)
def test_signed_nonsense_is_still_nonsense(change: Callable[[Document, Document], None]) -> None:
    with pytest.raises(MalformedSignatureError):
        open_envelope(_resigned(identity(), change))


@pytest.mark.parametrize("header", [PREFIX + "verificationPlugin", "com.example.rule"])
def test_a_critical_header_that_is_not_understood_refuses(header: str) -> None:
    def change(headers: Document, payload: Document) -> None:
        headers[header] = "x"
        headers["crit"].append(header)

    with pytest.raises(UnsupportedSignatureError):
        open_envelope(_resigned(identity(), change))


def test_a_signing_authority_answers_for_its_time() -> None:
    def change(headers: Document, payload: Document) -> None:
        headers[PREFIX + "signingScheme"] = "notary.x509.signingAuthority"
        headers[PREFIX + "authenticSigningTime"] = "2026-05-01T00:00:00+02:00"
        headers["crit"].append(PREFIX + "authenticSigningTime")

    opened = open_envelope(_resigned(identity(), change))
    assert opened.scheme is Scheme.AUTHORITY
    assert opened.signing_time.isoformat() == "2026-04-30T22:00:00+00:00"


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b'{"payload":""}', b"\xff", b'{"a":1,"a":2}', b"A" * 300_000]
)
def test_what_is_no_envelope_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedSignatureError):
        open_envelope(raw)


def test_no_single_byte_may_change() -> None:
    """Every byte of the signed parts counts; unsigned ones may only fail in a known way."""
    raw = envelope(identity())
    good = open_envelope(raw)
    for position in range(0, len(raw), 3):
        changed = raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
        try:
            opened = open_envelope(changed)
        except VerificationError:
            continue
        # Only the agent's name is not signed.
        assert (opened.target, opened.chain) == (good.target, good.chain)
        assert opened.agent != good.agent


def test_padding_is_no_second_spelling() -> None:
    document = json.loads(envelope(identity()))
    document["signature"] += "=="
    with pytest.raises(MalformedSignatureError, match="canonical"):
        open_envelope(json.dumps(document).encode())


def test_the_referrer_names_the_chain_and_the_subject() -> None:
    signer = identity()
    raw = envelope(signer)
    manifest, config = referrer(raw, signer.chain, TARGET, created=NOW)
    assert config == b"{}"
    assert manifest.artifact_type == ARTIFACT
    assert len(json.loads(manifest.annotations[THUMBPRINTS])) == 2
    layer = referrer_layer(manifest, TARGET.digest, where="here")
    assert layer is not None
    assert layer.digest == Digest.of(raw)
    assert referrer_layer(manifest, Digest.of(b"other"), where="here") is None


def test_cose_is_named_and_refused() -> None:
    manifest, _ = referrer(b"{}", [], TARGET, created=NOW)
    from images.manifest import Manifest

    cose = Manifest.parse(manifest.raw.replace(b"application/jose+json", COSE.encode()))
    with pytest.raises(UnsupportedSignatureError, match="COSE"):
        referrer_layer(cose, TARGET.digest, where="here")
