"""Paths inside a container's root, resolved with ``RESOLVE_IN_ROOT`` into descriptors.

Nothing here joins strings to a host path. A symbolic link in the image can lead anywhere inside the
root and nowhere else; magic links (``/proc/self/fd/N``) are refused. openat2(2); CVE-2021-30465,
CVE-2024-21626, CVE-2024-9676.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from runtime import constants as k
from runtime.errors import RuntimeFault
from runtime.kernel import Kernel

IN_ROOT: Final = k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS
NO_LINKS: Final = k.RESOLVE_IN_ROOT | k.RESOLVE_NO_SYMLINKS
_MAX_DEPTH: Final = 512


@contextmanager
def opened(kernel: Kernel, fd: int) -> Iterator[int]:
    """Close ``fd`` at the end of the block."""
    try:
        yield fd
    finally:
        kernel.close(fd)


def open_in_root(
    kernel: Kernel, root: int, path: str, flags: int = os.O_PATH, *, resolve: int = IN_ROOT
) -> int:
    """Open ``path`` as the container would see it."""
    return kernel.openat2(root, path, flags, resolve=resolve)


def ensure_directory(
    kernel: Kernel,
    root: int,
    path: str,
    *,
    created: list[str] | None = None,
    mode: int = 0o755,
    resolve: int = IN_ROOT,
) -> int:
    """An O_PATH descriptor of the directory ``path``; what is missing is made, one name at a time.

    Each made directory's path is appended to ``created``, parents first.

    Raises:
        RuntimeFault: ``mount-refused``; a component is no directory, or a link that leads nowhere.
        OSError: the file system refuses.
    """
    flags = os.O_PATH | os.O_DIRECTORY
    try:
        return open_in_root(kernel, root, path, flags, resolve=resolve)
    except FileNotFoundError:
        names = [name for name in path.split("/") if name not in ("", ".")]
    except OSError as error:
        raise _refused(error, path) from error
    if len(names) > _MAX_DEPTH or ".." in names:
        raise RuntimeFault(f"{path!r} is not a usable path", code="request-invalid")
    parent = open_in_root(kernel, root, "/", flags)
    for depth in range(1, len(names) + 1):
        prefix = "/".join(names[:depth])
        try:
            child = _child_directory(kernel, root, parent, prefix, mode, created, resolve)
        except OSError as error:
            raise _refused(error, prefix) from error
        finally:
            kernel.close(parent)
        parent = child
    return parent


def _child_directory(
    kernel: Kernel,
    root: int,
    parent: int,
    prefix: str,
    mode: int,
    created: list[str] | None,
    resolve: int,
) -> int:
    flags = os.O_PATH | os.O_DIRECTORY
    try:
        return open_in_root(kernel, root, prefix, flags, resolve=resolve)
    except FileNotFoundError:
        name = posixpath.basename(prefix)
        kernel.mkdirat(parent, name, mode)
        if created is not None:
            created.append(f"{kernel.fd_path(parent)}/{name}")
        return kernel.openat2(
            parent, name, flags | os.O_NOFOLLOW, resolve=k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS
        )


def ensure_file(kernel: Kernel, root: int, path: str, *, created: list[str] | None = None) -> int:
    """An O_PATH descriptor of ``path``; a missing one is made as an empty regular file.

    Raises:
        RuntimeFault: ``mount-refused``; a parent is no directory, or a link leads nowhere.
    """
    try:
        return open_in_root(kernel, root, path)
    except FileNotFoundError:
        folder, name = posixpath.split(path.rstrip("/"))
    except OSError as error:
        raise _refused(error, path) from error
    with opened(kernel, ensure_directory(kernel, root, folder or "/", created=created)) as parent:
        try:
            kernel.mknodat(parent, name, stat.S_IFREG | 0o644, 0)
            if created is not None:
                created.append(f"{kernel.fd_path(parent)}/{name}")
            return kernel.openat2(
                parent,
                name,
                os.O_PATH | os.O_NOFOLLOW,
                resolve=k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS,
            )
        except OSError as error:
            raise _refused(error, path) from error


def read_regular(kernel: Kernel, root: int, path: str, *, limit: int) -> bytes | None:
    """The content of a regular file, None if there is none.

    The file is looked at before it is opened for reading, so that a FIFO or a device in its place
    neither blocks nor acts.

    Raises:
        RuntimeFault: it is not a regular file, or longer than ``limit``.
    """
    try:
        handle = open_in_root(kernel, root, path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with opened(kernel, handle):
        status = kernel.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise RuntimeFault(f"{path} in the image is not a regular file")
        if status.st_size > limit:
            raise RuntimeFault(f"{path} in the image is larger than {limit} bytes")
    with opened(
        kernel, open_in_root(kernel, root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    ) as handle:
        if not stat.S_ISREG(kernel.fstat(handle).st_mode):
            raise RuntimeFault(f"{path} in the image is not a regular file")
        parts = []
        while limit > 0 and (part := kernel.read(handle, min(limit, 1 << 16))):
            parts.append(part)
            limit -= len(part)
        return b"".join(parts)


def _refused(error: OSError, path: str) -> RuntimeFault:
    reasons = {
        errno.EEXIST: "a symbolic link that leads nowhere is in the way",
        errno.ELOOP: "a symbolic link is in the way",
        errno.ENOTDIR: "a file is in the way",
    }
    reason = reasons.get(error.errno or 0, (error.strerror or "refused").lower())
    return RuntimeFault(
        f"cannot use {path} in the container: {reason}", code="mount-refused", errno=error.errno
    )
