"""A kernel that does nothing and remembers everything; descriptors have names that tell."""

from __future__ import annotations

import os
import stat
from typing import Any

from runtime import constants as k


class Recorder:
    """Stands in for ``runtime.syscalls``: every call is a line of ``calls``.

    ``missing`` paths answer ENOENT, ``kinds`` gives the file type of a path (a directory if
    unnamed), ``magic`` the file system type of a path, ``refuse`` the errno of a parameter.
    """

    def __init__(
        self,
        *,
        missing: tuple[str, ...] = (),
        kinds: dict[str, int] | None = None,
        magic: dict[str, int] | None = None,
        refuse: dict[str, int] | None = None,
    ) -> None:
        self.calls: list[str] = []
        self._names: dict[int, str] = {k.AT_FDCWD: "host"}
        self._missing = set(missing)
        self._kinds = kinds or {}
        self._magic = magic or {}
        self._refuse = refuse or {}
        self._next = 100

    def name(self, fd: int) -> str:
        """What ``fd`` is."""
        return self._names.get(fd, str(fd))

    def open_descriptors(self) -> set[str]:
        """Names of what has not been closed."""
        return {name for fd, name in self._names.items() if fd >= 0}

    def _new(self, name: str) -> int:
        self._next += 1
        self._names[self._next] = name
        return self._next

    def _say(self, text: str) -> None:
        self.calls.append(text)

    def unshare(self, flags: int) -> None:
        self._say(f"unshare {flags:#x}")

    def setns(self, fd: int, nstype: int) -> None:
        self._say(f"setns {self.name(fd)} {nstype:#x}")

    def mount(
        self, source: str | None, target: str, fstype: str | None, flags: int, data: str | None
    ) -> None:
        self._say(f"mount {source} {target} {fstype} {flags:#x} {data}")

    def umount2(self, target: str, flags: int) -> None:
        self._say(f"umount2 {target} {flags}")

    def pivot_root(self, new_root: str, put_old: str) -> None:
        self._say(f"pivot_root {new_root} {put_old}")

    def fsopen(self, fstype: str) -> int:
        return self._new(fstype)

    def fsconfig_string(self, fd: int, key: str, value: str) -> None:
        if key in self._refuse:
            raise OSError(self._refuse[key], os.strerror(self._refuse[key]), key)
        if value.startswith("/proc/self/fd/"):
            value = self.name(int(value.rpartition("/")[2]))
        self._say(f"fsconfig {self.name(fd)} {key}={value}")

    def fsconfig_flag(self, fd: int, key: str) -> None:
        self._say(f"fsconfig {self.name(fd)} {key}")

    def fsconfig_create(self, fd: int) -> None:
        self._say(f"create {self.name(fd)}")

    def fsmount(self, fd: int, attributes: int) -> int:
        self._say(f"fsmount {self.name(fd)} {attributes:#x}")
        return self._new(f"<{self.name(fd)}>")

    def open_tree(self, dirfd: int, path: str, flags: int) -> int:
        source = path or self.name(dirfd)
        if source in self._missing:
            raise FileNotFoundError(2, "No such file or directory", source)
        recursive = " recursive" if flags & k.AT_RECURSIVE else ""
        self._say(f"clone {source}{recursive}")
        return self._new(source)

    def move_mount(self, from_fd: int, to_fd: int) -> None:
        self._say(f"move {self.name(from_fd)} to {self.name(to_fd)}")

    def mount_setattr(
        self,
        fd: int,
        *,
        attr_set: int,
        attr_clr: int = 0,
        propagation: int = 0,
        recursive: bool = False,
    ) -> None:
        words = [f"setattr {self.name(fd)}"]
        words += [f"+{attr_set:#x}"] if attr_set else []
        words += [f"-{attr_clr:#x}"] if attr_clr else []
        words += [f"propagation {propagation:#x}"] if propagation else []
        self._say(" ".join(words + ["recursive"] * recursive))

    def openat2(self, dirfd: int, path: str, flags: int, *, mode: int = 0, resolve: int) -> int:
        name = path if dirfd == k.AT_FDCWD else f"{self.name(dirfd)}:{path.lstrip('/')}"
        if name in self._missing:
            raise FileNotFoundError(2, "No such file or directory", path)
        if dirfd != k.AT_FDCWD:
            assert resolve & (k.RESOLVE_IN_ROOT | k.RESOLVE_BENEATH), f"{path} opened without walls"
        return self._new(name)

    def fd_path(self, fd: int) -> str:
        return self.name(fd)

    def fstatfs_type(self, fd: int) -> int:
        return self._magic.get(self.name(fd), k.TMPFS_MAGIC)

    def fstat(self, fd: int) -> os.stat_result:
        name = self.name(fd)
        kind = self._kinds.get(name, stat.S_IFDIR)
        device = os.makedev(1, 3) if kind == stat.S_IFCHR else 0
        fields: list[Any] = [kind | 0o755, hash(name), 1, 1, 0, 0, 0, 0, 0, 0]
        return os.stat_result(fields, {"st_rdev": device})

    def mkdirat(self, dirfd: int, name: str, mode: int) -> None:
        self._say(f"mkdir {self.name(dirfd)} {name}")
        self._missing = {path for path in self._missing if not path.endswith(name)}

    def mknodat(self, dirfd: int, name: str, mode: int, device: int) -> None:
        self._say(f"mknod {self.name(dirfd)} {name} {mode:o} {os.major(device)}:{os.minor(device)}")

    def symlinkat(self, target: str, dirfd: int, name: str) -> None:
        self._say(f"symlink {self.name(dirfd)} {name} -> {target}")

    def fchown(self, fd: int, uid: int, gid: int) -> None:
        self._say(f"chown {self.name(fd)} {uid}:{gid}")

    def fchmod(self, fd: int, mode: int) -> None:
        self._say(f"chmod {self.name(fd)} {mode:o}")

    def read(self, fd: int, length: int) -> bytes:
        return b""

    def write(self, fd: int, data: bytes) -> int:
        self._say(f"write {self.name(fd)} {data.decode()}")
        return len(data)

    def close(self, fd: int) -> None:
        del self._names[fd]

    def fchdir(self, fd: int) -> None:
        self._say(f"chdir {self.name(fd)}")

    def sethostname(self, name: str) -> None:
        self._say(f"sethostname {name}")

    def setdomainname(self, name: str) -> None:
        self._say(f"setdomainname {name}")
