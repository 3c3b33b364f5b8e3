"""The verdict: which requirement holds, what is asked for, and which reason is told."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

import pytest

from images.digest import Digest
from images.reference import Reference
from trust import bundle, cosign
from trust.errors import (
    KeyFileError,
    MalformedSignatureError,
    RejectedByPolicyError,
    TooManySignaturesError,
    UnsignedError,
    UnsupportedRequirementError,
    WrongDigestError,
    WrongIdentityError,
    WrongKeyError,
)
from trust.keys import PrivateKey
from trust.policy import Policy
from trust.signature import MAX_PAYLOAD, MAX_SIGNATURES, Signature, Signatures, SimpleSignature
from trust.verify import policy_of_key, verify


class Untouchable:
    """A source that must not be asked."""

    def signatures(self, reference: Reference, digest: Digest) -> Iterable[Signature]:
        pytest.fail("signatures were fetched for nothing")


def policy(*requirements: dict[str, Any]) -> Policy:
    return Policy.parse(json.dumps({"default": requirements}).encode())


def signed(key: PrivateKey, **more: Any) -> dict[str, Any]:
    data = base64.b64encode(key.public.pem).decode()
    return {"type": "sigstoreSigned", "keyData": data, **more}


ACCEPT = {"type": "insecureAcceptAnything"}
REJECT = {"type": "reject"}
X509 = {"type": "signedBy", "keyType": "signedByX509CAs", "keyPath": "/x"}


def test_accept_and_reject_do_not_look_at_signatures(web: Reference, digest: Digest) -> None:
    verify(web, digest, policy(ACCEPT), Untouchable())
    with pytest.raises(RejectedByPolicyError, match="default"):
        verify(web, digest, policy(REJECT), Untouchable())


def test_reject_wins_wherever_it_stands(web: Reference, digest: Digest, alice: PrivateKey) -> None:
    for requirements in ((signed(alice), REJECT), (ACCEPT, REJECT), (REJECT, signed(alice))):
        with pytest.raises(RejectedByPolicyError):
            verify(web, digest, policy(*requirements), Untouchable())


def test_what_cannot_be_checked_is_never_satisfied(
    web: Reference, digest: Digest, alice: PrivateKey
) -> None:
    with pytest.raises(UnsupportedRequirementError, match="a certificate"):
        verify(web, digest, policy(ACCEPT, X509), Untouchable())


def test_all_requirements_must_hold(
    web: Reference, digest: Digest, alice: PrivateKey, mallory: PrivateKey
) -> None:
    both = policy(signed(alice), signed(mallory))
    one = (cosign.sign(alice, web, digest),)
    with pytest.raises(WrongKeyError):
        verify(web, digest, both, Signatures(one))
    verify(web, digest, both, Signatures((*one, bundle.sign(mallory, web, digest))))


def test_any_of_several_keys_will_do(
    web: Reference, digest: Digest, alice: PrivateKey, mallory: PrivateKey
) -> None:
    files = {"/a": alice.public.pem, "/m": mallory.public.pem}
    either = policy({"type": "sigstoreSigned", "keyPaths": ["/a", "/m"]})
    for key in (alice, mallory):
        made = cosign.sign(key, web, digest)
        verify(web, digest, either, Signatures((made,)), read_key=files.__getitem__)


def test_unreadable_key_is_not_a_pass(web: Reference, digest: Digest, alice: PrivateKey) -> None:
    missing = policy({"type": "sigstoreSigned", "keyPath": "/nowhere/k.pub"})
    with pytest.raises(KeyFileError) as caught:
        verify(web, digest, missing, Signatures((cosign.sign(alice, web, digest),)))
    assert caught.value.where == "/nowhere/k.pub"


def test_private_key_in_the_policy_is_refused(
    web: Reference, digest: Digest, alice: PrivateKey
) -> None:
    pem = base64.b64encode(alice.to_pem(b"x")).decode()
    odd = policy({"type": "sigstoreSigned", "keyData": pem})
    with pytest.raises(KeyFileError, match="not a public key"):
        verify(web, digest, odd, Signatures((cosign.sign(alice, web, digest),)))


def test_unsigned_tells_how_to_sign(web: Reference, digest: Digest, alice: PrivateKey) -> None:
    with pytest.raises(UnsignedError) as caught:
        verify(web, digest, policy(signed(alice)), Signatures())
    assert caught.value.fix is not None
    assert "lading trust sign --key NAME registry.example.com/demo/web:1" in caught.value.fix


def test_nearest_reason_is_told(
    web: Reference, digest: Digest, alice: PrivateKey, mallory: PrivateKey
) -> None:
    other = Reference.parse("registry.example.com/other:1")
    signatures = [
        bundle.BundleSignature(b"{}"),
        cosign.sign(mallory, web, digest),
        cosign.sign(alice, web, Digest.of(b"other")),
        bundle.sign(alice, other, digest),
    ]
    for reason in (WrongIdentityError, WrongDigestError, WrongKeyError):
        with pytest.raises(reason, match=r"required by policy\.json: default") as caught:
            verify(web, digest, policy(signed(alice)), Signatures(tuple(signatures)))
        assert type(caught.value) is reason
        assert f"none of {len(signatures)} signatures" in caught.value.what
        signatures.pop()


def test_good_signature_behind_the_limit_is_not_reached(
    web: Reference, digest: Digest, alice: PrivateKey, mallory: PrivateKey
) -> None:
    bad, good = cosign.sign(mallory, web, digest), cosign.sign(alice, web, digest)
    full = (*[bad] * (MAX_SIGNATURES - 1), good)
    verify(web, digest, policy(signed(alice)), Signatures(full))
    with pytest.raises(TooManySignaturesError):
        verify(web, digest, policy(signed(alice)), Signatures((bad, *full)))


def test_payload_beyond_the_limit_is_not_hashed(
    web: Reference, digest: Digest, alice: PrivateKey
) -> None:
    long = cosign.payload(web, digest) + b" " * MAX_PAYLOAD
    made = SimpleSignature(long, base64.b64encode(alice.sign(long)).decode())
    with pytest.raises(MalformedSignatureError, match="longer than"):
        verify(web, digest, policy_of_key(alice.public), Signatures((made,)))


def test_endless_source_is_cut_off(web: Reference, digest: Digest, alice: PrivateKey) -> None:
    class Endless:
        def signatures(self, reference: Reference, digest: Digest) -> Iterable[Signature]:
            while True:
                yield bundle.BundleSignature(b"{}")

    with pytest.raises(TooManySignaturesError):
        verify(web, digest, policy(signed(alice)), Endless())


def test_plain_tuples_of_a_source_are_signatures_too(
    web: Reference, digest: Digest, alice: PrivateKey
) -> None:
    made: Any = tuple(cosign.sign(alice, web, digest))
    verify(web, digest, policy_of_key(alice.public), Signatures((made,)))


def test_explicit_key_wants_the_name_as_far_as_it_is_signed(
    web: Reference, digest: Digest, alice: PrivateKey
) -> None:
    key = policy_of_key(alice.public)
    bare = cosign.payload(web, digest).replace(b"demo/web:1", b"demo/web")
    encoded = base64.b64encode(alice.sign(bare)).decode()
    verify(web, digest, key, Signatures((SimpleSignature(bare, encoded),)))
    for other in (web.with_tag("2"), Reference.parse("registry.example.com/other:1")):
        with pytest.raises(WrongIdentityError):
            verify(other, digest, key, Signatures((cosign.sign(alice, web, digest),)))


def test_explicit_keys_may_be_files_and_any_will_do(
    web: Reference, digest: Digest, alice: PrivateKey, mallory: PrivateKey
) -> None:
    policy = policy_of_key(mallory.public, files=["/a"])
    files = {"/a": alice.public.pem}
    for key in (alice, mallory):
        made = Signatures((cosign.sign(key, web, digest),))
        verify(web, digest, policy, made, read_key=files.__getitem__)


def test_pinning_the_resolved_digest_does_not_weaken_the_tag(
    web: Reference, digest: Digest, alice: PrivateKey
) -> None:
    made = cosign.sign(alice, web.with_tag("old"), digest)
    with pytest.raises(WrongIdentityError):
        verify(web.with_digest(digest), digest, policy(signed(alice)), Signatures((made,)))
