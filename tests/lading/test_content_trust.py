"""``lading trust`` on Notary trust data, and DOCKER_CONTENT_TRUST, against a real registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lading.conftest import Lading, ok, push_image


@pytest.fixture
def name(host: str, lading: Lading, rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An image that is in the registry, unsigned."""
    monkeypatch.setenv("LADING_PASSPHRASE", "correct horse")
    monkeypatch.delenv("DOCKER_CONTENT_TRUST", raising=False)
    return push_image(lading, rootfs, host)


def test_pushing_with_content_trust_signs(name, lading, monkeypatch):
    monkeypatch.setenv("DOCKER_CONTENT_TRUST", "1")
    status, _, err = lading("pull", name)
    assert status == 1
    assert "remote trust data does not exist" in err
    assert f"Successfully signed {name}" in ok(lading("push", name))
    assert "Pull (1 of 1)" in ok(lading("pull", name))
    status, _, err = lading("pull", f"{name}x")
    assert (status, "no valid trust data for v1x" in err) == (1, True)


def test_a_build_that_pushes_signs_every_tag(host, lading, monkeypatch, tmp_path):
    monkeypatch.setenv("LADING_PASSPHRASE", "correct horse")
    monkeypatch.setenv("DOCKER_CONTENT_TRUST", "1")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    one, two, other = f"{host}/a/app:1", f"{host}/a/app:2", f"{host}/b/app:zst"
    form = f"type=registry,name={other},compression=zstd"
    both = f'type=registry,"name={one},{two}"'
    status, out, err = lading("build", "--push", "-o", form, "-o", both, str(tmp_path))
    assert (status, out) == (0, "")
    assert [line for line in err.splitlines() if line.startswith("Successfully")] == [
        f"Successfully signed {name}" for name in (other, one, two)
    ]
    for name in (one, two, other):
        assert "Pull (1 of 1)" in ok(lading("pull", name))


@pytest.mark.parametrize("value", ["0", "false", "F", ""])
def test_content_trust_can_be_off(name, lading, monkeypatch, value):
    monkeypatch.setenv("DOCKER_CONTENT_TRUST", value)
    ok(lading("pull", name))


def test_a_key_signs_in_every_format_by_default(name, lading):
    ok(lading("trust", "key", "generate", "alice"))
    out = ok(lading("trust", "sign", "--key", "alice", name))
    assert "(cosign and bundle)" in out
    assert "Created signer: alice" in out
    (seen,) = json.loads(ok(lading("trust", "inspect", name)))
    assert seen["SignedTags"][0]["Signers"] == ["alice"]
    assert [role["Name"] for role in seen["AdministrativeKeys"]] == ["Root", "Repository"]
    assert {item["Format"] for item in seen["Signatures"]} == {"cosign", "bundle"}
    pretty = ok(lading("trust", "inspect", "--pretty", name))
    assert f"Administrative keys for {name}" in pretty
    assert "Policy: accepted" in pretty


def test_formats_can_be_chosen(name, lading):
    ok(lading("trust", "key", "generate", "alice"))
    out = ok(lading("trust", "sign", "--format", "bundle", "--key", "alice", name))
    assert "(bundle)" in out
    assert "Notary" not in out
    out = ok(lading("trust", "sign", "--format", "notary", name))
    assert "signed sha256" not in out
    status, _, err = lading("trust", "sign", "--format", "cosign", name)
    assert (status, "--key" in err) == (1, True)


def test_signers_are_added_and_removed(name, lading, tmp_path):
    repository = name.rpartition(":")[0]
    ok(lading("trust", "key", "generate", "alice", "--dir", tmp_path))
    add = ("trust", "signer", "add", "--key", tmp_path / "alice.pub")
    assert "Successfully added signer: alice" in ok(lading(*add, "alice", repository))
    ok(lading("trust", "sign", name))
    (seen,) = json.loads(ok(lading("trust", "inspect", repository)))
    assert seen["SignedTags"][0]["Signers"] == ["alice"]
    for bad in ("releases", "Alice", "a.b"):
        assert lading(*add, bad, repository)[0] == 1
    ok(lading("trust", "signer", "remove", "--force", "alice", repository))
    (seen,) = json.loads(ok(lading("trust", "inspect", repository)))
    assert seen["Signers"] == []
    assert lading("trust", "signer", "remove", "--force", "bob", repository)[0] == 1


def test_a_revoked_tag_is_not_trusted_whoever_signed_it(name, lading, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_CONTENT_TRUST", "1")
    ok(lading("push", name))
    ok(lading("trust", "key", "generate", "alice", "--dir", tmp_path))
    repository = name.rpartition(":")[0]
    ok(lading("trust", "signer", "add", "--key", tmp_path / "alice.pub", "alice", repository))
    ok(lading("trust", "sign", name))
    assert "Successfully deleted" in ok(lading("trust", "revoke", name))
    assert "no valid trust data for v1" in lading("pull", name)[2]
    assert lading("trust", "revoke", name)[0] == 1
    ok(lading("trust", "sign", name))
    ok(lading("trust", "revoke", "--yes", repository))
    assert "no valid trust data" in lading("pull", name)[2]


def test_the_trust_server_must_speak_https(name, lading, monkeypatch):
    monkeypatch.setenv("DOCKER_CONTENT_TRUST", "1")
    monkeypatch.setenv("DOCKER_CONTENT_TRUST_SERVER", "http://localhost:1")
    status, _, err = lading("pull", name)
    assert status == 1
    assert "valid https URL required for trust server" in err


def test_passphrases_come_from_dockers_variables(name, lading, monkeypatch):
    monkeypatch.delenv("LADING_PASSPHRASE")
    monkeypatch.setenv("DOCKER_CONTENT_TRUST", "1")
    status, _, err = lading("push", name)
    assert (status, "passphrase" in err) == (1, True)
    monkeypatch.setenv("DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE", "root secret")
    monkeypatch.setenv("DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE", "repository secret")
    assert "Successfully signed" in ok(lading("push", name))


def test_roles_of_a_repository_are_rotated(name, lading, monkeypatch):
    monkeypatch.setenv("DOCKER_CONTENT_TRUST", "1")
    ok(lading("push", name))
    repository = name.rpartition(":")[0]
    rotate = ("trust", "key", "rotate", repository, "--role")
    (before,) = json.loads(ok(lading("trust", "inspect", repository)))
    for role in (("root",), ("targets",), ("snapshot",), ("snapshot", "--server")):
        assert f"Successfully rotated {role[0]} key" in ok(lading(*rotate, *role))
        ok(lading("pull", name))
    ok(lading(*rotate, "timestamp", "--server"))
    ok(lading("pull", name))
    (after,) = json.loads(ok(lading("trust", "inspect", repository)))
    pairs = zip(before["AdministrativeKeys"], after["AdministrativeKeys"], strict=True)
    assert all(old["Keys"] != new["Keys"] for old, new in pairs)
    assert lading(*rotate, "root", "--server")[0] == 1
    assert "add --server" in lading(*rotate, "timestamp")[2]


SUBJECT = "C=DE, ST=Hamburg, O=Acme, CN=alice"
NOTATION = """default = "reject"
[[rule]]
scopes = [""]
require = "notation"
stores = ["ca:acme"]
identities = ["x509.subject: C=DE, ST=Hamburg, O=Acme"]
config = "."
"""


def test_notation_signs_with_a_certificate_of_the_store(name, lading, tmp_path):
    ok(lading("trust", "key", "generate", "alice"))
    sign = ("trust", "sign", "--format", "notation", "--key", "alice", name)
    assert "lading trust key certify" in lading(*sign)[2]
    ok(lading("trust", "key", "certify", "alice", "--subject", SUBJECT))
    assert "(notation)" in ok(lading(*sign))
    store = tmp_path / "truststore/x509/ca/acme"
    store.mkdir(parents=True)
    chain = tmp_path / "root/trust/keys/alice.crt"
    (store / "alice.crt").write_bytes(chain.read_bytes())
    (tmp_path / "policy.toml").write_text(NOTATION)
    assert "@sha256:" in ok(lading("trust", "verify", "--policy", tmp_path / "policy.toml", name))
    both = ("trust", "sign", "--format", "notation", "--format", "cosign", "--certificate", chain)
    assert "(cosign)" in ok(lading(*both, "--key", "alice", name))
    ok(lading("trust", "key", "generate", "bob"))
    assert "for another key" in lading(*both, "--key", "bob", name)[2]


def test_a_programs_key_does_not_sign_in_notations_format(name, lading, tmp_path):
    ok(lading("trust", "key", "generate", "alice", "--dir", tmp_path))
    program = tmp_path / "signer"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/alice.pub\n")
    program.chmod(0o755)
    status, _, err = lading(
        "trust", "sign", "--format", "notation", "--key", f"command:{program}", name
    )
    assert (status, "use a key of the store" in err) == (1, True)


def test_dockers_flag_goes_before_the_environment(name, lading, monkeypatch, tmp_path):
    unsigned = "remote trust data does not exist"
    assert unsigned in lading("pull", "--disable-content-trust=false", name)[2]
    monkeypatch.setenv("DOCKER_CONTENT_TRUST", "1")
    ok(lading("pull", "--disable-content-trust", name))
    ok(lading("pull", "--disable-content-trust=true", name))
    assert "Signing" not in ok(lading("push", "--disable-content-trust", name))
    (tmp_path / "Dockerfile").write_text(f"FROM {name}\nLABEL a=b\n")
    build = ("build", "--progress", "plain", tmp_path)
    assert unsigned in lading(*build)[2]
    ok(lading(*build[:-1], "--disable-content-trust", tmp_path))
    assert unsigned in lading("run", name, "true")[2]
    assert unsigned not in lading("run", "--disable-content-trust", name, "true")[2]
    monkeypatch.delenv("DOCKER_CONTENT_TRUST")
    assert unsigned in lading("run", "--disable-content-trust=false", name, "true")[2]
    assert lading("pull", "--disable-content-trust=maybe", name)[0] != 0
