"""Timestamp tokens made by openssl's authority: believed for their signature and no other."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from images.reference import Reference
from tests.trust.notation_kit import (
    TARGET,
    Anchors,
    Identity,
    certificate,
    identity_now,
    policy,
    usage,
)
from trust.errors import CertificateError
from trust.notation.envelope import open_envelope, sign_envelope
from trust.notation.timestamps import verify_timestamp
from trust.notation.verify import verify

CONFIG = """
[tsa]
default_tsa = t
[t]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha384, sha512
accuracy = secs:1
tsa_name = no
ess_cert_id_chain = no
"""

Stamp = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def authority() -> Identity:
    """A timestamping authority: its key, and its certificate under a root."""
    key, root_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = datetime.now(UTC)
    span = {"start": now - timedelta(days=1), "end": now + timedelta(days=1)}
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    root = certificate(
        "tsa root", root_key, "tsa root", root_key, constraints, usage(issue=True), **span
    )
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    leaf = certificate("tsa", key, "tsa root", root_key, usage(sign=True), purpose, **span)
    return Identity(key, (leaf, root))


@pytest.fixture(scope="module")
def stamp(authority: Identity, tmp_path_factory: pytest.TempPathFactory) -> Stamp:
    """Gives a token over a signature."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tsa")
    pkcs8 = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(authority.key.private_bytes(*pkcs8))
    for name, item in zip(("leaf.pem", "root.pem"), authority.chain, strict=True):
        (folder / name).write_bytes(item.public_bytes(Encoding.PEM))
    (folder / "ts.cnf").write_text(CONFIG.format(folder=folder))
    (folder / "serial").write_text("01")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", "ts", *arguments], cwd=folder, check=True, capture_output=True)

    def token(signature: bytes) -> bytes:
        (folder / "data").write_bytes(signature)
        openssl("-query", "-data", "data", "-sha256", "-cert", "-out", "query.tsq")
        reply = ("-reply", "-config", "ts.cnf", "-queryfile", "query.tsq", "-token_out")
        openssl(*reply, "-inkey", "key.pem", "-signer", "leaf.pem", "-out", "token.der")
        return (folder / "token.der").read_bytes()

    return token


def _stamped(stamp: Stamp, signer: Identity, *, over: bytes | None = None) -> bytes:
    start = signer.chain[0].not_valid_before_utc
    raw = sign_envelope(signer.key, signer.chain, TARGET, signed_at=start)
    document = json.loads(raw)
    token = stamp(open_envelope(raw).signature if over is None else over)
    document["header"]["io.cncf.notary.timestampSignature"] = base64.b64encode(token).decode()
    return json.dumps(document).encode()


@pytest.mark.peer
def test_a_token_tells_when_the_signature_was_there(stamp: Stamp, authority: Identity) -> None:
    opened = open_envelope(_stamped(stamp, identity_now(ec.generate_private_key(ec.SECP256R1()))))
    moment = verify_timestamp(opened, [authority.root])
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)


@pytest.mark.peer
def test_a_token_outlives_the_certificate(stamp: Stamp, authority: Identity) -> None:
    signer = identity_now(ec.generate_private_key(ec.SECP256R1()))
    raw = _stamped(stamp, signer)
    statement = policy(trustStores=["ca:acme", "tsa:time"]).decide(Reference.parse("r.io/a:1"))
    assert statement is not None
    late = signer.chain[0].not_valid_after_utc + timedelta(days=1)
    anchors = Anchors(signer.root, authority.root)
    verdict = verify(raw, TARGET.digest, statement, anchors, now=late)
    assert verdict.logged == ()


@pytest.mark.peer
def test_a_token_counts_for_its_signature_only(stamp: Stamp, authority: Identity) -> None:
    signer = identity_now(ec.generate_private_key(ec.SECP256R1()))
    opened = open_envelope(_stamped(stamp, signer, over=b"another signature"))
    with pytest.raises(CertificateError, match="does not count"):
        verify_timestamp(opened, [authority.root])


@pytest.mark.peer
def test_a_strangers_token_does_not_count(stamp: Stamp, authority: Identity) -> None:
    signer = identity_now(ec.generate_private_key(ec.SECP256R1()))
    opened = open_envelope(_stamped(stamp, signer))
    with pytest.raises(CertificateError, match="does not count"):
        verify_timestamp(opened, [signer.root])
    with pytest.raises(CertificateError, match="names no authority"):
        verify_timestamp(opened, [])


@pytest.mark.peer
def test_no_byte_of_a_token_may_change_the_time(stamp: Stamp, authority: Identity) -> None:
    signer = identity_now(ec.generate_private_key(ec.SECP256R1()))
    raw = _stamped(stamp, signer)
    document = json.loads(raw)
    token = base64.b64decode(document["header"]["io.cncf.notary.timestampSignature"])
    good = verify_timestamp(open_envelope(raw), [authority.root])
    for position in range(0, len(token), 7):
        changed = token[:position] + bytes([token[position] ^ 1]) + token[position + 1 :]
        encoded = base64.b64encode(changed).decode()
        document["header"]["io.cncf.notary.timestampSignature"] = encoded
        try:
            moment = verify_timestamp(
                open_envelope(json.dumps(document).encode()), [authority.root]
            )
        except CertificateError:
            continue
        assert moment == good


def test_garbage_is_no_token(tmp_path: Path) -> None:
    signer = identity_now(ec.generate_private_key(ec.SECP256R1()))
    start = signer.chain[0].not_valid_before_utc
    document = json.loads(sign_envelope(signer.key, signer.chain, TARGET, signed_at=start))
    for garbage in (b"", b"0", b"\x30\x03\x02\x01\x00", b"A" * 70_000):
        encoded = base64.b64encode(garbage).decode()
        document["header"]["io.cncf.notary.timestampSignature"] = encoded
        with pytest.raises(CertificateError):
            verify_timestamp(open_envelope(json.dumps(document).encode()), [signer.root])
