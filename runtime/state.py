"""A container's directory below the run-time directory, and the mount-point stubs that go with it.

``containers/<id>/`` holds ``lock`` (held by the shim while the container lives), the mount point
``rootfs``, ``scratch``, the three files that are bound into /etc, and ``remains``. Whoever finds
the lock free finds the remains of a dead shim and may clear them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from typing import Final

from records import Record, replace
from runtime import constants as k
from runtime import syscalls
from runtime.errors import RuntimeFault
from runtime.request import Rootfs
from runtime.rooted import opened

_ETC_FILES: Final = ("hosts", "hostname", "resolv.conf")
CLAIM_ATTEMPTS: Final = 10
CLAIM_SECONDS: Final = 0.02
"""Between two attempts: whoever is in the way may be a sweep."""


class StateDirectory(Record):
    """An owned directory; ``lock`` is the descriptor that says so."""

    path: str
    lock: int

    slots: tuple[int, ...] = ()

    def remove(self) -> None:
        """Delete the directory, then let go of the lock."""
        folders = [f"scratch/{slot}" for slot in self.slots]
        _remove(
            self.path,
            files=(*_ETC_FILES, "remains", "lock"),
            folders=(*folders, *(("scratch",) if folders else ()), "rootfs"),
        )
        os.close(self.lock)

    def emptied(self) -> StateDirectory:
        """The same directory without what one container had in it, under a name of its own."""
        for slot in self.slots:
            with suppress(FileNotFoundError):
                os.rmdir(f"{self.path}/scratch/{slot}")
        return StateDirectory(self.path, self.lock).renamed(spare_name(), ())

    def forget_etc_files(self) -> None:
        """Remove the files that a container could change the mode and attributes of."""
        for name in _ETC_FILES:
            with suppress(FileNotFoundError):
                os.unlink(f"{self.path}/{name}")

    def renamed(self, identifier: str, slots: Sequence[int]) -> StateDirectory:
        """The same directory under the name of a container, with its scratch directories.

        Raises:
            FileExistsError: there is one of that name; see ``clear`` of ``runtime.remains``.
        """
        path = f"{os.path.dirname(self.path)}/{identifier}"
        try:
            os.rename(self.path, path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from error
        for slot in slots:
            _make_folder(f"{path}/scratch/{slot}")
        return StateDirectory(path, self.lock, tuple(slots))


def spare_name() -> str:
    """A name for the state directory and control groups of a container that is yet to come."""
    return f"spare-{os.urandom(8).hex()}"


def busy(identifier: str) -> RuntimeFault:
    """The refusal of an id that a live container has."""
    return RuntimeFault(
        f"a container with the id {identifier} is running", fix="choose another id", code="busy"
    )


def claim(runtime_dir: str, identifier: str, slots: Sequence[int]) -> StateDirectory:
    """Make ``containers/<identifier>`` ours, with the scratch directories numbered ``slots``.

    Raises:
        RuntimeFault: ``busy``; a live container has this id.
    """
    path = f"{runtime_dir}/containers/{identifier}"
    for _ in range(CLAIM_ATTEMPTS):
        if (lock := _lock(path)) is not None:
            break
        # A sweep may have come between making the lock and taking it.
        time.sleep(CLAIM_SECONDS)
    else:
        raise busy(identifier)
    for name in ("rootfs", *(f"scratch/{slot}" for slot in slots)):
        _make_folder(f"{path}/{name}")
    return StateDirectory(path, lock, tuple(slots))


def _lock(path: str) -> int | None:
    """The lock of a state directory, made if need be; None if another has it or has removed it."""
    _make_folder(path)
    with suppress(FileNotFoundError):
        lock = os.open(f"{path}/lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink:
                return lock
        os.close(lock)
    return None


def _make_folder(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_folder(os.path.dirname(path))
        _make_folder(path)


def _remove(top: str, *, files: Iterable[str], folders: Iterable[str]) -> None:
    """Remove what we made by name, cheaper than looking for it; then whatever is left."""
    try:
        for name in files:
            with suppress(FileNotFoundError):
                os.unlink(f"{top}/{name}")
        for name in folders:
            os.rmdir(f"{top}/{name}")
        os.rmdir(top)
    except OSError:
        remove_tree(top)


def remove_tree(path: str) -> None:
    """Delete a directory with everything in it, as far as that is possible."""
    # Imported here because shutil brings every compressor along, and each fork would copy them.
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def write_file(path: str, text: str) -> None:
    """Write in place, so that a bind mount of the file sees the change.

    The end is cut off afterwards: what is emptied first has its blocks freed, and ext4 then writes
    it out when it is closed, which costs milliseconds.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        content = text.encode()
        os.write(handle, content)
        os.ftruncate(handle, len(content))
    finally:
        os.close(handle)


_USUAL_FOLDERS: Final = ("dev", "etc", "proc", "sys")
_USUAL_FILES: Final = {
    "usual": ("etc/hostname", "etc/hosts", "etc/resolv.conf"),
    "steps": ("etc/hosts", "etc/resolv.conf"),
}
"""Of containers, and of the commands of builds, which leave /etc/hostname to the image."""


def _usual(points: Set[tuple[str, bool]]) -> str | None:
    """The name of the shared mount points that are just these."""
    folders = {(name, True) for name in _USUAL_FOLDERS if name != "etc"}
    for name, files in _USUAL_FILES.items():
        if points == folders | {(file, False) for file in files}:
            return name
    return None


class Stubs(Record):
    """A directory that holds the mount points, for the bottom of an overlay.

    Mount points that the image lacks come from there and never appear in ``upper``. It lies beside
    ``work``: on another file system overlayfs would give files and folders different device
    numbers.
    """

    path: str
    files: tuple[str, ...]
    folders: tuple[str, ...]
    """Parents first."""
    kept: bool = False
    """Shared by containers and never removed: it is only ever read."""

    @classmethod
    def shared(cls, folder: str, name: str) -> Stubs:
        """The usual ones of this name, below ``folder``; made if they are missing."""
        stubs = cls(f"{folder}/{name}", _USUAL_FILES[name], _USUAL_FOLDERS, kept=True)
        if not os.path.isdir(stubs.path):
            os.makedirs(folder, mode=0o711, exist_ok=True)
            fresh = replace(stubs, path=f"{folder}/new-{os.urandom(8).hex()}")
            fresh._create()
            try:
                os.rename(fresh.path, stubs.path)
            except OSError:
                # Another one was quicker.
                remove_tree(fresh.path)
        return stubs

    @staticmethod
    def place(rootfs: Rootfs, identifier: str) -> str | None:
        """Where it is made; None for a root that is no overlay."""
        if not rootfs.lower:
            return None
        return f"{os.path.dirname(rootfs.work or rootfs.lower[-1])}/.stubs-{identifier}"

    @classmethod
    def make(
        cls, rootfs: Rootfs, identifier: str, points: Iterable[tuple[str, bool]]
    ) -> Stubs | None:
        """Make it for ``points``, (path, is a directory); None for a root that is no overlay."""
        place = cls.place(rootfs, identifier)
        if place is None:
            return None
        points = set(points)
        usual = None if rootfs.stubs is None else _usual(points)
        if rootfs.stubs is not None and usual is not None:
            stubs = cls.shared(rootfs.stubs, usual)
            if os.stat(stubs.path).st_dev == os.stat(os.path.dirname(place)).st_dev:
                return stubs
        folders: dict[str, None] = {}
        files = []
        for name, is_directory in sorted(points):
            parts = name.split("/")
            depth = len(parts) + 1 if is_directory else len(parts)
            folders.update(dict.fromkeys("/".join(parts[:end]) for end in range(1, depth)))
            if not is_directory:
                files.append(name)
        stubs = cls(
            place,
            tuple(name for name in files if name not in folders),
            tuple(folders),
        )
        stubs._create()
        return stubs

    def _create(self) -> None:
        try:
            os.mkdir(self.path, 0o755)
        except FileExistsError:
            remove_tree(self.path)
            os.mkdir(self.path, 0o755)
        for name in self.folders:
            os.mkdir(f"{self.path}/{name}", 0o755)
        for name in self.files:
            os.mknod(f"{self.path}/{name}", stat.S_IFREG | 0o644)

    def remove(self) -> None:
        """Delete it, unless others use it too."""
        if not self.kept:
            _remove(self.path, files=self.files, folders=reversed(self.folders))


def remove_created(root: str, created: Iterable[str]) -> None:
    """Take away mount points that had to be made in ``root`` (an upper directory or a plain root).

    Only what is still as we left it: an empty file, an empty directory. No link is followed.
    """
    resolve = k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS
    flags = os.O_PATH | os.O_DIRECTORY
    with opened(syscalls, os.open(root, flags | os.O_CLOEXEC)) as top:
        for path in reversed(list(created)):
            folder, _, name = path.rpartition("/")
            try:
                with opened(
                    syscalls, syscalls.openat2(top, folder or ".", flags, resolve=resolve)
                ) as parent:
                    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        os.rmdir(name, dir_fd=parent)
                    elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
                        os.unlink(name, dir_fd=parent)
            except OSError:
                # Filled, replaced or removed by the container: then it is no stub of ours any more.
                continue


def clear_volatile(work: str) -> None:
    """Remove the mark of a volatile mount, so that ``work`` can be used again."""
    mark = f"{work}/work/incompat"
    if os.path.isdir(mark):
        _remove(mark, files=("volatile/dirty",), folders=("volatile",))
