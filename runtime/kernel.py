"""The Protocol between the sandbox and the kernel; ``runtime.syscalls`` is the real one.

Names and meanings are those of the man pages. Everything the sandbox does to the machine goes
through here, so a recorder in its place tells the order of mounts and privileges without root.
"""

from __future__ import annotations

import os
from typing import Protocol


class Kernel(Protocol):
    """Kernel calls; each raises ``OSError`` when refused."""

    def unshare(self, flags: int) -> None:
        """Leave namespaces."""

    def setns(self, fd: int, nstype: int) -> None:
        """Join the namespace that ``fd`` refers to."""

    def mount(
        self, source: str | None, target: str, fstype: str | None, flags: int, data: str | None
    ) -> None:
        """The classic mount call."""

    def umount2(self, target: str, flags: int) -> None:
        """Detach a mount."""

    def pivot_root(self, new_root: str, put_old: str) -> None:
        """Make ``new_root`` the root of this mount namespace."""

    def fsopen(self, fstype: str) -> int:
        """Begin a file system instance."""

    def fsconfig_string(self, fd: int, key: str, value: str) -> None:
        """Set one parameter of it."""

    def fsconfig_flag(self, fd: int, key: str) -> None:
        """Set one parameter without a value."""

    def fsconfig_create(self, fd: int) -> None:
        """Create the superblock."""

    def fsmount(self, fd: int, attributes: int) -> int:
        """The instance as a detached mount."""

    def open_tree(self, dirfd: int, path: str, flags: int) -> int:
        """Pick up, or clone, a mount."""

    def move_mount(self, from_fd: int, to_fd: int) -> None:
        """Attach a detached mount."""

    def mount_setattr(
        self,
        fd: int,
        *,
        attr_set: int,
        attr_clr: int = 0,
        propagation: int = 0,
        recursive: bool = False,
    ) -> None:
        """Change the attributes of a mount."""

    def openat2(self, dirfd: int, path: str, flags: int, *, mode: int = 0, resolve: int) -> int:
        """Open with restricted resolution."""

    def fd_path(self, fd: int) -> str:
        """Where an open file lies in this mount namespace."""

    def fstatfs_type(self, fd: int) -> int:
        """The magic number of the file system."""

    def fstat(self, fd: int) -> os.stat_result:
        """Status of an open file."""

    def mkdirat(self, dirfd: int, name: str, mode: int) -> None:
        """Make a directory."""

    def mknodat(self, dirfd: int, name: str, mode: int, device: int) -> None:
        """Make a file of any type."""

    def symlinkat(self, target: str, dirfd: int, name: str) -> None:
        """Make a symbolic link."""

    def fchown(self, fd: int, uid: int, gid: int) -> None:
        """Change ownership."""

    def fchmod(self, fd: int, mode: int) -> None:
        """Change the mode."""

    def read(self, fd: int, length: int) -> bytes:
        """Read."""

    def write(self, fd: int, data: bytes) -> int:
        """Write."""

    def close(self, fd: int) -> None:
        """Close."""

    def fchdir(self, fd: int) -> None:
        """Change the working directory."""

    def chroot(self, path: str) -> None:
        """Change the root directory."""

    def sethostname(self, name: str) -> None:
        """Name this UTS namespace."""

    def setdomainname(self, name: str) -> None:
        """Name the NIS domain of this UTS namespace."""
