"""OpenPGP signatures as skopeo makes them: the payload of the right key, and of no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from images.digest import Digest
from images.reference import Reference
from trust import openpgp
from trust.errors import (
    KeyFileError,
    MalformedSignatureError,
    UnsignedError,
    UnsupportedSignatureError,
    WrongDigestError,
    WrongIdentityError,
    WrongKeyError,
)
from trust.openpgp import MAX_MESSAGE, dearmored, verified_payload
from trust.policy import Policy
from trust.signature import OpenPgpSignature, Signatures
from trust.simple import PAYLOAD_TYPE, claim_of
from trust.verify import verify

DIGEST = Digest.of(b"image")


class Gpg:
    """A GnuPG home with keys of its own."""

    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o700)
        self._environ = {**os.environ, "GNUPGHOME": str(home)}

    def run(self, *arguments: str, data: bytes = b"") -> bytes:
        batch = ("gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase", "")
        done = subprocess.run(
            [*batch, *arguments], input=data, env=self._environ, capture_output=True, check=True
        )
        return done.stdout

    def close(self) -> None:
        subprocess.run(["gpgconf", "--kill", "all"], env=self._environ, check=False)

    def key(self, name: str, *flags: str, expires: str = "never") -> bytes:
        self.run(*flags, "--quick-gen-key", name, "rsa2048", "sign", expires)
        return self.run("--armor", "--export", name)

    def sign(self, name: str, payload: bytes) -> bytes:
        return self.run("--local-user", name, "--sign", data=payload)


def payload(**changes: Any) -> bytes:
    critical = {
        "identity": {"docker-reference": "registry.example.com/web:1"},
        "image": {"docker-manifest-digest": str(DIGEST)},
        "type": PAYLOAD_TYPE,
    }
    optional = {"creator": "test", "timestamp": 1_000_000_000}
    return json.dumps({"critical": {**critical, **changes}, "optional": optional}).encode()


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    if shutil.which("gpg") is None or shutil.which("gpgv") is None:
        pytest.skip("GnuPG is not installed")
    made = Gpg(tmp_path_factory.mktemp("gnupg") / "home")
    yield made
    made.close()


@pytest.fixture(scope="module")
def ann(gpg: Gpg) -> bytes:
    return gpg.key("ann")


@pytest.fixture(scope="module")
def bob(gpg: Gpg) -> bytes:
    return gpg.key("bob")


@pytest.mark.peer
def test_a_signature_says_what_was_signed(gpg: Gpg, ann: bytes, bob: bytes) -> None:
    message = gpg.sign("ann", payload())
    for keyrings in ([ann], [bob, ann], [dearmored(ann)]):
        claim = claim_of(message, keyrings)
        assert claim.digests == {DIGEST}
        assert str(claim.reference) == "registry.example.com/web:1"
        assert claim.signed_at is not None
        assert claim.signed_at.year == 2001


@pytest.mark.peer
def test_another_key_is_refused(gpg: Gpg, ann: bytes, bob: bytes) -> None:
    with pytest.raises(WrongKeyError, match="none of the accepted"):
        claim_of(gpg.sign("ann", payload()), [bob])


@pytest.mark.peer
def test_a_key_that_is_over_is_refused(gpg: Gpg) -> None:
    # A date that is over, so that nobody waits; a new name, so that it can be tried again.
    name, then = f"old {uuid4()}", ("--faked-system-time", "20200101T000000")
    old = gpg.key(name, *then, expires="seconds=60")
    message = gpg.run(*then, "--local-user", name, "--sign", data=payload())
    with pytest.raises(WrongKeyError, match="expired"):
        claim_of(message, [old])


@pytest.mark.peer
def test_no_byte_of_a_message_may_change(gpg: Gpg, ann: bytes) -> None:
    message = gpg.run("--compress-level", "0", "--local-user", "ann", "--sign", data=payload())
    for position in range(0, len(message), 29):
        changed = message[:position] + bytes([message[position] ^ 1]) + message[position + 1 :]
        try:
            claim = claim_of(changed, [ann])
        except (WrongKeyError, MalformedSignatureError):
            continue
        # A file name and a date that nobody signs stand before the payload.
        assert claim.digests == {DIGEST}


@pytest.mark.peer
@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b"not JSON",
        payload(type="cosign container image signature"),
        payload(image={"docker-manifest-digest": "sha256:x"}),
        payload(extra=1),
    ],
)
def test_what_is_signed_must_be_this_format(gpg: Gpg, ann: bytes, raw: bytes) -> None:
    with pytest.raises(MalformedSignatureError, match="not simple signing's"):
        claim_of(gpg.sign("ann", raw), [ann])


@pytest.mark.peer
@pytest.mark.parametrize("message", [b"", b"hello", b"A" * (MAX_MESSAGE + 1)])
def test_what_is_no_message_is_refused(ann: bytes, message: bytes) -> None:
    with pytest.raises(MalformedSignatureError):
        verified_payload(message, [ann])


@pytest.mark.peer
def test_a_short_message_may_not_stand_for_gigabytes(gpg: Gpg, ann: bytes) -> None:
    levels = ("--compress-algo", "zlib", "--compress-level", "9")
    message = gpg.run(*levels, "--local-user", "ann", "--sign", data=bytes(64 << 20))
    assert len(message) < MAX_MESSAGE
    with pytest.raises(MalformedSignatureError, match="payload is longer"):
        verified_payload(message, [ann])


@pytest.mark.peer
def test_a_program_that_hangs_is_ended(
    ann: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = tmp_path / "gpgv"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(hanging))
    monkeypatch.setattr(openpgp, "TIMEOUT", 0.2)
    with pytest.raises(MalformedSignatureError, match="took longer"):
        verified_payload(b"message", [ann])


@pytest.mark.peer
def test_a_detached_signature_carries_nothing(gpg: Gpg, ann: bytes) -> None:
    detached = gpg.run("--local-user", "ann", "--detach-sign", data=payload())
    with pytest.raises((MalformedSignatureError, WrongKeyError)):
        verified_payload(detached, [ann])


@pytest.mark.peer
def test_the_policy_of_containers_judges_it(gpg: Gpg, ann: bytes, bob: bytes) -> None:
    keys = {"ann.gpg": ann, "bob.gpg": bob}.__getitem__
    requirement = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "ann.gpg"}
    policy = Policy.parse(json.dumps({"default": [requirement]}).encode())
    name = Reference.parse("registry.example.com/web:1")
    signature = OpenPgpSignature(gpg.sign("ann", payload()))

    def judge(reference: Reference, digest: Digest, *found: OpenPgpSignature) -> None:
        verify(reference, digest, policy, Signatures(found), read_key=keys)

    judge(name, DIGEST, OpenPgpSignature(gpg.sign("bob", payload())), signature)
    with pytest.raises(WrongKeyError):
        judge(name, DIGEST, OpenPgpSignature(gpg.sign("bob", payload())))
    with pytest.raises(WrongDigestError):
        judge(name, Digest.of(b"other"), signature)
    with pytest.raises(WrongIdentityError):
        judge(Reference.parse("registry.example.com/web:2"), DIGEST, signature)
    with pytest.raises(UnsignedError, match="OpenPGP"):
        judge(name, DIGEST)


def test_armour_is_taken_off() -> None:
    block = (
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: x\n\nAAEC\n=abcd\n"
        b"-----END PGP PUBLIC KEY BLOCK-----\n"
    )
    assert dearmored(block) == b"\0\1\2"
    assert dearmored(block + block) == b"\0\1\2\0\1\2"
    assert dearmored(b"\x99\x01") == b"\x99\x01"
    for damaged in (block.replace(b"AAEC", b"A*"), block[:-40]):
        with pytest.raises(KeyFileError):
            dearmored(damaged)


def test_without_gpgv_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UnsupportedSignatureError, match="not installed"):
        verified_payload(b"", [])
