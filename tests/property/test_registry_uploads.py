"""Uploads as a state machine, and byte ranges against Python's own slices."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from images.digest import Digest
from images.errors import DigestMismatchError
from registry.ranges import UnsatisfiableRangeError, parse_content_range, select
from registry.storage import FileStage, FileStorage

ALGORITHMS = st.sampled_from(["sha256", "sha512"])


class UploadMachine(RuleBasedStateMachine):
    """One upload through chunks, failures, restarts and other processes, beside a bytearray."""

    @initialize(algorithm=ALGORITHMS)
    def begin(self, algorithm: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="upload-machine-"))
        self.algorithm = algorithm
        self.storage = FileStorage(self.root)
        self.stages: list[FileStage] = [self.storage.create("u", algorithm)]
        self.model = b""
        self.ended = False

    def hold(self) -> FileStage:
        stage = self.stages[-1]
        assert stage.acquire()
        assert stage.size == len(self.model)
        return stage

    @precondition(lambda self: not self.ended)
    @rule(chunks=st.lists(st.binary(max_size=300), max_size=4))
    def append(self, chunks: list[bytes]) -> None:
        stage = self.hold()
        stage.append(chunks)
        stage.release()
        self.model += b"".join(chunks)

    @precondition(lambda self: not self.ended)
    @rule(chunk=st.binary(min_size=1, max_size=300), written=st.integers(0, 300))
    def disk_full(self, chunk: bytes, written: int) -> None:
        def full(descriptor: int, buffers: Any, offset: int) -> int:
            os.pwrite(descriptor, chunk[:written], offset)
            raise OSError(errno.ENOSPC, "full")

        stage = self.hold()
        with mock.patch("registry.storage.os.pwritev", full), pytest.raises(OSError, match="full"):
            stage.append([chunk])
        stage.release()

    @precondition(lambda self: not self.ended)
    @rule()
    def restart(self) -> None:
        self.stages.append(self.storage.resume("u", self.algorithm))

    @precondition(lambda self: not self.ended and len(self.stages) > 1)
    @rule()
    def go_on_at_the_other_process(self) -> None:
        self.stages.insert(0, self.stages.pop())

    @precondition(lambda self: not self.ended)
    @rule()
    def second_request(self) -> None:
        stage = self.hold()
        assert not self.storage.resume("u", self.algorithm).acquire()
        stage.release()

    @precondition(lambda self: not self.ended)
    @rule(algorithm=ALGORITHMS)
    def finish_with_a_wrong_digest(self, algorithm: str) -> None:
        stage = self.hold()
        with pytest.raises(DigestMismatchError):
            stage.commit(Digest.of(self.model + b"!", algorithm))
        stage.release()

    @precondition(lambda self: not self.ended)
    @rule(algorithm=ALGORITHMS)
    def finish(self, algorithm: str) -> None:
        stage = self.hold()
        digest = Digest.of(self.model, algorithm)
        assert stage.commit(digest) == len(self.model)
        stage.release()
        self.ended = True
        assert self.storage.read(digest, limit=len(self.model)) == self.model

    @precondition(lambda self: self.ended)
    @rule()
    def nothing_follows(self) -> None:
        for stage in self.stages:
            with pytest.raises(FileNotFoundError):
                stage.acquire()

    @invariant()
    def blobs_are_whole(self) -> None:
        for algorithm in ("sha256", "sha512"):
            directory = self.root / "blobs" / algorithm
            for file in directory.iterdir():
                assert Digest.of(file.read_bytes(), algorithm).hex == file.name
                assert self.ended

    def teardown(self) -> None:
        shutil.rmtree(self.root)


TestUploads = UploadMachine.TestCase
TestUploads.settings = settings(max_examples=40, stateful_step_count=20)


@given(size=st.integers(0, 50), first=st.integers(0, 60), last=st.integers(0, 60))
def test_ranges_are_slices(size: int, first: int, last: int) -> None:
    data = bytes(range(size))
    expected = data[first : last + 1] if first <= last else b""
    assert selected(f"bytes={first}-{last}", data) == expected
    assert selected(f"bytes={first}-", data) == data[first:]
    assert selected(f"bytes=-{last}", data) == (data[-last:] if last else b"")


def selected(header: str, data: bytes) -> bytes:
    """What the header selects of ``data``; nothing where the answer is 416."""
    try:
        chosen = select(header, len(data))
    except UnsatisfiableRangeError:
        return b""
    assert chosen is not None
    offset, count = chosen
    assert count > 0
    return data[offset : offset + count]


@given(st.text(max_size=40))
def test_no_header_breaks_the_parsers(text: str) -> None:
    parse_content_range(text)
    selected_or_all = f"bytes={text}"
    try:
        chosen = select(selected_or_all, 100)
    except UnsatisfiableRangeError:
        return
    assert chosen is None or (0 <= chosen[0] < chosen[0] + chosen[1] <= 100)
