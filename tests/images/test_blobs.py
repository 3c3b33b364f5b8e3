import contextlib
import errno
import hashlib
import multiprocessing
import os
import signal
import threading
import time

import pytest

from images import blobs as module
from images.blobs import WRITE_BEHIND, BlobStore
from images.digest import Digest
from images.errors import (
    BlobUnknownError,
    DigestMismatchError,
    EnvironmentFault,
    InternalError,
    SizeLimitError,
)

HELLO = Digest.of(b"hello")


@pytest.fixture
def blobs(tmp_path):
    return BlobStore(tmp_path)


def age(path, seconds=1000):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_put_and_read(blobs, tmp_path):
    assert blobs.put(b"hello") == HELLO
    assert blobs.read(HELLO) == b"hello"
    assert blobs.size(HELLO) == 5
    assert blobs.has(HELLO)
    assert blobs.path(HELLO) == tmp_path / "blobs/sha256" / HELLO.hex
    assert list(blobs.digests()) == [HELLO]
    with blobs.open(HELLO) as file:
        assert file.read() == b"hello"


def test_absent(blobs):
    assert not blobs.has(HELLO)
    assert blobs.size(HELLO) is None
    assert list(blobs.digests()) == []
    assert blobs.delete(HELLO) == 0
    for read in (blobs.open, blobs.read):
        with pytest.raises(BlobUnknownError) as caught:
            read(HELLO)
        assert str(HELLO) in caught.value.what


def test_sha512(blobs):
    with blobs.writer(algorithm="sha512") as writer:
        writer.write(b"hello")
        digest = writer.commit()
    assert digest == Digest("sha512", hashlib.sha512(b"hello").hexdigest())
    assert blobs.read(digest) == b"hello"


def test_written_in_pieces_of_any_kind(blobs):
    with blobs.writer(expected=HELLO, size=5) as writer:
        writer.write(b"he")
        writer.write(bytearray(b"l"))
        assert writer.write(memoryview(b"lo")) == 2
        assert not blobs.has(HELLO)
        assert writer.commit() == HELLO
    assert blobs.read(HELLO) == b"hello"


def test_without_commit_nothing_stays(blobs):
    with blobs.writer() as writer:
        writer.write(b"hello")
    assert list(blobs.digests()) == list(blobs.stages()) == []


def test_an_error_in_the_block_leaves_nothing(blobs):
    with contextlib.suppress(RuntimeError), blobs.writer() as writer:
        writer.write(b"hello")
        raise RuntimeError
    assert list(blobs.stages()) == []


def test_wrong_digest(blobs):
    with blobs.writer(expected=HELLO) as writer:
        writer.write(b"hullo")
        with pytest.raises(DigestMismatchError) as caught:
            writer.commit()
    assert caught.value.where == str(HELLO)
    assert str(Digest.of(b"hullo")) in caught.value.what
    assert list(blobs.digests()) == list(blobs.stages()) == []


def test_too_short(blobs):
    with blobs.writer(size=6) as writer:
        writer.write(b"hello")
        with pytest.raises(DigestMismatchError, match="5 bytes, 6 were promised"):
            writer.commit()


@pytest.mark.parametrize("bound", [{"size": 4}, {"limit": 4}, {"size": 9, "limit": 4}])
def test_too_long_is_refused_while_writing(blobs, bound):
    with blobs.writer(**bound) as writer:
        writer.write(b"hel")
        with pytest.raises(SizeLimitError, match="longer than the 4 bytes"):
            writer.write(b"lo")
        assert writer.written == 3


def test_read_verifies(blobs):
    blobs.put(b"hello")
    blobs.path(HELLO).write_bytes(b"hullo")
    with pytest.raises(InternalError, match="is damaged") as caught:
        blobs.read(HELLO)
    assert caught.value.fix


def test_read_is_bounded(blobs):
    blobs.put(b"hello")
    with pytest.raises(SizeLimitError):
        blobs.read(HELLO, limit=4)


def test_a_file_staged_elsewhere_becomes_the_blob(blobs, tmp_path):
    stage = tmp_path / "upload"
    stage.write_bytes(b"staged elsewhere")
    digest = Digest.of(b"staged elsewhere")
    blobs.adopt(stage, digest)
    assert not stage.exists()
    assert blobs.read(digest) == b"staged elsewhere"


def test_names_that_are_not_digests_are_passed_over(blobs, tmp_path):
    blobs.put(b"hello")
    (tmp_path / "blobs/sha256/readme").write_text("")
    (tmp_path / "blobs/sha256" / ("X" * 64)).write_text("")
    assert list(blobs.digests()) == [HELLO]


def test_synced_before_it_is_named_and_its_folder_after(blobs, monkeypatch):
    calls: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(fd):
        calls.append("fsync " + ("folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file"))
        real_fsync(fd)

    def rename(old, new):
        calls.append("rename")
        real_rename(old, new)

    blobs.put(b"warm up")
    monkeypatch.setattr(module.os, "fsync", fsync)
    monkeypatch.setattr(module.os, "rename", rename)
    blobs.put(b"hello")
    assert calls == ["fsync file", "rename", "fsync folder"]


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "no space left"), (errno.EIO, "cannot write")]
)
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_disk_faults_are_sentences_and_leave_nothing(blobs, monkeypatch, call, number, message):
    blobs.put(b"warm up")
    before = list(blobs.digests())

    def fail(*_):
        raise OSError(number, os.strerror(number))

    def write_it():
        with blobs.writer() as writer:
            writer.write(b"hello")
            writer.commit()

    with monkeypatch.context() as patch:
        patch.setattr(module.os, call, fail)
        with pytest.raises(EnvironmentFault, match=message) as caught:
            write_it()
    assert caught.value.fix
    assert list(blobs.stages()) == []
    assert list(blobs.digests()) == before
    assert blobs.put(b"hello") == HELLO


@pytest.mark.root
def test_a_full_disk_for_real(tmp_path):
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"none", os.fsencode(tmp_path), b"tmpfs", 0, b"size=1m") == 0
    try:
        blobs = BlobStore(tmp_path)
        with pytest.raises(EnvironmentFault, match="no space left on device"):
            blobs.put(bytes(2 << 20))
        assert list(blobs.stages()) == []
        assert blobs.put(b"hello") == HELLO
    finally:
        libc.umount2(os.fsencode(tmp_path), 2)


def test_threads_that_write_the_same(blobs):
    barrier = threading.Barrier(8)
    results: list[Digest] = []

    def work():
        barrier.wait()
        with blobs.writer() as writer:
            for _ in range(50):
                writer.write(b"x" * 1000)
            results.append(writer.commit())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) == {Digest.of(b"x" * 50_000)}
    assert len(results) == 8
    assert len(list(blobs.digests())) == 1
    assert list(blobs.stages()) == []


def _write_slowly(root, ready):
    with BlobStore(root).writer() as writer:
        writer.write(b"half")
        ready.set()
        time.sleep(60)


def test_killed_in_the_middle(blobs, tmp_path, monkeypatch):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    child = context.Process(target=_write_slowly, args=(tmp_path, ready))
    child.start()
    assert ready.wait(60)
    monkeypatch.setattr(module, "STAGE_GRACE", -1.0)
    monkeypatch.setattr(module, "DEAD_GRACE", -1.0)
    assert [dead for _, dead in blobs.stages()] == [False]
    assert blobs.sweep_stages() == 0
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert [dead for _, dead in blobs.stages()] == [True]
    assert list(blobs.digests()) == []
    assert blobs.sweep_stages() == 4
    assert list(blobs.stages()) == []


def test_a_stage_just_made_is_not_a_leftover(blobs, tmp_path):
    """Between its creation and its lock nobody may take it away."""
    blobs.put(b"hello")
    (tmp_path / "blobs/.staging/1-abc").write_text("")
    assert [dead for _, dead in blobs.stages()] == [False]


class TestRenewal:
    """``has``, ``put`` and ``commit`` say: I rely on this from now on."""

    def fresh(self, blobs):
        return time.time() - blobs.path(HELLO).stat().st_mtime < 100

    @pytest.mark.parametrize("how", ["has", "put", "commit"])
    def test_old_blobs_are_renewed(self, blobs, how):
        blobs.put(b"hello")
        age(blobs.path(HELLO))
        if how == "has":
            assert blobs.has(HELLO)
        elif how == "put":
            blobs.put(b"hello")
        else:
            with blobs.writer() as writer:
                writer.write(b"hello")
                writer.commit()
        assert self.fresh(blobs)

    def test_size_and_read_renew_nothing(self, blobs):
        blobs.put(b"hello")
        age(blobs.path(HELLO))
        blobs.size(HELLO)
        blobs.read(HELLO)
        assert not self.fresh(blobs)

    def test_delete_spares_what_was_renewed(self, blobs):
        blobs.put(b"hello")
        now = time.time()
        assert blobs.delete(HELLO, unless_younger_than=now - 10) == 0
        age(blobs.path(HELLO))
        assert blobs.delete(HELLO, unless_younger_than=now - 10) == 5
        assert not blobs.has(HELLO)

    def test_deleting_waits_for_whoever_renews(self, blobs, tmp_path):
        from images.locks import flock

        blobs.put(b"hello")
        done = threading.Event()

        def delete():
            blobs.delete(HELLO)
            done.set()

        with flock(tmp_path / "blobs/.lock", exclusive=False):
            thread = threading.Thread(target=delete)
            thread.start()
            assert not done.wait(0.1)
            assert blobs.size(HELLO) == 5
        thread.join()
        assert blobs.size(HELLO) is None


def test_the_disk_begins_with_a_large_blob_before_it_is_whole(tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr(
        "images.syscalls.sync_file_range", lambda fd, offset, length, flags: sent.append(length)
    )
    with BlobStore(tmp_path).writer() as writer:
        for _ in range(5):
            writer.write(bytes(WRITE_BEHIND // 2))
        assert sent == [WRITE_BEHIND, WRITE_BEHIND]
        digest = writer.commit()
    assert BlobStore(tmp_path).size(digest) == 5 * WRITE_BEHIND // 2
