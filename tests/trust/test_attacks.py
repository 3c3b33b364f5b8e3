"""Every file of fixtures/trust is refused for its own reason, and the generator still writes it."""

from __future__ import annotations

import base64
import filecmp
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from images.digest import Digest
from images.reference import Reference
from tests.trust.conftest import FIXTURES
from trust.errors import KeyFileError, TrustError, VerificationError
from trust.identity import MatchRepoDigestOrExact
from trust.keys import PrivateKey, PublicKey
from trust.policy import Policy
from trust.requirements import SigstoreSigned
from trust.signature import BundleSignature, Signature, Signatures, SimpleSignature
from trust.verify import policy_of_key, verify

ATTACKS = sorted(path.stem for path in (FIXTURES / "attacks").glob("*.json"))
REFUSED_KEYS = sorted(
    path.name for path in (FIXTURES / "keys").glob("*.key") if not path.name.startswith("good")
)


def load(name: str) -> tuple[dict[str, Any], Signatures]:
    fixture = json.loads((FIXTURES / "attacks" / f"{name}.json").read_text())
    items = tuple(_signature(item) for item in fixture["signatures"]) * fixture["repeat"]
    return fixture, Signatures(items)


def _signature(item: dict[str, str]) -> Signature:
    if "bundle" in item:
        return BundleSignature(base64.b64decode(item["bundle"]))
    return SimpleSignature(base64.b64decode(item["payload"]), item["signature"])


def alice_policy() -> Policy:
    pem = (FIXTURES / "alice.pub").read_bytes()
    return Policy((SigstoreSigned((), (pem,), MatchRepoDigestOrExact()),))


def judge(name: str, policy: Policy) -> None:
    fixture, signatures = load(name)
    verify(
        Reference.parse(fixture["reference"]), Digest.parse(fixture["digest"]), policy, signatures
    )


@pytest.mark.parametrize("name", [name for name in ATTACKS if not name.startswith("healthy")])
def test_attack_is_refused_for_its_reason(name: str) -> None:
    with pytest.raises(VerificationError) as caught:
        judge(name, alice_policy())
    assert caught.value.code == load(name)[0]["code"]
    assert caught.value.fix
    assert caught.value.where


@pytest.mark.parametrize("name", ["healthy-tag", "healthy-bundle"])
def test_healthy_signature_passes(name: str) -> None:
    judge(name, alice_policy())


@pytest.mark.parametrize("name", ["healthy-tag", "healthy-bundle"])
def test_one_healthy_signature_among_all_the_attacks_is_enough(name: str) -> None:
    fixture, healthy = load(name)
    wreckage = [
        item for attack in ATTACKS if "too-many" not in attack for item in load(attack)[1].items
    ]
    signatures = Signatures((*wreckage, *healthy.items))
    verify(
        Reference.parse(fixture["reference"]),
        Digest.parse(fixture["digest"]),
        alice_policy(),
        signatures,
    )


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "bundle-without-a-name"])
def test_an_explicit_key_refuses_the_same_attacks(name: str) -> None:
    policy = policy_of_key(PublicKey.from_pem((FIXTURES / "alice.pub").read_bytes()))
    if name.startswith("healthy"):
        judge(name, policy)
        return
    with pytest.raises(VerificationError):
        judge(name, policy)


def test_an_explicit_key_takes_a_bundle_without_a_name_at_its_digest() -> None:
    judge(
        "bundle-without-a-name",
        policy_of_key(PublicKey.from_pem((FIXTURES / "alice.pub").read_bytes())),
    )


@pytest.mark.parametrize("name", REFUSED_KEYS)
def test_damaged_key_is_refused_before_any_work(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_work(*_: object, **__: object) -> bytes:
        pytest.fail("scrypt ran on the settings of a bad file")

    monkeypatch.setattr("hashlib.scrypt", no_work)
    with pytest.raises(KeyFileError):
        PrivateKey.from_pem((FIXTURES / "keys" / name).read_bytes(), lambda: b"correct horse")


@pytest.mark.parametrize("name", ["good.key", "good-legacy.key"])
def test_good_key_opens(name: str) -> None:
    key = PrivateKey.from_pem((FIXTURES / "keys" / name).read_bytes(), lambda: b"correct horse")
    assert key.public.pem == (FIXTURES / "alice.pub").read_bytes()


def test_every_reason_has_an_attack() -> None:
    reasons = {cls.code for cls in VerificationError.__subclasses__()}
    without_signatures = {"rejected-by-policy", "requirement-unsupported"}
    # Reasons of other formats, and of rules that policy.json cannot express, are tested by these:
    elsewhere = {
        "test_rules": {"threshold", "signature-stale"},
        "test_notation_verify": {
            "certificate-invalid",
            "chain-untrusted",
            "signature-expired",
            "revocation-unknown",
        },
        "test_urls": {"source-unpinned"},
        "tuf": {"tuf"},
    }
    others = without_signatures.union(*elsewhere.values())
    assert {load(name)[0]["code"] for name in ATTACKS} - {None} == reasons - others


def test_codes_are_unique() -> None:
    leaves = [cls for cls in _subclasses(TrustError) if not cls.__subclasses__()]
    assert len({cls.code for cls in leaves}) == len(leaves)


def _subclasses(cls: type[TrustError]) -> list[type[TrustError]]:
    return [found for sub in cls.__subclasses__() for found in (sub, *_subclasses(sub))]


def test_generator_writes_these_files(tmp_path: Path) -> None:
    runpy.run_path(str(FIXTURES / "generate.py"))["write"](tmp_path)
    for folder in (Path(), Path("attacks"), Path("keys")):
        here, there = FIXTURES / folder, tmp_path / folder
        names = sorted(path.name for path in there.iterdir() if path.is_file())
        kept = sorted(p.name for p in here.iterdir() if p.is_file() and p.suffix != ".py")
        assert kept == names
        assert filecmp.cmpfiles(here, there, names, shallow=False)[0] == names
