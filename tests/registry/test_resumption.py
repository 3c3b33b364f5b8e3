"""Uploads that move between processes: what is hashed again, and what a failing disk ends."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from images.digest import Digest
from registry.storage import FileStage, FileStorage
from tests.registry.kit import Client, digest_of

PART = bytes(range(256)) * 64


@pytest.fixture
def reread(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each look back at an upload's file read."""
    sizes: list[int] = []
    pread = os.pread

    def counted(descriptor: int, count: int, offset: int) -> bytes:
        data = pread(descriptor, count, offset)
        sizes.append(len(data))
        return data

    monkeypatch.setattr("registry.storage.os.pread", counted)
    return sizes


def append(stage: FileStage, *parts: bytes) -> None:
    assert stage.acquire()
    stage.append(parts)
    stage.release()


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_each_process_hashes_a_byte_once(tmp_path: Path, reread: list[int], processes: int) -> None:
    """Chunks that go to one worker after the other cost linear work, not the square."""
    storage = FileStorage(tmp_path)
    storage.create("u", "sha256")
    stages = [storage.resume("u", "sha256") for _ in range(processes)]
    rounds = 40
    for number in range(rounds):
        append(stages[number % processes], PART)
    assert sum(reread) <= (processes - 1) * rounds * len(PART)
    assert stages[0].acquire()
    assert stages[0].commit(Digest.of(PART * rounds)) == rounds * len(PART)
    stages[0].release()


def test_a_restart_hashes_the_prefix_once(tmp_path: Path, reread: list[int]) -> None:
    storage = FileStorage(tmp_path)
    append(storage.create("u", "sha256"), PART, PART)
    stage = FileStorage(tmp_path).resume("u", "sha256")
    assert stage.acquire()
    assert (stage.size, reread) == (2 * len(PART), [])
    stage.release()
    for _ in range(3):
        append(stage, PART)
    assert sum(reread) == 2 * len(PART)


def test_bytes_of_a_killed_writer_count(tmp_path: Path) -> None:
    """What reached the file before its process died is reported, hashed and kept."""
    storage = FileStorage(tmp_path)
    stage = storage.create("u", "sha256")
    append(stage, PART)
    with (tmp_path / "uploads" / "u").open("ab") as file:
        file.write(PART[:100])
    append(stage, PART[100:])
    assert stage.acquire()
    assert stage.commit(Digest.of(PART * 2)) == 2 * len(PART)
    stage.release()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_a_failed_fsync_ends_the_session(
    client: Client, monkeypatch: pytest.MonkeyPatch, faults_expected: None, number: int
) -> None:
    """A second fsync(2) would succeed without the pages that the first one lost."""
    location = await client.start_upload("a")
    put = f"{location}?digest={digest_of(PART)}"

    def failing(descriptor: int) -> Any:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("registry.storage.os.fsync", failing)
        answer = await client.send("PUT", put, data=PART)
    assert answer.status == (507 if number == errno.ENOSPC else 503)
    assert (await client.send("GET", location)).status == 404
    assert (await client.send("GET", f"/v2/a/blobs/{digest_of(PART)}")).status == 404
    await client.push_blob("a", PART)
