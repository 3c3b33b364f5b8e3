"""``lading trust revoke`` of signatures that lie beside an image, at a real registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from registry.config import RegistryConfig
from tests.lading.conftest import Lading, ok, push_image
from tests.registry.running import Running
from trust.keys import PrivateKey
from trust.notation.signing import self_signed

SUBJECT = "C=DE, ST=Hamburg, O=Acme, CN=alice"


@pytest.fixture
def config(tmp_path: Path) -> RegistryConfig:
    return RegistryConfig(root=tmp_path / "served", port=0, workers=1)


@pytest.fixture
def host(config: RegistryConfig) -> Iterator[str]:
    with Running(config) as bound:
        yield bound.authority


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key files of alice, who has a certificate, and bob; plain ones, since scrypt takes long."""
    folder = tmp_path_factory.mktemp("keys")
    for who in ("alice", "bob"):
        key = PrivateKey.generate()
        form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / who).write_bytes(key.native.private_bytes(*form))
        (folder / f"{who}.pub").write_bytes(key.public.pem)
        certificate = self_signed(key, SUBJECT, now=datetime.now(UTC))
        (folder / f"{who}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    return folder


@pytest.fixture
def name(
    host: str, lading: Lading, rootfs: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """An image in the registry that alice signed in three formats and bob in cosign's two."""
    monkeypatch.setenv("LADING_PASSPHRASE", "correct horse")
    monkeypatch.delenv("DOCKER_CONTENT_TRUST", raising=False)
    image = push_image(lading, rootfs, host)
    cosigns = ("--format", "cosign", "--format", "bundle")
    for who in ("alice", "bob"):
        ok(lading("trust", "sign", *cosigns, "--key", keys / who, image))
    chain = ("--certificate", keys / "alice.crt")
    ok(lading("trust", "sign", "--format", "notation", *chain, "--key", keys / "alice", image))
    return image


def signatures(lading: Lading, image: str) -> list[str]:
    (seen,) = json.loads(ok(lading("trust", "inspect", image)))
    return sorted(item["Format"] for item in seen["Signatures"])


def test_one_keys_signatures_go_and_the_others_stay(name, lading, keys):
    ok(lading("trust", "key", "load", keys / "alice"))
    assert signatures(lading, name) == ["bundle", "bundle", "cosign", "cosign", "notation"]
    out = ok(lading("trust", "revoke", "--key", "alice", name))
    assert out.endswith("(1 cosign, 1 bundle, 1 notation)\n")
    assert signatures(lading, name) == ["bundle", "cosign"]
    ok(lading("trust", "verify", "--verify-key", keys / "bob.pub", name))
    assert lading("trust", "verify", "--verify-key", keys / "alice.pub", name)[0] == 1
    status, _, err = lading("trust", "revoke", "--key", "alice", name)
    assert (status, "to remove" in err) == (1, True)
    ok(lading("trust", "revoke", "--key", keys / "bob.pub", "--format", "cosign", name))
    assert signatures(lading, name) == ["bundle"]


def test_a_format_is_revoked_whoever_signed(name, lading, keys):
    ok(lading("trust", "revoke", "--format", "cosign", "--format", "notation", name))
    assert signatures(lading, name) == ["bundle", "bundle"]
    ok(lading("trust", "revoke", "--format", "bundle", name))
    (seen,) = json.loads(ok(lading("trust", "inspect", name)))
    assert seen["Signatures"] == []
    ok(lading("trust", "sign", "--format", "cosign", "--key", keys / "bob", name))
    assert signatures(lading, name) == ["cosign"]


def test_a_keys_part_of_trust_data_is_a_signers_matter(name, lading):
    status, _, err = lading("trust", "revoke", "--format", "notary", "--key", "alice", name)
    assert (status, "signer remove" in err) == (1, True)


class TestWithoutDeletion:
    @pytest.fixture
    def config(self, tmp_path: Path) -> RegistryConfig:
        return RegistryConfig(root=tmp_path / "served", port=0, workers=1, allow_delete=False)

    def test_the_registry_is_named_as_the_reason(self, name, lading):
        status, _, err = lading("trust", "revoke", "--format", "bundle", name)
        assert status == 1
        assert "does not let its clients delete" in err
        assert signatures(lading, name).count("bundle") == 2
