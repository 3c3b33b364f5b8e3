"""Directories made from sources elsewhere, kept between builds: each is made once and then read.

    <folder>/<name>/fs     the content, complete from the moment it is there
    <folder>/<name>/lock   shared by whoever reads, exclusive while it is made or removed; says what
                           the content is, and by its time when it was last used

A name stands for content (a commit, the digest of an archive), so nothing on the shelf goes stale.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from builder.errors import BuildCancelledError, BuildEnvironmentError

CONTENT, LOCK, STAGE = "fs", "lock", "stage-"
POLL_SECONDS: Final = 0.05
TREES, REPOSITORIES = "sources", "git"
"""Folders of the builder's state: what builds read, and what is fetched from."""


class Shelf:
    """One such folder; ``cancelled`` is asked while waiting for another process."""

    def __init__(self, folder: Path, cancelled: Callable[[], bool] = lambda: False) -> None:
        self._folder = folder
        self._cancelled = cancelled

    @contextmanager
    def item(self, key: str, title: str, fill: Callable[[Path], None]) -> Iterator[Path]:
        """The directory of ``key``, made by ``fill`` if it is not there; it stays for the block.

        ``title`` is how listings call it. ``fill`` gets an empty directory, which is thrown away if
        it raises.

        Raises:
            BuildEnvironmentError: the store is not writable.
            BuildCancelledError: cancelled while another process makes it.
        """
        root = self._root(key)
        lock = self._lock(root, title, fcntl.LOCK_SH)
        while not (root / CONTENT).is_dir():
            os.close(lock)
            with self.changing(key, title, fill):
                # Somebody else may remove it before it is locked for reading.
                pass
            lock = self._lock(root, title, fcntl.LOCK_SH)
        try:
            yield root / CONTENT
        finally:
            os.close(lock)

    @contextmanager
    def changing(self, key: str, title: str, fill: Callable[[Path], None]) -> Iterator[Path]:
        """As ``item``, for one process at a time that changes the directory."""
        root = self._root(key)
        lock = self._lock(root, title, fcntl.LOCK_EX)
        try:
            if not (root / CONTENT).is_dir():
                _filled(root, fill)
            yield root / CONTENT
        finally:
            os.close(lock)

    def _root(self, key: str) -> Path:
        return self._folder / hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()

    def _lock(self, root: Path, title: str, kind: int) -> int:
        while True:
            lock = _opened(root)
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
                # Whoever removes an item removes its lock too; then this one locks nothing.
                if _is_at(lock, root / LOCK):
                    os.pwrite(lock, title.encode("utf-8", "surrogateescape"), 0)
                    os.utime(lock)
                    return lock
            except BlockingIOError:
                if self._cancelled():
                    os.close(lock)
                    raise BuildCancelledError("the build was cancelled") from None
                time.sleep(POLL_SECONDS)
            os.close(lock)


def _opened(root: Path) -> int:
    """The lock file of an item, made if need be."""
    while True:
        try:
            root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                root.mkdir(mode=0o700)
            return os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            # Removed between the two.
            continue
        except OSError as error:
            raise BuildEnvironmentError(
                f"cannot use {root}: {error.strerror}", fix="check the permissions of the store"
            ) from error


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _filled(root: Path, fill: Callable[[Path], None]) -> None:
    """Make the content under another name, so that it is never seen half done."""
    for left in root.glob(f"{STAGE}*"):
        shutil.rmtree(left, ignore_errors=True)
    stage = root / f"{STAGE}{os.getpid()}-{time.monotonic_ns()}"
    try:
        stage.mkdir(mode=0o755)
        fill(stage)
        stage.rename(root / CONTENT)
    except OSError as error:
        shutil.rmtree(stage, ignore_errors=True)
        raise BuildEnvironmentError(
            f"cannot write {root}: {error.strerror}", fix="check the free space of the store"
        ) from error
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise


def remove_item(root: Path) -> bool:
    """Remove an item that nobody uses, and what killed builds left of it; False when somebody
    does.
    """
    try:
        lock = os.open(root / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Under another name first, so that nobody sees half of it; the lock goes last.
        for content in [path for path in root.iterdir() if path.name != LOCK]:
            gone = root / f"{STAGE}{os.getpid()}-{time.monotonic_ns()}"
            content.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        (root / LOCK).unlink()
        with suppress(OSError):
            root.rmdir()
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
