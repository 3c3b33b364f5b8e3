"""``lading trust delegation``, ``witness`` and ``pin`` against a real registry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lading.conftest import Lading, ok, push_image
from trust.tuf.keys import Signer


@pytest.fixture
def name(host: str, lading: Lading, rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An image that content trust signed."""
    monkeypatch.setenv("LADING_PASSPHRASE", "correct horse")
    monkeypatch.setenv("DOCKER_CONTENT_TRUST", "1")
    return push_image(lading, rootfs, host)


@pytest.fixture
def key(tmp_path: Path) -> Callable[[str], Path]:
    """Makes public key files of nobody here."""

    def make(who: str) -> Path:
        path = tmp_path / f"{who}.pub"
        path.write_bytes(Signer.generate().key.public_key().pem)
        return path

    return make


def rows(lading: Lading, repository: str) -> dict[str, dict[str, object]]:
    out = ok(lading("trust", "delegation", "list", "--format", "json", repository))
    return {row["Role"]: row for row in map(json.loads, out.splitlines())}


def test_delegations_grow_and_shrink(name, lading, key):
    repository = name.rpartition(":")[0]
    add = ("trust", "delegation", "add", repository)
    one, two = key("one"), key("two")
    ok(lading(*add, "targets/qa", "--key", one, "--path", "rc-"))
    ok(lading(*add, "qa", "--key", two, "--path", "beta-", "--threshold", "2"))
    found = rows(lading, repository)["targets/qa"]
    assert (found["Paths"], found["Threshold"]) == ("rc-, beta-", 2)
    assert len(found["KeyIDs"].split(", ")) == 2
    remove = ("trust", "delegation", "remove", repository, "qa")
    ok(lading(*remove, "--key", one, "--path", "rc-"))
    found = rows(lading, repository)["targets/qa"]
    assert (found["Paths"], found["Threshold"], len(found["KeyIDs"])) == ("beta-", 1, 64)
    table = ok(lading("trust", "delegation", "list", repository))
    assert table.split()[:4] == ["ROLE", "PATHS", "KEY", "IDS"]
    ok(lading(*remove))
    assert rows(lading, repository) == {}
    assert lading(*remove)[0] == 1


def test_what_cannot_be_a_delegation(name, lading, key):
    repository = name.rpartition(":")[0]
    add = ("trust", "delegation", "add", repository)
    assert "nothing to add" in lading(*add, "qa")[2]
    assert lading(*add, "QA", "--key", key("one"))[0] == 1
    assert "threshold" in lading(*add, "qa", "--key", key("two"), "--threshold", "2")[2]
    assert lading(*add, "a/b", "--key", key("three"))[0] == 1


def test_a_delegation_is_signed_again_with_its_keys(name, lading, tmp_path):
    repository = name.rpartition(":")[0]
    for who in ("alice", "bob"):
        ok(lading("trust", "key", "generate", who, "--dir", tmp_path))
    add = ("trust", "delegation", "add", repository, "releases", "--all-paths")
    ok(lading(*add, "--key", tmp_path / "alice.pub"))
    ok(lading("trust", "sign", "--format", "notary", name))
    ok(lading(*add, "--key", tmp_path / "bob.pub", "--threshold", "2"))
    assert lading("pull", name)[0] == 1
    ok(lading("trust", "witness", repository, "targets/releases"))
    ok(lading("pull", name))
    assert lading("trust", "witness", repository, "targets/other")[0] == 1


def root_id(lading: Lading, name: str) -> str:
    (seen,) = json.loads(ok(lading("trust", "inspect", name)))
    return seen["AdministrativeKeys"][0]["Keys"][0]["ID"]


def test_a_pinned_root_is_the_only_one(name, lading, tmp_path):
    repository = name.rpartition(":")[0]
    right, wrong = root_id(lading, name), "0" * 64
    ok(lading("trust", "pin", "add", repository, "--id", wrong))
    status, _, err = lading("pull", name)
    assert (status, "not the pinned one" in err) == (1, True)
    shutil.rmtree(tmp_path / "docker/trust/tuf")
    assert "not the pinned one" in lading("pull", name)[2]
    ok(lading("trust", "pin", "rm", repository))
    ok(lading("trust", "pin", "add", repository.rpartition("/")[0] + "/*", "--id", right))
    ok(lading("pull", name))
    assert ok(lading("trust", "pin", "list", "--format", "{{.Pin}}")) == f"{right}\n"
    assert lading("trust", "pin", "rm", repository)[0] == 1
    assert lading("trust", "pin", "add", repository, "--id", "12")[0] == 1
    assert lading("trust", "pin", "add", repository)[0] == 1


def test_first_use_can_be_refused(name, lading, tmp_path):
    ok(lading("trust", "pin", "first-use", "off"))
    ok(lading("pull", name))
    right = root_id(lading, name)
    shutil.rmtree(tmp_path / "docker/trust/tuf")
    assert lading("pull", name)[0] == 1
    assert "not trusted on first use" in ok(lading("trust", "pin", "list"))
    ok(lading("trust", "pin", "add", name, "--id", right))
    ok(lading("pull", name))


def test_a_damaged_file_of_pins_refuses(name, lading, tmp_path):
    (tmp_path / "docker/trust/pins.json").write_text('{"cert": {}}')
    status, _, err = lading("pull", name)
    assert (status, "pins.json" in err) == (1, True)


def test_signers_are_listed(name, lading, key):
    repository = name.rpartition(":")[0]
    assert ok(lading("trust", "signer", "list", repository)) == "SIGNER    KEYS\n"
    for who in ("bob", "alice"):
        ok(lading("trust", "signer", "add", "--key", key(who), who, repository))
    rows = ok(lading("trust", "signer", "list", "--format", "json", repository)).splitlines()
    found = [json.loads(row) for row in rows]
    assert [row["Signer"] for row in found] == ["alice", "bob"]
    assert all(len(row["KeyIDs"]) == 64 for row in found)
    status, _, err = lading("trust", "signer", "list", repository.replace("app", "other"))
    assert (status, "nobody may sign" in err) == (1, True)
