"""What we sign, judged by other people's verifiers: sigstore, securesystemslib and tuf from PyPI.

They share no code with us, and only read: a signature, a canonical form or a threshold that both
sides get wrong in the same way would have to be in the specification.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as SecureEnvelope
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Signature, SSlibKey
from sigstore import dsse
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore.errors import VerificationError
from sigstore_models.bundle.v1 import Bundle
from tuf.api.metadata import Role, Root

from images.digest import Digest
from images.reference import Reference
from tests.trust.tuf.kit import MANIFEST, Repository, signed_repository
from trust import bundle, cosign
from trust.keys import Algorithm, PrivateKey
from trust.transparency import merkle
from trust.tuf import canonical, roles
from trust.tuf.keys import Key
from trust.tuf.metadata import Envelope

SCHEMES = {
    Algorithm.ECDSA_P256: "ecdsa-sha2-nistp256",
    Algorithm.RSA: "rsa-pkcs1v15-sha256",
    Algorithm.ED25519: "ed25519",
}
"""Not P-384: cosign signs with SHA-256 on every curve, which securesystemslib has no scheme for."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def theirs(key: PrivateKey) -> SSlibKey:
    """Our key as securesystemslib holds it."""
    public = load_pem_public_key(key.public.pem)
    return SSlibKey.from_crypto(public, "ours", scheme=SCHEMES[key.public.algorithm])


@pytest.fixture(scope="module", params=SCHEMES, ids=lambda algorithm: algorithm.value)
def signer(request: pytest.FixtureRequest) -> PrivateKey:
    return PrivateKey.generate(request.param)


def test_a_cosign_signature_by_securesystemslib(
    signer: PrivateKey, web: Reference, digest: Digest
) -> None:
    made = cosign.sign(signer, web, digest)
    signature = Signature("ours", cosign.decode_signature(made.signature).hex())
    theirs(signer).verify_signature(signature, made.payload)


def test_a_bundle_by_securesystemslib(signer: PrivateKey, web: Reference, digest: Digest) -> None:
    document = json.loads(bundle.sign(signer, web, digest).raw)["dsseEnvelope"]
    document["signatures"] = [{**each, "keyid": "ours"} for each in document["signatures"]]
    assert set(SecureEnvelope.from_dict(document).verify([theirs(signer)], 1)) == {"ours"}


def test_a_bundle_by_sigstore(alice: PrivateKey, mallory: PrivateKey, web: Reference) -> None:
    digest = Digest.of(b"the image")
    document = json.loads(bundle.sign(alice, web, digest).raw)
    # cosign leaves an empty list out, as protobuf's JSON does; sigstore's model wants to see it.
    document["verificationMaterial"]["tlogEntries"] = []
    parsed = Bundle.from_json(json.dumps(document))
    assert parsed.verification_material.public_key.hint == alice.public.hint
    envelope = dsse.Envelope._from_json(json.dumps(document["dsseEnvelope"]))
    statement = dsse.Statement(dsse._verify(load_pem_public_key(alice.public.pem), envelope))
    assert statement._inner.subjects[0].digest.root == {"sha256": digest.hex}
    with pytest.raises(VerificationError):
        dsse._verify(load_pem_public_key(mallory.public.pem), envelope)


@given(JSON)
def test_canonical_json_is_that_of_securesystemslib(value: Any) -> None:
    assert canonical.dump(value) == encode_canonical(value).encode()


def test_docker_trust_data_by_tuf() -> None:
    """Every role below the root has the signatures that the root, as tuf reads it, asks for."""
    repository = signed_repository()
    root = read_root(repository)
    for role in (roles.ROOT, roles.TARGETS, roles.SNAPSHOT, roles.TIMESTAMP):
        payload, signatures = taken_apart(repository.files[role])
        root.verify_delegate(role, payload, signatures)
    target = json.loads(repository.files[roles.RELEASES])["signed"]["targets"]["latest"]
    assert base64.b64decode(target["hashes"]["sha256"]).hex() == MANIFEST.sha256


def test_a_threshold_by_tuf() -> None:
    """Two of three root keys: tuf counts the same signatures as enough, and one as too few."""
    repository = Repository.create(root=("root", "root2", "root3"), threshold=2)
    repository.publish()
    root = read_root(repository)
    payload, signatures = taken_apart(repository.files[roles.ROOT])
    root.verify_delegate(roles.ROOT, payload, signatures)
    for kept in signatures:
        alone = root.get_verification_result(roles.ROOT, payload, {kept: signatures[kept]})
        assert not alone
    assert not root.get_verification_result(roles.ROOT, payload + b" ", signatures)


def read_root(repository: Repository) -> Root:
    """The root as tuf holds it; Notary spells keys in its own way."""
    raw = Envelope.parse(repository.files[roles.ROOT], role=roles.ROOT)
    ours = raw.root()
    keys = {key_id: read_key(key_id, key) for key_id, key in ours.keys.items()}
    named = {name: Role(list(who.key_ids), who.threshold) for name, who in ours.roles.items()}
    return Root(version=ours.version, expires=ours.expires, keys=keys, roles=named)


def read_key(key_id: str, key: Key) -> SSlibKey:
    public = load_pem_public_key(key.bare().public_key().pem)
    return SSlibKey.from_crypto(public, key_id, scheme="ecdsa-sha2-nistp256")


def taken_apart(raw: bytes) -> tuple[bytes, Mapping[str, Signature]]:
    """Payload by securesystemslib's canonical form; Notary's raw ``r || s`` as DER."""
    document = json.loads(raw)
    found = {}
    for row in document["signatures"]:
        value = base64.b64decode(row["sig"])
        r, s = (int.from_bytes(half, "big") for half in (value[:32], value[32:]))
        found[row["keyid"]] = Signature(row["keyid"], encode_dss_signature(r, s).hex())
    return encode_canonical(document["signed"]).encode(), found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 100])
def test_inclusion_in_the_log_by_sigstore(size: int) -> None:
    entries = [b"entry %d" % number for number in range(size)]
    nodes: dict[tuple[int, int], bytes] = {}
    for number, entry in enumerate(entries):
        for node in merkle.grown(lambda *at: nodes[at], number, merkle.leaf_hash(entry)):
            nodes[node.level, node.offset] = node.hash
    read = lambda *at: nodes[at]  # noqa: E731
    for number, entry in enumerate(entries):
        proof = SimpleNamespace(
            log_index=number,
            tree_size=size,
            root_hash=merkle.root_hash(read, size),
            hashes=merkle.inclusion_proof(read, number, size),
        )
        found = SimpleNamespace(inclusion_proof=proof, canonicalized_body=entry)
        verify_merkle_inclusion(SimpleNamespace(_inner=found))
        proof.root_hash = bytes(32)
        with pytest.raises(VerificationError):
            verify_merkle_inclusion(SimpleNamespace(_inner=found))
