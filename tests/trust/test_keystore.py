"""Keys on disk: private, whole or absent, never overwritten."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from trust.errors import (
    KeyExistsError,
    KeyFileError,
    KeyNameError,
    KeyStoreFault,
    KeyUnknownError,
    PassphraseError,
)
from trust.keys import Algorithm, KeyForm, PrivateKey
from trust.keystore import KeyStore


def secret() -> bytes:
    return b"secret"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_generated_key_is_there_and_opens(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    made = store.generate("alice", secret)
    assert store.list() == (made,)
    assert store.private("alice", secret).public == made.public
    assert made.private_path == tmp_path / "trust" / "keys" / "alice.key"
    assert b"ENCRYPTED SIGSTORE" in made.private_path.read_bytes()


def test_nobody_else_can_look(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = KeyStore(tmp_path).generate("alice", secret)
    finally:
        os.umask(before)
    assert mode(made.private_path) == mode(made.public_path) == 0o600
    assert mode(tmp_path / "trust") == mode(tmp_path / "trust" / "keys") == 0o700


@pytest.mark.parametrize("form", KeyForm)
def test_imported_key_is_stored_encrypted_again(tmp_path: Path, form: KeyForm) -> None:
    key = PrivateKey.generate(Algorithm.ED25519)
    store = KeyStore(tmp_path)
    made = store.load("bob", key.to_pem(b"old", form), lambda: b"old", new_passphrase=secret)
    assert made.public == key.public
    assert store.private("bob", secret).public == key.public
    with pytest.raises(PassphraseError):
        store.private("bob", lambda: b"old")


def test_passphrase_is_asked_once_on_import(tmp_path: Path) -> None:
    asked: list[int] = []

    def counting() -> bytes:
        asked.append(1)
        return b"secret"

    KeyStore(tmp_path).load("bob", PrivateKey.generate().to_pem(b"secret"), counting)
    assert asked == [1]


def test_import_of_garbage_stores_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError):
        KeyStore(tmp_path).load("bob", b"garbage", secret)
    assert KeyStore(tmp_path).list() == ()
    assert not (tmp_path / "trust").exists()


def test_key_is_never_overwritten(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    made = store.generate("alice", secret)
    with pytest.raises(KeyExistsError, match="alice"):
        store.generate("alice", lambda: pytest.fail("asked for a passphrase in vain"))
    with pytest.raises(KeyExistsError):
        store.load("alice", PrivateKey.generate().to_pem(b"x"), lambda: b"x")
    assert store.list() == (made,)


def test_removed_key_is_gone(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    made = store.generate("alice", secret)
    assert store.rm("alice") == made
    assert store.list() == ()
    with pytest.raises(KeyUnknownError, match="alice"):
        store.rm("alice")


def test_unknown_key_lists_the_known_ones(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.generate("alice", secret)
    with pytest.raises(KeyUnknownError) as caught:
        store.private("bob", secret)
    assert caught.value.fix is not None
    assert "alice" in caught.value.fix


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../alice", "a/b", ".hidden", "a\n", "x" * 65, "ä"]
)
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    store = KeyStore(tmp_path)
    for call in (store.get, store.rm):
        with pytest.raises(KeyNameError):
            call(name)
    with pytest.raises(KeyNameError):
        store.generate(name, secret)


def test_interrupted_generate_leaves_no_key_and_can_be_repeated(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.generate("alice", secret).private_path.unlink()
    (tmp_path / "trust" / "keys" / ".alice.key.stage").write_bytes(b"half")
    assert store.list() == ()
    made = store.generate("alice", secret)
    assert store.private("alice", secret).public == made.public


def test_damaged_public_key_is_named(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    made = store.generate("alice", secret)
    made.public_path.write_bytes(b"x")
    with pytest.raises(KeyFileError) as caught:
        store.list()
    assert caught.value.where == str(made.public_path)


def test_disk_that_refuses_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "trust").write_bytes(b"a file in the way")
    with pytest.raises(KeyStoreFault) as caught:
        KeyStore(tmp_path).generate("alice", secret)
    assert caught.value.fix


def _generate(root: Path, number: int, results: multiprocessing.Queue[str]) -> None:
    try:
        KeyStore(root).generate("alice", secret)
        results.put(f"made {number}")
    except KeyExistsError:
        results.put("exists")


def test_of_many_processes_one_makes_the_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    workers = [context.Process(target=_generate, args=(tmp_path, n, results)) for n in range(3)]
    for worker in workers:
        worker.start()
    said = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    results.close()
    results.join_thread()
    assert sorted(said)[:2] == ["exists", "exists"]
    store = KeyStore(tmp_path)
    assert store.private("alice", secret).public == store.get("alice").public
