"""Stages: locking, growth, hashing after a gap, and publication."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from images.digest import Digest
from images.errors import BlobUnknownError, DigestMismatchError
from registry.storage import FileStorage

DATA = bytes(range(256)) * 10


@pytest.fixture
def storage(tmp_path: Path) -> FileStorage:
    return FileStorage(tmp_path)


def test_grow_and_commit(storage: FileStorage) -> None:
    stage = storage.create("u", "sha256")
    assert stage.acquire()
    stage.append([DATA[:100], DATA[100:1000]])
    stage.append([])
    stage.append([DATA[1000:]])
    digest = Digest.of(DATA)
    assert stage.commit(digest) == len(DATA)
    stage.release()
    assert storage.read(digest, limit=len(DATA)) == DATA
    with storage.open(digest) as file:
        assert file.read() == DATA


def test_more_buffers_than_one_call_takes(storage: FileStorage) -> None:
    stage = storage.create("u", "sha256")
    assert stage.acquire()
    buffers = [bytes([n % 256]) * 3 for n in range(2000)]
    stage.append(buffers)
    stage.commit(Digest.of(b"".join(buffers)))
    stage.release()


def test_short_writes_are_continued(storage: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(descriptor: int, buffers: Any, offset: int) -> int:
        return os.pwrite(descriptor, buffers[0][:7], offset)

    monkeypatch.setattr("registry.storage.os.pwritev", short)
    stage = storage.create("u", "sha256")
    assert stage.acquire()
    stage.append([DATA[:100], DATA[100:]])
    stage.commit(Digest.of(DATA))
    stage.release()
    assert storage.read(Digest.of(DATA), limit=1 << 20) == DATA


def test_a_failed_write_is_cut_off(storage: FileStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, buffers: Any, offset: int) -> int:
        os.pwrite(descriptor, b"half", offset)
        raise OSError(errno.ENOSPC, "full")

    stage = storage.create("u", "sha256")
    assert stage.acquire()
    stage.append([DATA[:10]])
    with monkeypatch.context() as patch:
        patch.setattr("registry.storage.os.pwritev", full)
        with pytest.raises(OSError, match="full"):
            stage.append([DATA[10:]])
    assert stage.size == 10
    stage.append([DATA[10:]])
    assert stage.commit(Digest.of(DATA)) == len(DATA)
    stage.release()


def test_resumed_stages_hash_their_prefix(storage: FileStorage) -> None:
    first = storage.create("u", "sha512")
    assert first.acquire()
    first.append([DATA[:1500]])
    first.release()
    again = storage.resume("u", "sha512")
    assert again.acquire()
    assert again.size == 1500
    again.append([DATA[1500:]])
    digest = Digest.of(DATA, "sha512")
    again.commit(digest)
    again.release()
    assert storage.read(digest, limit=1 << 20) == DATA


def test_a_stage_that_another_process_continued(storage: FileStorage) -> None:
    one, two = storage.create("u", "sha256"), storage.resume("u", "sha256")
    for stage, part in ((one, DATA[:100]), (two, DATA[100:900]), (one, DATA[900:])):
        assert stage.acquire()
        stage.append([part])
        stage.release()
    assert two.acquire()
    two.commit(Digest.of(DATA))
    two.release()


def test_one_holder_at_a_time(storage: FileStorage) -> None:
    one, two = storage.create("u", "sha256"), storage.resume("u", "sha256")
    assert one.acquire()
    assert not two.acquire()
    assert not one.acquire()
    one.release()
    one.release()
    assert two.acquire()
    two.release()


def test_wrong_digest_publishes_nothing(storage: FileStorage, tmp_path: Path) -> None:
    stage = storage.create("u", "sha256")
    assert stage.acquire()
    stage.append([DATA])
    with pytest.raises(DigestMismatchError):
        stage.commit(Digest.of(b"other"))
    stage.discard()
    stage.discard()
    stage.release()
    assert not list((tmp_path / "blobs" / "sha256").iterdir())
    with pytest.raises(FileNotFoundError):
        stage.acquire()
    with pytest.raises(BlobUnknownError):
        storage.open(Digest.of(DATA))


def test_a_published_stage_is_gone(storage: FileStorage) -> None:
    one, two = storage.create("u", "sha256"), storage.resume("u", "sha256")
    assert one.acquire()
    one.append([DATA])
    one.commit(Digest.of(DATA))
    one.release()
    with pytest.raises(FileNotFoundError):
        two.acquire()


def test_publishing_again_heals_a_damaged_blob(storage: FileStorage, tmp_path: Path) -> None:
    digest = Digest.of(DATA)
    path = tmp_path / "blobs" / "sha256" / digest.hex
    path.write_bytes(b"damaged")
    stage = storage.create("u", "sha256")
    assert stage.acquire()
    stage.append([DATA])
    stage.commit(digest)
    stage.release()
    assert path.read_bytes() == DATA


def test_put_in_either_algorithm(storage: FileStorage) -> None:
    for algorithm in ("sha256", "sha512"):
        digest = Digest.of(DATA, algorithm)
        storage.put(DATA, digest)
        storage.put(DATA, digest)
        assert storage.read(digest, limit=len(DATA)) == DATA


def test_sweep(storage: FileStorage, tmp_path: Path) -> None:
    for name, age in (("old", 1000), ("new", 10)):
        storage.create(name, "sha256")
        os.utime(tmp_path / "uploads" / name, (5000 - age, 5000 - age))
    assert storage.sweep(before=4500) == 1
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == ["new"]
