"""The verdict on a Notary Project signature: every check, enforced and logged; policies; stores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from images.digest import Digest
from images.reference import Reference
from tests.trust.notation_kit import (
    NOW,
    TARGET,
    Anchors,
    Identity,
    envelope,
    identity,
    policy,
    usage,
)
from trust.errors import (
    CertificateError,
    ExpiredSignatureError,
    KeyFileError,
    PolicyFileError,
    RevocationUnknownError,
    UntrustedChainError,
    VerificationError,
    WrongDigestError,
    WrongIdentityError,
)
from trust.notation.envelope import SignedEnvelope
from trust.notation.policy import Check, StoreKind, StoreName, TrustPolicy
from trust.notation.store import config_folder, read_store
from trust.notation.verify import Verdict, verify

IMAGE = Reference.parse("registry.example.com/team/web:1")
STRICT = {"level": "strict"}


def judge(
    signer: Identity,
    *,
    roots: Sequence[x509.Certificate] | None = None,
    raw: bytes | None = None,
    digest: Digest = TARGET.digest,
    now: datetime = NOW,
    **fields: Any,
) -> Verdict:
    """The verdict on what ``signer`` wrote, under a policy of one statement."""
    statement = policy(**fields).decide(IMAGE)
    assert statement is not None
    anchors = Anchors(*((signer.root,) if roots is None else roots))
    return verify(raw or envelope(signer), digest, statement, anchors, now=now)


def test_a_good_signature_passes_and_names_its_signer() -> None:
    verdict = judge(identity())
    assert verdict.logged == ()
    assert verdict.signer == "CN=leaf,O=Acme,ST=Hamburg,C=DE"


def test_an_unknown_root_is_refused() -> None:
    with pytest.raises(UntrustedChainError, match="ca:acme"):
        judge(identity(), roots=[identity().root])


def test_another_digest_is_refused_at_every_level() -> None:
    for level in ("strict", "permissive", "audit"):
        with pytest.raises(WrongDigestError):
            judge(
                identity(),
                digest=Digest.of(b"other"),
                signatureVerification={"level": level},
            )


@pytest.mark.parametrize(
    ("identities", "accepted"),
    [
        (["x509.subject: C=DE, ST=Hamburg, O=Acme"], True),
        (["x509.subject:C=DE,S=Hamburg,O=Acme,CN=leaf"], True),
        (["x509.subject: C=DE, ST=Hamburg, O=Acme, CN=other"], False),
        (["x509.subject: C=DE, ST=Bremen, O=Acme", "x509.subject: C=FR, ST=X, O=Acme"], False),
    ],
)
def test_the_signer_must_be_named(identities: list[str], accepted: bool) -> None:
    if accepted:
        judge(identity(), trustedIdentities=identities)
    else:
        with pytest.raises(WrongIdentityError):
            judge(identity(), trustedIdentities=identities)


def test_a_signature_ends_when_it_says() -> None:
    signer = identity()
    raw = envelope(signer, expiry=NOW + timedelta(hours=1))
    judge(signer, raw=raw)
    with pytest.raises(ExpiredSignatureError):
        judge(signer, raw=raw, now=NOW + timedelta(hours=1))


def test_an_expired_certificate_refuses_without_a_timestamp() -> None:
    with pytest.raises(CertificateError, match="expired"):
        judge(identity(), now=NOW + timedelta(days=91))


def test_permissive_reports_what_strict_refuses() -> None:
    signer = identity()
    raw = envelope(signer, expiry=NOW + timedelta(hours=1))
    late = NOW + timedelta(days=91)
    verdict = judge(signer, raw=raw, now=late, signatureVerification={"level": "permissive"})
    assert [check for check, _ in verdict.logged] == [Check.EXPIRY, Check.TIMESTAMP]


def test_audit_reports_a_foreign_signer() -> None:
    verdict = judge(identity(), roots=[identity().root], signatureVerification={"level": "audit"})
    assert [check for check, _ in verdict.logged] == [Check.AUTHENTICITY]


def test_revocation_that_nobody_can_tell_refuses_unless_overridden() -> None:
    point = x509.DistributionPoint(
        [x509.UniformResourceIdentifier("http://crl.example.com")], None, None, None
    )
    signer = identity(usage(sign=True), x509.CRLDistributionPoints([point]))
    with pytest.raises(RevocationUnknownError, match=r"crl\.example\.com"):
        judge(signer)
    judge(signer, signatureVerification={"level": "strict", "override": {"revocation": "skip"}})


def test_a_timestamp_authority_in_the_policy_demands_a_timestamp() -> None:
    stores = ["ca:acme", "tsa:time"]
    with pytest.raises(CertificateError, match="has no timestamp"):
        judge(identity(), trustStores=stores)
    later = {"level": "strict", "verifyTimestamp": "afterCertExpiry"}
    judge(identity(), trustStores=stores, signatureVerification=later)


def test_a_timestamp_proves_the_time_of_an_expired_certificate() -> None:
    signer = identity()
    document = json.loads(envelope(signer))
    document["header"]["io.cncf.notary.timestampSignature"] = "AAAA"
    raw = json.dumps(document).encode()
    statement = policy(trustStores=["ca:acme", "tsa:time"]).decide(IMAGE)
    assert statement is not None
    asked: list[bytes | None] = []

    def stamp(envelope: SignedEnvelope, anchors: Sequence[x509.Certificate]) -> datetime:
        asked.append(envelope.timestamp)
        return NOW

    late = NOW + timedelta(days=100)
    verify(raw, TARGET.digest, statement, Anchors(signer.root), now=late, timestamps=stamp)
    assert asked == [b"\0\0\0"]
    with pytest.raises(CertificateError, match="timestamp of the signature does not count"):
        verify(raw, TARGET.digest, statement, Anchors(signer.root), now=late)


def test_scopes_are_whole_repositories() -> None:
    rules = policy(registryScopes=["registry.example.com/team/web"])
    assert rules.decide(IMAGE) is not None
    assert rules.decide(Reference.parse("registry.example.com/team/web2:1")) is None
    assert rules.decide(Reference.parse("registry.example.com/team")) is None


def test_skip_looks_at_nothing() -> None:
    statement = policy(
        registryScopes=["registry.example.com/team/web"],
        signatureVerification={"level": "skip"},
        trustStores=[],
        trustedIdentities=[],
    ).decide(IMAGE)
    assert statement is not None
    assert statement.skips
    assert "signed or not" in statement.sentence


@pytest.mark.parametrize(
    "fields",
    [
        {"registryScopes": []},
        {"registryScopes": ["*", "registry.example.com/a"]},
        {"registryScopes": ["registry.example.com/a:tag"]},
        {"registryScopes": ["registry.example.com"]},
        {"registryScopes": ["r.example.com/a", "r.example.com/a"]},
        {"trustStores": []},
        {"trustStores": ["ca:.."]},
        {"trustStores": ["ca:a/b"]},
        {"trustStores": ["acme"]},
        {"trustedIdentities": []},
        {"trustedIdentities": ["*", "x509.subject: C=DE, ST=H, O=A"]},
        {"trustedIdentities": ["x509.subject: C=DE, O=A"]},
        {"trustedIdentities": ["email:a@example.com"]},
        {
            "trustedIdentities": [
                "x509.subject: C=DE, ST=H, O=A",
                "x509.subject: C=DE, ST=H, O=A, CN=b",
            ]
        },
        {"signatureVerification": {"level": "loose"}},
        {"signatureVerification": {"level": "skip"}},
        {"signatureVerification": {"level": "strict", "override": {"integrity": "log"}}},
        {"signatureVerification": {"level": "strict", "override": {"expiry": "skip"}}},
        {"signatureVerification": {"level": "strict", "override": {"expiry": "skiip"}}},
        {"signatureVerification": {"level": "strict", "override": {"expiry": []}}},
        {"signatureVerification": {"level": "strict", "verifyTimestamp": "never"}},
        {"unknown": 1},
    ],
)
def test_a_policy_that_is_not_understood_is_refused_whole(fields: dict[str, Any]) -> None:
    with pytest.raises(PolicyFileError):
        policy(**fields)


def test_two_statements_may_not_share_a_scope() -> None:
    one = {
        "name": "a",
        "registryScopes": ["r.example.com/a"],
        "signatureVerification": STRICT,
        "trustStores": ["ca:x"],
        "trustedIdentities": ["*"],
    }
    document = {"version": "1.0", "trustPolicies": [one, {**one, "name": "b"}]}
    with pytest.raises(PolicyFileError, match="in two statements"):
        TrustPolicy.parse(json.dumps(document).encode())


def _store(root: Path) -> Path:
    folder = root / "truststore" / "x509" / "ca" / "acme"
    folder.mkdir(parents=True)
    return folder


def test_a_store_is_read_from_its_folder(tmp_path: Path) -> None:
    signer, other = identity(), identity()
    folder = _store(tmp_path)
    (folder / "root.pem").write_bytes(signer.root.public_bytes(Encoding.PEM))
    (folder / "other.crt").write_bytes(other.root.public_bytes(Encoding.DER))
    (folder / "README").write_text("not a certificate")
    found = read_store(tmp_path, StoreName(StoreKind.CA, "acme"))
    assert set(found) == {signer.root, other.root}
    statement = policy().decide(IMAGE)
    assert statement is not None
    verify(envelope(signer), TARGET.digest, statement, partial(read_store, tmp_path), now=NOW)


def test_stores_that_cannot_be_trusted_are_refused(tmp_path: Path) -> None:
    acme = StoreName(StoreKind.CA, "acme")
    with pytest.raises(KeyFileError, match="cannot be read"):
        read_store(tmp_path, acme)
    folder = _store(tmp_path)
    with pytest.raises(KeyFileError, match="holds no certificate"):
        read_store(tmp_path, acme)
    signer = identity()
    (folder / "leaf.pem").write_bytes(signer.chain[0].public_bytes(Encoding.PEM))
    with pytest.raises(KeyFileError, match="neither root nor authority"):
        read_store(tmp_path, acme)
    (folder / "leaf.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n")
    with pytest.raises(KeyFileError, match="is no certificate"):
        read_store(tmp_path, acme)
    (folder / "leaf.pem").unlink()
    (tmp_path / "root.pem").write_bytes(signer.root.public_bytes(Encoding.PEM))
    (folder / "leaf.pem").symlink_to(tmp_path / "root.pem")
    with pytest.raises(KeyFileError):
        read_store(tmp_path, acme)


def test_the_folder_is_the_one_that_notation_uses() -> None:
    assert config_folder({"HOME": "/home/ann"}) == Path("/home/ann/.config/notation")
    assert config_folder({"XDG_CONFIG_HOME": "/cfg"}) == Path("/cfg/notation")
    assert config_folder({"NOTATION_CONFIG": "/n"}) == Path("/n")


def test_every_refusal_says_what_to_do() -> None:
    with pytest.raises(VerificationError) as caught:
        judge(identity(), roots=[identity().root])
    assert caught.value.fix
