"""No change of a single byte anywhere in signed material verifies; parsers of strangers' bytes
hold.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from images.digest import Digest
from images.reference import Reference
from trust import bundle, cosign, keyfile
from trust.errors import (
    KeyFileError,
    MalformedSignatureError,
    PassphraseError,
    PolicyFileError,
    TrustError,
    UnsupportedSignatureError,
    VerificationError,
)
from trust.keys import Algorithm, PrivateKey, PublicKey
from trust.policy import Policy, scopes_of
from trust.signature import BundleSignature, Signature, Signatures, SimpleSignature
from trust.verify import policy_of_key, verify

WEB = Reference.parse("registry.example.com/demo/web:1")
DIGEST = Digest.of(b"the image")
KEYS = {algorithm: PrivateKey.generate(algorithm) for algorithm in Algorithm}
SIMPLE = {name: cosign.sign(key, WEB, DIGEST, annotations={"a": "b"}) for name, key in KEYS.items()}
BUNDLES = {name: bundle.sign(key, WEB, DIGEST) for name, key in KEYS.items()}
POLICIES = {name: policy_of_key(key.public) for name, key in KEYS.items()}

algorithms = st.sampled_from(list(Algorithm))
positions = st.integers(min_value=0)
flips = st.integers(min_value=1, max_value=255)


def flipped(data: bytes, position: int, flip: int) -> bytes:
    changed = bytearray(data)
    changed[position % len(data)] ^= flip
    return bytes(changed)


def judge(algorithm: Algorithm, signature: Signature, digest: Digest = DIGEST) -> None:
    verify(WEB, digest, POLICIES[algorithm], Signatures((signature,)))


def refused(algorithm: Algorithm, signature: Signature) -> None:
    with pytest.raises(VerificationError):
        judge(algorithm, signature)


@given(algorithms)
def test_untouched_material_verifies(algorithm: Algorithm) -> None:
    judge(algorithm, SIMPLE[algorithm])
    judge(algorithm, BUNDLES[algorithm])


@given(algorithms, positions, flips)
def test_payload(algorithm: Algorithm, position: int, flip: int) -> None:
    good = SIMPLE[algorithm]
    refused(algorithm, good._replace(payload=flipped(good.payload, position, flip)))


@given(algorithms, positions, flips)
def test_signature_text(algorithm: Algorithm, position: int, flip: int) -> None:
    good = SIMPLE[algorithm]
    changed = flipped(good.signature.encode(), position, flip).decode("latin-1")
    refused(algorithm, good._replace(signature=changed))


@given(algorithms, positions, flips)
def test_anywhere_in_a_bundle(algorithm: Algorithm, position: int, flip: int) -> None:
    raw = BUNDLES[algorithm].raw
    refused(algorithm, BundleSignature(flipped(raw, position, flip)))


@pytest.mark.parametrize("algorithm", [Algorithm.ECDSA_P256, Algorithm.ED25519])
def test_every_byte_and_bit_of_a_bundle(algorithm: Algorithm) -> None:
    raw = BUNDLES[algorithm].raw
    for position in range(len(raw)):
        for bit in range(8):
            refused(algorithm, BundleSignature(flipped(raw, position, 1 << bit)))


@given(st.integers(0, 63), st.sampled_from("0123456789abcdef"))
def test_digest(position: int, letter: str) -> None:
    changed = DIGEST.hex[:position] + letter + DIGEST.hex[position + 1 :]
    if changed == DIGEST.hex:
        return
    for signature in (SIMPLE[Algorithm.ECDSA_P256], BUNDLES[Algorithm.ECDSA_P256]):
        with pytest.raises(VerificationError):
            judge(Algorithm.ECDSA_P256, signature, Digest("sha256", changed))


@given(algorithms, positions, flips)
def test_public_key(algorithm: Algorithm, position: int, flip: int) -> None:
    der = flipped(KEYS[algorithm].public.der, position, flip)
    try:
        key = PublicKey.from_der(der)
    except KeyFileError:
        return
    for signature in (SIMPLE[algorithm], BUNDLES[algorithm]):
        with pytest.raises(VerificationError):
            verify(WEB, DIGEST, policy_of_key(key), Signatures((signature,)))


SEALED = KEYS[Algorithm.ECDSA_P256].to_pem(b"secret")


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(positions, flips)
def test_encrypted_key(position: int, flip: int) -> None:
    changed = flipped(SEALED, position, flip)
    try:
        key = PrivateKey.from_pem(changed, lambda: b"secret")
    except (KeyFileError, PassphraseError):
        return
    # Only the line ends of the armour can change without changing the key.
    assert key.public == KEYS[Algorithm.ECDSA_P256].public
    assert keyfile.dearmor(changed) == keyfile.dearmor(SEALED)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def replaced(document: Any, path: list[int], value: Any) -> Any:
    """``document`` with what ``path`` leads to replaced; positions count modulo the size."""
    if not path or not isinstance(document, (dict, list)) or not document:
        return value
    if isinstance(document, list):
        index = path[0] % len(document)
        return [
            replaced(item, path[1:], value) if i == index else item
            for i, item in enumerate(document)
        ]
    chosen = list(document)[path[0] % len(document)]
    return {
        name: replaced(item, path[1:], value) if name == chosen else item
        for name, item in document.items()
    }


POLICY_DOCUMENT = {
    "default": [{"type": "reject"}],
    "transports": {
        "docker": {
            "quay.io": [
                {
                    "type": "sigstoreSigned",
                    "keyPaths": ["/a"],
                    "signedIdentity": {
                        "type": "remapIdentity",
                        "prefix": "a.b",
                        "signedPrefix": "c.d",
                    },
                },
                {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/b"},
            ]
        }
    },
}


@given(st.lists(st.integers(0, 9), max_size=7), json_values)
def test_policy_parser_raises_its_own_error_only(path: list[int], value: Any) -> None:
    data = json.dumps(replaced(POLICY_DOCUMENT, path, value)).encode()
    try:
        policy = Policy.parse(data)
    except PolicyFileError:
        return
    assert policy.explain(WEB)


@given(st.lists(st.integers(0, 9), max_size=7), json_values)
def test_bundle_parser_raises_its_own_errors_only(path: list[int], value: Any) -> None:
    document = replaced(json.loads(BUNDLES[Algorithm.ECDSA_P256].raw), path, value)
    with contextlib.suppress(MalformedSignatureError, UnsupportedSignatureError):
        bundle.parse_statement(bundle.parse_bundle(json.dumps(document).encode()))


@given(st.lists(st.integers(0, 9), max_size=7), json_values)
def test_payload_parser_raises_its_own_error_only(path: list[int], value: Any) -> None:
    document = replaced(json.loads(SIMPLE[Algorithm.ECDSA_P256].payload), path, value)
    with contextlib.suppress(MalformedSignatureError):
        cosign.parse_payload(json.dumps(document).encode())


@given(st.binary(max_size=200), st.text(max_size=40))
def test_random_bytes_are_refused_by_every_parser(data: bytes, text: str) -> None:
    for signature in (BundleSignature(data), SimpleSignature(data, text)):
        refused(Algorithm.ECDSA_P256, signature)
    for parse in (PublicKey.from_pem, PublicKey.from_der, PrivateKey.from_pem, Policy.parse):
        with pytest.raises(TrustError):
            parse(data)


@given(
    st.dictionaries(st.text(), st.text(), max_size=4).filter(
        lambda found: all(_encodes(k) and _encodes(v) for k, v in found.items())
    )
)
def test_annotations_survive_both_formats(annotations: dict[str, str]) -> None:
    key = KEYS[Algorithm.ED25519]
    made = cosign.sign(key, WEB, DIGEST, annotations=annotations)
    assert cosign.parse_payload(made.payload).annotations == annotations
    envelope = bundle.parse_bundle(bundle.sign(key, WEB, DIGEST, annotations=annotations).raw)
    assert bundle.parse_statement(envelope).annotations == annotations


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@given(
    st.lists(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), min_size=1, max_size=5),
    st.from_regex(r"[a-z0-9]{1,8}(\.[a-z0-9]{1,8}){1,3}(:[0-9]{1,5})?", fullmatch=True),
    st.data(),
)
def test_each_scope_of_a_name_decides_and_a_longer_one_wins(
    path: list[str], host: str, data: st.DataObject
) -> None:
    reference = Reference.parse(f"{host}/{'/'.join(path)}:1")
    scopes = list(scopes_of(reference))
    chosen = data.draw(st.lists(st.sampled_from(scopes), min_size=1, unique=True))
    document = {
        "default": [{"type": "reject"}],
        "transports": {"docker": {scope: [{"type": "reject"}] for scope in chosen}},
    }
    decided = Policy.parse(json.dumps(document).encode()).decide(reference)
    assert decided.scope == min(chosen, key=scopes.index)
