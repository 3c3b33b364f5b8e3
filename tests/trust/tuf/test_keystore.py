"""Docker's key store and cache: what notary reads, and what it once wrote."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.trust.tuf.kit import DAY, GUN, NOW, key
from trust.errors import KeyFileError, KeyUnknownError, PassphraseError
from trust.keys import Algorithm
from trust.tuf import keyfile
from trust.tuf.cache import CacheFault, MetadataCache
from trust.tuf.keys import Signer
from trust.tuf.keystore import Locked, TrustKeys

SECRET = b"a secret"


def store(folder: Path, *answers: bytes) -> TrustKeys:
    left = list(answers or (SECRET,) * 9)
    return TrustKeys(folder, lambda locked: left.pop(0))


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_key_is_written_and_opened_again(tmp_path: Path, algorithm: Algorithm):
    made = store(tmp_path).create("alice", make=lambda: Signer.generate(algorithm))
    path = tmp_path / f"private/{made.key.id}.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert b"ENCRYPTED" in path.read_bytes()
    found = store(tmp_path).find("alice")
    assert found is not None
    opened = store(tmp_path).open(found.id)
    assert opened.key == made.key
    signature = opened.sign(b"x")
    assert made.key.verifies(signature.value, signature.method, b"x")


def test_a_certificate_finds_its_private_key(tmp_path: Path):
    keys = store(tmp_path)
    made = keys.create("root")
    certificate = made.certified(GUN, start=NOW, end=NOW + DAY).key
    assert keys.signer(certificate).key == certificate
    assert keys.signer(key("alice").key) is None


def test_a_wrong_passphrase_is_asked_for_again_and_then_told(tmp_path: Path):
    made = store(tmp_path).create("alice")
    assert store(tmp_path, b"wrong", SECRET).open(made.key.id).key == made.key
    with pytest.raises(PassphraseError):
        store(tmp_path, b"1", b"2", b"3").open(made.key.id)


def test_the_asker_learns_what_for(tmp_path: Path):
    asked: list[Locked] = []
    keys = TrustKeys(tmp_path, lambda locked: asked.append(locked) or SECRET)
    made = keys.create("targets", gun=GUN)
    TrustKeys(tmp_path, lambda locked: asked.append(locked) or SECRET).open(made.key.id)
    assert asked == [
        Locked("targets", made.key.id, new=True),
        Locked("targets", made.key.id, new=False),
    ]


def test_keys_of_other_repositories_are_not_found(tmp_path: Path):
    keys = store(tmp_path)
    keys.create("targets", gun="a/b")
    assert keys.find("targets", gun=GUN) is None
    assert keys.find("targets", gun="a/b") is not None


def test_older_layouts_are_read(tmp_path: Path):
    old = tmp_path / "private/tuf_keys/registry.example.com/lib/app"
    old.mkdir(parents=True)
    made = key("alice")
    pem = keyfile.write(made, SECRET, role="", gun="")
    (old / f"{made.key.id}_targets.key").write_bytes(pem)
    (old / "junk.key").write_text("no key")
    (found,) = store(tmp_path).list()
    assert (found.id, found.role) == (made.key.id, "targets")
    assert store(tmp_path).open(made.key.id).key == made.key


def test_a_removed_key_is_unknown(tmp_path: Path):
    keys = store(tmp_path)
    made = keys.create("alice")
    keys.remove(made.key.id)
    for action in (keys.open, keys.remove):
        with pytest.raises(KeyUnknownError):
            action(made.key.id)
    with pytest.raises(KeyUnknownError):
        keys.open("../../etc/passwd")


@pytest.mark.parametrize(
    "make",
    [
        "openssl ecparam -name prime256v1 -genkey -noout -out k",
        "openssl genrsa -traditional -out k 2048",
        "openssl genpkey -algorithm ed25519 -out k",
        "openssl genpkey -algorithm ed25519 -aes256 -pass pass:'a secret' -out k",
        "openssl genrsa -traditional -aes128 -passout pass:'a secret' -out k 2048",
        "openssl ecparam -name secp384r1 -genkey -out e && "
        "openssl ec -in e -aes256 -passout pass:'a secret' -out k",
    ],
)
def test_keys_of_openssl_are_read(tmp_path: Path, make: str):
    require_program("openssl")
    subprocess.run(["sh", "-c", make], cwd=tmp_path, check=True, capture_output=True)
    file = keyfile.parse((tmp_path / "k").read_bytes())
    made = keyfile.load(file, SECRET)
    again = keyfile.parse(keyfile.write(made, SECRET, role="alice"))
    assert (again.role, keyfile.load(again, SECRET).key) == ("alice", made.key)
    if file.encrypted:
        with pytest.raises(PassphraseError):
            keyfile.load(file, b"wrong")


def test_dockers_files_become_plain_for_other_stores():
    pem = keyfile.write(key("alice"), SECRET, role="alice")
    plain = keyfile.to_pkcs8(pem, lambda: SECRET)
    assert keyfile.load(keyfile.parse(plain), None).key == key("alice").key
    assert keyfile.to_pkcs8(b"something else", lambda: SECRET) == b"something else"


def test_damaged_key_files_are_told():
    pem = keyfile.write(key("alice"), SECRET, role="alice", rounds=1)
    for damage in (b"", pem[:60], pem * 2, b"x" * 70000, pem.replace(b"PRIVATE", b"PUBLIC")):
        with pytest.raises(KeyFileError):
            keyfile.parse(damage)
    for position in range(0, len(pem), 7):
        changed = pem[:position] + bytes([pem[position] ^ 4]) + pem[position + 1 :]
        try:
            opened = keyfile.load(keyfile.parse(changed), SECRET)
        except (KeyFileError, PassphraseError):
            continue
        # Headers are not covered by anything; the key itself is the same or does not open.
        assert opened.key == key("alice").key


def test_a_file_may_not_choose_our_work(monkeypatch: pytest.MonkeyPatch):
    pem = keyfile.write(key("alice"), SECRET, role="alice", rounds=11)
    monkeypatch.setattr(keyfile, "MAX_ROUNDS", 10)
    with pytest.raises(KeyFileError, match="11 rounds"):
        keyfile.load(keyfile.parse(pem), SECRET)


class TestCache:
    def test_it_is_laid_out_as_dockers(self, tmp_path: Path):
        cache = MetadataCache(tmp_path, GUN)
        cache.put({"root": b"r", "targets/releases": b"t"})
        assert (tmp_path / "tuf" / GUN / "metadata/targets/releases.json").read_bytes() == b"t"
        assert (cache.get("root"), cache.get("targets"), cache.get("../x")) == (b"r", None, None)
        (tmp_path / "tuf" / GUN / "changelist").mkdir()
        cache.discard_changes()
        assert not (tmp_path / "tuf" / GUN / "changelist").exists()
        cache.forget()
        assert cache.get("root") is None

    def test_what_is_too_long_is_not_read(self, tmp_path: Path):
        cache = MetadataCache(tmp_path, GUN)
        cache.put({"timestamp": b" " * ((1 << 20) + 1)})
        assert cache.get("timestamp") is None

    def test_a_disk_that_refuses_is_told(self, tmp_path: Path):
        (tmp_path / "tuf").write_text("a file")
        with pytest.raises(CacheFault):
            MetadataCache(tmp_path, GUN).put({"root": b"r"})
