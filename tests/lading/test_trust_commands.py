"""Keys and policies from the command line; signing has its tests with a registry in tests/e2e."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lading.conftest import Result

Lading = Callable[..., Result]


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LADING_PASSPHRASE", "correct horse")


def test_a_key_is_made_listed_and_removed(lading: Lading, tmp_path: Path) -> None:
    status, out, err = lading("trust", "key", "generate", "alice", "--output", tmp_path / "public")
    assert status == 0, err
    assert (tmp_path / "public/alice.pub").read_text().startswith("-----BEGIN PUBLIC KEY-----")
    identity = out.split()[2]
    rows = lading("trust", "key", "list", "--format", "{{.Name}} {{.KeyID}}")[1]
    assert rows == f"alice {identity}\n"
    assert lading("trust", "key", "rm", "alice")[1] == "alice\n"
    assert lading("trust", "key", "list", "-q")[1] == ""


def test_private_keys_are_encrypted_and_private(lading: Lading, tmp_path: Path) -> None:
    lading("trust", "key", "generate", "alice")
    key = tmp_path / "root/trust/keys/alice.key"
    assert "ENCRYPTED" in key.read_text()
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_second_key_of_the_name_is_refused(lading: Lading) -> None:
    lading("trust", "key", "generate", "alice")
    status, _, err = lading("trust", "key", "generate", "alice")
    assert status == 1
    assert "exists" in err
    assert "lading trust key rm alice" in err


def test_a_key_file_is_loaded_with_its_passphrase(lading: Lading, tmp_path: Path) -> None:
    lading("trust", "key", "generate", "alice")
    file = tmp_path / "root/trust/keys/alice.key"
    assert lading("trust", "key", "load", file, "--name", "bob")[0] == 0
    names = lading("trust", "key", "list", "-q")[1].split()
    assert names == ["alice", "bob"]


def test_the_passphrase_comes_from_a_descriptor(lading: Lading, tmp_path: Path) -> None:
    lading("trust", "key", "generate", "alice")
    reader, writer = os.pipe()
    os.write(writer, b"wrong\nsecond line")
    os.close(writer)
    file = tmp_path / "root/trust/keys/alice.key"
    status, _, err = lading(
        "trust", "key", "load", file, "--name", "b", "--passphrase-fd", str(reader)
    )
    os.close(reader)
    assert status == 1
    assert "passphrase" in err


def test_without_anybody_to_ask_it_says_how(
    lading: Lading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LADING_PASSPHRASE")
    status, _, err = lading("trust", "key", "generate", "alice")
    assert status == 1
    assert "LADING_PASSPHRASE" in err


def test_policy_explain_names_the_rule(lading: Lading, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    scopes = {"docker": {"localhost:5000/team": [{"type": "reject"}]}}
    policy.write_text(
        json.dumps({"default": [{"type": "insecureAcceptAnything"}], "transports": scopes})
    )
    _, out, _ = lading("trust", "policy", "explain", "--policy", policy, "localhost:5000/team/app")
    assert 'transports.docker["localhost:5000/team"]' in out
    assert "everything is refused" in out


def test_policy_check_points_at_what_it_does_not_understand(lading: Lading, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "accept"}]}')
    status, _, err = lading("trust", "policy", "check", policy)
    assert status == 1
    assert "policy.json" in err
    assert "accept" in err


def test_a_rotated_key_keeps_the_old_one_under_a_number(lading: Lading) -> None:
    lading("trust", "key", "generate", "alice")
    before = lading("trust", "key", "list", "--format", "{{.KeyID}}")[1].strip()
    status, out, err = lading("trust", "key", "rotate", "alice")
    assert status == 0, err
    assert f"old key alice.1: {before}\n" in out
    rows = lading("trust", "key", "list", "--format", "{{.Name}} {{.KeyID}}")[1].splitlines()
    assert f"alice.1 {before}" in rows
    assert rows[0].split()[1] in out
    assert lading("trust", "key", "rotate", "bob")[0] == 1
    assert "--role" in lading("trust", "key", "rotate", "--server", "alice")[2]
    assert lading("trust", "key", "rotate", "--algorithm", "rot13", "alice")[0] != 0


def test_a_certificate_is_made_and_listed(lading: Lading, tmp_path: Path) -> None:
    lading("trust", "key", "generate", "alice")
    subject = "C=DE, ST=Hamburg, O=Acme, CN=alice"
    status, out, err = lading("trust", "key", "certify", "alice", "--subject", subject)
    assert status == 0, err
    assert "CN=alice,O=Acme,ST=Hamburg,C=DE" in out
    path = tmp_path / "root/trust/keys/alice.crt"
    assert path.read_text().startswith("-----BEGIN CERTIFICATE-----")
    assert lading("trust", "key", "list", "--format", "{{.Certificate}}")[1] == f"{path}\n"
    assert lading("trust", "key", "certify", "alice", "--subject", "CN=alice")[0] == 1


def test_keys_that_notation_does_not_know_get_no_certificate(lading: Lading) -> None:
    lading("trust", "key", "generate", "edward", "--algorithm", "ed25519")
    subject = "C=DE, ST=Hamburg, O=Acme, CN=edward"
    status, _, err = lading("trust", "key", "certify", "edward", "--subject", subject)
    assert status == 1
    assert "use RSA with 2048" in err
