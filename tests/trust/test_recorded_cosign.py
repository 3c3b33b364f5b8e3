"""What cosign 3.1.3 wrote (fixtures/trust/cosign) is read, verified and, where it can be,
reproduced.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from images.digest import Digest
from images.reference import Reference
from tests.trust.conftest import FIXTURES
from trust import bundle, cosign, keyfile
from trust.errors import WrongDigestError, WrongIdentityError, WrongKeyError
from trust.identity import MatchRepoDigestOrExact, MatchRepository
from trust.keys import PrivateKey, PublicKey
from trust.policy import Policy
from trust.requirements import SigstoreSigned
from trust.signature import BundleSignature, Signature, Signatures, SimpleSignature
from trust.verify import policy_of_key, verify

FOLDER: Path = FIXTURES / "cosign"
FACTS = json.loads((FOLDER / "image.json").read_text())
WEB, DIGEST = Reference.parse(FACTS["reference"]), Digest.parse(FACTS["digest"])
SIMPLE = SimpleSignature((FOLDER / "payload.json").read_bytes(), FACTS["signature"])
BUNDLE = BundleSignature((FOLDER / "bundle.json").read_bytes())


@pytest.fixture
def public() -> PublicKey:
    return PublicKey.from_pem((FOLDER / "cosign.pub").read_bytes())


@pytest.mark.parametrize("signature", [SIMPLE, BUNDLE], ids=["tag", "bundle"])
def test_signature_verifies_with_its_key_and_digest_only(
    signature: Signature, public: PublicKey, mallory: PrivateKey
) -> None:
    found = Signatures((signature,))
    verify(WEB, DIGEST, policy_of_key(public), found)
    with pytest.raises(WrongKeyError):
        verify(WEB, DIGEST, policy_of_key(mallory.public), found)
    with pytest.raises(WrongDigestError):
        verify(WEB, Digest.of(b"other"), policy_of_key(public), found)


def test_bare_repository_needs_match_repository(public: PublicKey) -> None:
    for identity, good in ((MatchRepository(), True), (MatchRepoDigestOrExact(), False)):
        policy = Policy((SigstoreSigned((), (public.pem,), identity),))
        if good:
            verify(WEB, DIGEST, policy, Signatures((SIMPLE,)))
        else:
            with pytest.raises(WrongIdentityError, match=r"127\.0\.0\.1"):
                verify(WEB, DIGEST, policy, Signatures((SIMPLE,)))
        with pytest.raises(WrongIdentityError, match="names no image"):
            verify(WEB, DIGEST, policy, Signatures((BUNDLE,)))


def test_our_payload_is_the_same_bytes() -> None:
    assert cosign.payload(Reference.parse(WEB.name, default_tag=None), DIGEST) == SIMPLE.payload


def test_our_bundle_has_the_same_members() -> None:
    key = PrivateKey.from_pem((FOLDER / "cosign.key").read_bytes(), lambda: b"correct horse")
    ours = json.loads(bundle.sign(key, WEB, DIGEST).raw)
    theirs = json.loads(BUNDLE.raw)
    for document in (ours, theirs):
        del document["dsseEnvelope"]["payload"], document["dsseEnvelope"]["signatures"][0]["sig"]
    assert ours == theirs


def test_key_pair_belongs_together(public: PublicKey) -> None:
    pem = (FOLDER / "cosign.key").read_bytes()
    assert keyfile.dearmor(pem)[0] == "ENCRYPTED SIGSTORE PRIVATE KEY"
    assert PrivateKey.from_pem(pem, lambda: b"correct horse").public == public
