"""Rotation of a stored key: the old pair stays, and no moment shows a key beside a foreign part."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from trust.errors import KeyNameError, KeyUnknownError
from trust.keys import Algorithm
from trust.keystore import KeyStore

_STEPS = frozenset({"os.link", "os.remove", "os.rename"})


def secret() -> bytes:
    return b"secret"


def names(store: KeyStore) -> list[str]:
    return [stored.name for stored in store.list()]


def test_the_old_pair_keeps_a_number(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    first = store.generate("alice", secret, algorithm=Algorithm.ECDSA_P384)
    store.certify("alice", b"certificate")
    old, second = store.rotate("alice", secret)
    assert (old.name, old.public) == ("alice.1", first.public)
    assert old.certificate_path.read_bytes() == b"certificate"
    assert not second.certificate_path.exists()
    assert second.public.algorithm is Algorithm.ECDSA_P384
    assert store.private("alice.1", secret).public == first.public
    assert store.private("alice", secret).public == second.public != first.public
    old, third = store.rotate("alice", secret, algorithm=Algorithm.ED25519)
    assert (old.name, old.public) == ("alice.2", second.public)
    assert third.public.algorithm is Algorithm.ED25519
    assert names(store) == ["alice", "alice.1", "alice.2"]


def test_what_cannot_be_rotated(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    with pytest.raises(KeyUnknownError):
        store.rotate("nobody", secret)
    long = "a" * 64
    store.generate(long, secret)
    with pytest.raises(KeyNameError):
        store.rotate(long, secret)
    assert names(store) == [long]


def test_certificates_go_with_their_key(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.generate("alice", secret)
    stored = store.certify("alice", b"certificate")
    assert stored.certificate_path.stat().st_mode & 0o777 == 0o600
    store.rm("alice")
    assert not stored.certificate_path.exists()
    with pytest.raises(KeyUnknownError):
        store.certify("alice", b"certificate")


def killed_after(store: KeyStore, step: int) -> bool:
    """Rotate in a child that dies before its ``step``-th change of a name; False: it got through.

    The child must not return into the test, and exits without any clean-up.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = step

    def watch(event: str, _arguments: object) -> None:
        nonlocal left
        if event in _STEPS:
            left -= 1
            if left < 0:
                os._exit(9)

    sys.addaudithook(watch)
    store.rotate("alice", secret)
    os._exit(0)


def test_no_crash_parts_a_key_from_its_public_key(tmp_path: Path) -> None:
    made = KeyStore(tmp_path / "before").generate("alice", secret)
    sealed = made.private_path.read_bytes()
    KeyStore(tmp_path / "before").certify("alice", b"certificate of the first")
    resumed = False
    for step in range(20):
        shutil.copytree(tmp_path / "before", tmp_path / str(step))
        store = KeyStore(tmp_path / str(step))
        died = killed_after(store, step)
        seen = {stored.private_path.read_bytes(): stored for stored in store.list()}
        assert sealed in seen, "the old key is lost"
        for stored in store.list():
            first = stored.private_path.read_bytes() == sealed
            opened = made.public if first else store.private(stored.name, secret).public
            assert stored.public == opened
            if stored.certificate_path.exists():
                assert first
        if not died:
            break
        if not resumed and names(store) == ["alice", "alice.1"]:
            resumed = True
            store.rotate("alice", secret)
            assert names(store) == ["alice", "alice.1"]
    assert (died, resumed) == (False, True)
