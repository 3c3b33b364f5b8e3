"""lading and the Notary Project's own library read each other's envelopes.

What the library wrote is recorded in fixtures/trust/notation (``record_notation.py``), so one
direction always runs. The other needs the program of tests/trust/notation_peer: build it with
``go build`` and name it in LADING_NOTATION_PEER.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from images.reference import Reference
from tests.trust.conftest import FIXTURES
from tests.trust.notation_kit import TARGET, Anchors, identity_now, policy
from trust.errors import CertificateError
from trust.notation.envelope import open_envelope, sign_envelope
from trust.notation.store import read_certificates
from trust.notation.verify import verify

KEYS: dict[str, Callable[[], object]] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
}
RECORDED = sorted((FIXTURES / "notation").glob("*.jws.json"))


@pytest.mark.parametrize("file", RECORDED, ids=lambda path: path.name)
def test_what_the_library_wrote_verifies(file: Path) -> None:
    raw = file.read_bytes()
    opened = open_envelope(raw)
    assert opened.target == TARGET
    assert opened.agent == "notation-peer/1"
    roots = read_certificates(file.with_name(file.name.replace(".jws.json", ".root.pem")))
    statement = policy().decide(Reference.parse("registry.example.com/a:1"))
    assert statement is not None
    verdict = verify(raw, TARGET.digest, statement, Anchors(*roots), now=opened.signing_time)
    assert verdict.logged == ()
    assert opened.expiry == opened.signing_time + timedelta(days=1)
    before = opened.chain[0].not_valid_before_utc - timedelta(days=1)
    with pytest.raises(CertificateError):
        verify(raw, TARGET.digest, statement, Anchors(*roots), now=before)


def test_there_is_something_recorded() -> None:
    assert len(RECORDED) == 3


@pytest.mark.parametrize("kind", sorted(KEYS))
def test_the_library_verifies_what_lading_writes(kind: str, tmp_path: Path) -> None:
    program = os.environ.get("LADING_NOTATION_PEER")
    if not program:
        pytest.skip("LADING_NOTATION_PEER names no program")
    key = KEYS[kind]()
    signer = identity_now(key)
    signed_at = signer.chain[0].not_valid_before_utc + timedelta(hours=1)
    expiry = signed_at + timedelta(days=365)
    raw = sign_envelope(signer.key, signer.chain, TARGET, signed_at=signed_at, expiry=expiry)
    root = tmp_path / "root.pem"
    root.write_bytes(signer.root.public_bytes(Encoding.PEM))
    done = subprocess.run(
        [program, "verify", str(root)], input=raw, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["targetArtifact"]["digest"] == str(TARGET.digest)
