"""A policy that asks for docker's trust data, against a real registry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lading.conftest import Lading, ok, push_image, refusal

Rule = Callable[[str], Path]


@pytest.fixture
def name(host: str, lading: Lading, rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An image in the registry, unsigned."""
    monkeypatch.setenv("LADING_PASSPHRASE", "correct horse")
    monkeypatch.delenv("DOCKER_CONTENT_TRUST", raising=False)
    return push_image(lading, rootfs, host)


@pytest.fixture
def rule(tmp_path: Path) -> Rule:
    """Writes a policy that wants trust data everywhere, with more lines in its rule."""

    def write(lines: str = "") -> Path:
        path = tmp_path / "policy.toml"
        head = 'default = "reject"\n[[rule]]\nname = "docker"\nscopes = [""]\nrequire = "notary"\n'
        path.write_text(head + lines)
        return path

    return write


def test_only_what_trust_data_releases_is_pulled(name, lading, rule, rootfs):
    pull = ("pull", "--policy", rule())
    assert "remote trust data does not exist" in refusal(lading(*pull, name))
    ok(lading("trust", "sign", "--format", "notary", name))
    ok(lading(*pull, name))
    digest = ok(lading("trust", "verify", "--policy", rule(), name)).strip()
    ok(lading("trust", "verify", "--policy", rule(), digest))
    (seen,) = json.loads(ok(lading("trust", "inspect", "--policy", rule(), name)))
    assert seen["Policy"]["Accepted"] is True
    ok(lading("tag", name, f"{name}x"))
    ok(lading("push", f"{name}x"))
    assert "releases v1, and v1x is asked for" in refusal(lading(*pull, f"{name}x"))
    ok(lading("import", "--change", "ENV other=1", rootfs, name))
    ok(lading("push", name))
    assert "the tag was moved after signing" in refusal(lading(*pull, name))


def test_the_signers_that_are_named_must_have_signed(name, lading, rule, tmp_path):
    repository = name.rpartition(":")[0]
    for who in ("alice", "bob"):
        ok(lading("trust", "key", "generate", who, "--dir", tmp_path))
    add = ("trust", "signer", "add", "--key")
    ok(lading(*add, tmp_path / "alice.pub", "alice", repository))
    ok(lading("trust", "sign", "--format", "notary", name))
    ok(lading("pull", "--policy", rule('signers = ["alice"]'), name))
    both = rule('signers = ["alice", "bob"]')
    assert "bob did not sign v1" in refusal(lading("pull", "--policy", both, name))
    ok(lading(*add, tmp_path / "bob.pub", "bob", repository))
    ok(lading("trust", "sign", "--format", "notary", name))
    ok(lading("pull", "--policy", both, name))


def test_a_root_in_the_policy_is_the_only_one(name, lading, rule, tmp_path):
    ok(lading("trust", "sign", "--format", "notary", name))
    (seen,) = json.loads(ok(lading("trust", "inspect", name)))
    root = seen["AdministrativeKeys"][0]["Keys"][0]["ID"]
    ok(lading("pull", "--policy", rule(f'root = "{root}"'), name))
    wrong = rule(f'root = "{"0" * 64}"')
    assert "not the pinned one" in refusal(lading("pull", "--policy", wrong, name))
    shutil.rmtree(tmp_path / "docker/trust/tuf")
    assert "not the pinned one" in refusal(lading("pull", "--policy", wrong, name))
    assert not (tmp_path / "docker/trust/tuf").exists()
    ok(lading("trust", "key", "generate", "other", "--dir", tmp_path))
    other = rule('root = "other.pub"')
    assert "not the pinned one" in refusal(lading("pull", "--policy", other, name))


def test_the_policy_says_what_it_wants(lading, rule, tmp_path):
    policy = rule('signers = ["alice"]\nserver = "https://notary.example.com"\nroot = "r.crt"')
    out = ok(lading("trust", "policy", "explain", "--policy", policy, "example.com/app"))
    assert "signed in Notary's trust data by alice, at https://notary.example.com" in out
    assert f"under the root {tmp_path}/r.crt" in out


@pytest.mark.parametrize(
    "line",
    [
        'server = "http://notary.example.com"',
        'server = "https://user@notary.example.com"',
        'signers = ["Alice"]',
        'signers = "alice"',
        'keys = ["a.pub"]',
        "root = 1",
    ],
)
def test_what_a_rule_cannot_say(lading, rule, line):
    refusal(lading("trust", "policy", "check", rule(line)))
