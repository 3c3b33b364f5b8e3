"""Entering network namespaces and writing what is set through procfs inside them. setns(2),
proc(5).

Only for single-threaded helpers such as a container's shim: the calling thread changes its
namespace and comes back.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from runtime import syscalls
from runtime.network.errors import NetworkFault

_CLONE_NEWNET = 0x40000000
_OWN_NAMESPACE = "/proc/thread-self/ns/net"


def open_namespace(pid: int) -> int:
    """A descriptor of the network namespace of a process; the caller closes it.

    Raises:
        NetworkFault: there is no such process, or it may not be looked at.
    """
    try:
        return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NetworkFault(
            f"cannot open the network namespace: {error.strerror}",
            where=f"process {pid}",
            errno=error.errno,
        ) from error


def own_namespace_id() -> int:
    """The inode number that identifies the caller's network namespace while it lives."""
    return os.stat(_OWN_NAMESPACE).st_ino


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Run the body in the network namespace of this descriptor, and come back whatever happens.

    Raises:
        NetworkFault: setns was refused.
    """
    own = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(namespace)
        try:
            yield
        finally:
            _setns(own)
    finally:
        os.close(own)


def write_setting(name: str, value: str) -> None:
    """Write a network sysctl (``ipv4/ip_forward``) of the namespace the caller is in.

    Raises:
        NetworkFault: the kernel lacks it or refused.
    """
    path = f"/proc/sys/net/{name}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise NetworkFault(
            f"cannot write {value}: {error.strerror}",
            where=path,
            fix="mount /proc/sys writable or set it beforehand"
            if error.errno == errno.EROFS
            else None,
            errno=error.errno,
        ) from error


def read_setting(name: str) -> str | None:
    """Read a network sysctl of the caller's namespace; None if the kernel lacks it."""
    try:
        with open(f"/proc/sys/net/{name}", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def ensure_setting(name: str, value: str) -> None:
    """Write a network sysctl unless it has this value or the kernel lacks it (IPv6 switched off).

    Raises:
        NetworkFault: the kernel refused.
    """
    if read_setting(name) not in (None, value):
        write_setting(name, value)


def _setns(descriptor: int) -> None:
    try:
        syscalls.setns(descriptor, _CLONE_NEWNET)
    except OSError as error:
        raise NetworkFault(
            f"cannot enter the network namespace: {error.strerror}", errno=error.errno
        ) from error
