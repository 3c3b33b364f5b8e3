"""Files and directories for other programs: they appear whole, and where the user said.

A file is written beside its place and renamed over it (rename(2)), so that a link at the place is
replaced and not written through. A new directory is filled beside its place likewise. Into one
that exists, a finished tree is moved name by name; every step is taken through descriptors and no
symbolic link is followed (openat(2), O_NOFOLLOW), so what somebody else puts there meanwhile leads
nowhere.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, Final

from images.errors import EnvironmentFault, InputError
from images.trees import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY: Final = 1 << 30


class OccupiedError(InputError):
    """Something of another kind is where a result should go; ``where`` names it."""

    code = "place-occupied"


@contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """A file that is at ``path`` when the block ends well; pipes and devices are written to.

    Raises:
        OccupiedError: a directory is there.
        EnvironmentFault: no space, no permission.
    """
    with _faults(path):
        parent = os.path.dirname(path) or "."
        os.makedirs(parent, exist_ok=True)
        if os.path.isdir(path):
            raise OccupiedError("is a directory", where=path, fix="name a file")
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "wb") as file:
                yield file
            return
        stage = _beside(path)
        try:
            with os.fdopen(os.open(stage, _CREATE, 0o666), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.rename(stage, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(stage)


@contextmanager
def whole_directory(path: str, *, delete: bool = False) -> Iterator[str]:
    """A directory to fill, whose content is at ``path`` when the block ends well.

    What a directory at ``path`` holds stays, but for names that the new content has; with
    ``delete`` everything else in it goes.

    Raises:
        OccupiedError: something there is in the way; nothing was changed.
        EnvironmentFault: no space, no permission.
    """
    path = os.path.normpath(path)
    with _faults(path):
        if os.path.exists(path) and not os.path.isdir(path):
            raise OccupiedError("is not a directory", where=path)
        merges = os.path.isdir(path)
        os.makedirs(path if merges else os.path.dirname(path) or ".", exist_ok=True)
        stage = os.path.join(path, _hidden("stage")) if merges else _beside(path)
        os.mkdir(stage, 0o700)
        try:
            yield stage
            if merges:
                _settle(stage, path, delete=delete)
            else:
                os.chmod(stage, 0o777 & ~_umask())
                os.rename(stage, path)
        finally:
            with suppress(FileNotFoundError):
                remove_tree(stage)


def check_file(path: str) -> None:
    """See beforehand that ``whole_file`` could write; nothing is written.

    Raises:
        OccupiedError: a directory is there.
        EnvironmentFault: no permission, or a file where a folder would have to be.
    """
    if os.path.isdir(path):
        raise OccupiedError("is a directory", where=path, fix="name a file")
    special = os.path.exists(path) and not os.path.isfile(path)
    _check_writable(path if special else os.path.dirname(path) or ".")


def check_directory(path: str) -> None:
    """See beforehand that ``whole_directory`` could be filled; nothing is made.

    Raises:
        OccupiedError: something else is there.
        EnvironmentFault: no permission, or a file where a folder would have to be.
    """
    if os.path.exists(path) and not os.path.isdir(path):
        raise OccupiedError("is not a directory", where=path)
    _check_writable(os.path.normpath(path))


def _check_writable(path: str) -> None:
    """Ask about the nearest thing that is there: what is missing can be made in a folder."""
    while not os.path.lexists(path):
        path = os.path.dirname(path) or "."
    missing = "is not a directory" if not os.path.isdir(path) else ""
    needed = os.W_OK | os.X_OK
    if os.path.exists(path) and not os.path.isdir(path) and not os.path.isfile(path):
        missing, needed = "", os.W_OK
    if missing or not os.access(path, needed, effective_ids=True):
        raise EnvironmentFault(
            f"cannot be written: {missing or 'permission denied, or a read-only file system'}",
            where=path,
            fix="check the folder and its permissions",
        )


def copy_file(source: str, target: str) -> None:
    """A file's bytes to a new file, without passing through this process where the disk can.

    Raises:
        OSError: ``target`` exists, or one of them cannot be used.
    """
    with (
        open(source, "rb", buffering=0) as old,
        os.fdopen(os.open(target, _CREATE, 0o666), "wb", buffering=0) as new,
    ):
        with suppress(OSError):
            while os.copy_file_range(old.fileno(), new.fileno(), _COPY):
                pass
        # Where the call is not to be had, or gave up, the rest is sent.
        old.seek(new.tell())
        while os.sendfile(new.fileno(), old.fileno(), None, _COPY):
            pass


def _settle(stage: str, path: str, *, delete: bool) -> None:
    own = os.path.basename(stage)
    source, target = os.open(stage, _DIRECTORY), os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _check(source, target, path)
        _move(source, target, keep=frozenset({own}), delete=delete)
    finally:
        os.close(source)
        os.close(target)


def _check(source: int, target: int, path: str) -> None:
    """See that nothing is in the way, before anything is changed."""
    for name in os.listdir(source):
        old = _status(name, target)
        if old is None:
            continue
        new, where = os.lstat(name, dir_fd=source), os.path.join(path, name)
        if not stat.S_ISDIR(new.st_mode):
            if stat.S_ISDIR(old.st_mode):
                raise OccupiedError("is a directory", where=where, fix="move it away")
        elif stat.S_ISLNK(old.st_mode):
            raise OccupiedError(
                "is a symbolic link where the result has a directory",
                where=where,
                fix="remove the link: nothing is written through links",
            )
        elif not stat.S_ISDIR(old.st_mode):
            raise OccupiedError("is not a directory", where=where, fix="move it away")
        else:
            with _below(name, source) as inner, _below(name, target) as other:
                _check(inner, other, where)


def _move(source: int, target: int, *, keep: frozenset[str], delete: bool) -> None:
    found = [(name, os.lstat(name, dir_fd=source)) for name in sorted(os.listdir(source))]
    # Directories first: a file such as an index may speak of what is in them.
    found.sort(key=lambda item: not stat.S_ISDIR(item[1].st_mode))
    for name, new in found:
        old = _status(name, target)
        if old is None or not stat.S_ISDIR(new.st_mode):
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
            continue
        with _below(name, source) as inner, _below(name, target) as other:
            _move(inner, other, keep=frozenset(), delete=delete)
            os.fchmod(other, stat.S_IMODE(new.st_mode))
            os.utime(other, ns=(new.st_mtime_ns, new.st_mtime_ns))
    if delete:
        for name in set(os.listdir(target)) - keep - {name for name, _ in found}:
            _discard(name, target)


def _discard(name: str, directory: int) -> None:
    status = _status(name, directory)
    if status is not None and stat.S_ISDIR(status.st_mode):
        remove_tree(name, dir_fd=directory)
    else:
        os.unlink(name, dir_fd=directory)


def _status(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return None


@contextmanager
def _below(name: str, directory: int) -> Iterator[int]:
    fd = os.open(name, _DIRECTORY, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)


def _beside(path: str) -> str:
    return os.path.join(os.path.dirname(path), _hidden(os.path.basename(path)))


def _hidden(name: str) -> str:
    return f".{name[:100]}.{secrets.token_hex(4)}"


def _umask() -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        line = next(line for line in file if line.startswith("Umask:"))
    return int(line.split()[1], 8)


@contextmanager
def _faults(path: str) -> Iterator[None]:
    """Turn what the disk says into a sentence."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise EnvironmentFault(
            "no space left on device" if full else f"cannot be written: {error.strerror}",
            where=os.fsdecode(error.filename or path),
            fix="free some space" if full else "check the folder and its permissions",
        ) from error
