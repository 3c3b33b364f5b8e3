"""Operations that narrow a finished root: devices, masks, read-only paths, the console, the pivot.

Same rules as ``runtime.operations``: descriptors only, sources checked before they are trusted.
"""

from __future__ import annotations

import fcntl
import os
import posixpath
import stat
import struct

from records import Record
from runtime import constants as k
from runtime.config import Device
from runtime.errors import RuntimeFault
from runtime.operations import Stage, attach, clone, new_filesystem
from runtime.rooted import ensure_directory, open_in_root, opened

_NODE_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


class DeviceNodes(Record):
    """Device nodes and links on the fresh tmpfs at /dev; ``links`` are name and target."""

    devices: tuple[Device, ...]
    links: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        """The step in one line."""
        names = " ".join(posixpath.relpath(device.path, "/dev") for device in self.devices)
        return f"make devices {names} and links {' '.join(name for name, _ in self.links)}"

    def execute(self, stage: Stage) -> None:
        """Make every node relative to the tmpfs, where the image had no say."""
        kernel, dev = stage.kernel, stage.mounts["/dev"]
        for device in self.devices:
            folder, name = posixpath.split(posixpath.relpath(device.path, "/dev"))
            if folder == ".." or folder.startswith("../") or name in ("", ".", ".."):
                raise RuntimeFault(
                    f"device {device.path} does not lie below /dev", code="request-invalid"
                )
            parent = ensure_directory(kernel, dev, folder) if folder else dev
            mode = _NODE_TYPES[device.type] | device.file_mode
            try:
                kernel.mknodat(parent, name, mode, os.makedev(device.major, device.minor))
                if device.uid or device.gid:
                    resolve = k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS
                    with opened(
                        kernel, kernel.openat2(parent, name, os.O_PATH, resolve=resolve)
                    ) as node:
                        os.chown(f"/proc/self/fd/{node}", device.uid, device.gid)
            finally:
                if parent != dev:
                    kernel.close(parent)
        for name, target in self.links:
            kernel.symlinkat(target, dev, name)


class ControlGroups(Record):
    """The container's own control groups below /sys/fs/cgroup, as (name, host directory).

    On a unified host there is one entry with an empty name. Each is a bind of the container's own
    directory, so no ancestor and no release_agent is in reach (CVE-2022-0492).
    """

    destination: str
    groups: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...] = ()
    read_only: bool = True

    def describe(self) -> str:
        """The step in one line."""
        names = ",".join(name or "unified" for name, _ in self.groups)
        return f"control groups {names} on {self.destination}"

    def execute(self, stage: Stage) -> None:
        """Bind one directory per hierarchy."""
        kernel = stage.kernel
        attributes = k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC
        narrowed = attributes | (k.MOUNT_ATTR_RDONLY if self.read_only else 0)
        named = [group for group in self.groups if group[0]]
        if named:
            folder = new_filesystem(kernel, "tmpfs", (("mode", "755"),), attributes)
            attach(stage, folder, self.destination, directory=True)
            for name, _ in named:
                kernel.mkdirat(folder, name, 0o755)
            for name, target in self.links:
                kernel.symlinkat(target, folder, name)
        for name, path in self.groups:
            with opened(kernel, kernel.open_tree(k.AT_FDCWD, path, k.OPEN_TREE_CLONE)) as mount:
                kernel.mount_setattr(mount, attr_set=narrowed)
                attach(stage, mount, posixpath.join(self.destination, name), directory=True)
        if named and self.read_only:
            kernel.mount_setattr(folder, attr_set=k.MOUNT_ATTR_RDONLY)
            kernel.close(folder)


class ReadonlyPath(Record):
    """A path that stays visible and cannot be written, with everything below it."""

    path: str

    def describe(self) -> str:
        """The step in one line."""
        return f"make {self.path} read-only"

    def execute(self, stage: Stage) -> None:
        """Bind the path over itself, read-only."""
        kernel = stage.kernel
        try:
            target = open_in_root(kernel, stage.root, self.path)
        except FileNotFoundError:
            return
        with opened(kernel, target), opened(kernel, clone(kernel, target, recursive=True)) as copy:
            kernel.mount_setattr(copy, attr_set=k.MOUNT_ATTR_RDONLY, recursive=True)
            kernel.move_mount(copy, target)


class MaskedPath(Record):
    """A path whose content nobody may see: /dev/null over files, nothing over folders."""

    path: str

    def describe(self) -> str:
        """The step in one line."""
        return f"mask {self.path}"

    def execute(self, stage: Stage) -> None:
        """Cover the path with the host's null device, verified, or an empty read-only tmpfs."""
        kernel = stage.kernel
        try:
            target = open_in_root(kernel, stage.root, self.path)
        except FileNotFoundError:
            return
        with opened(kernel, target):
            if stat.S_ISDIR(kernel.fstat(target).st_mode):
                attributes = k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV
                cover = new_filesystem(
                    kernel, "tmpfs", (("mode", "755"), ("size", "4k")), attributes
                )
            else:
                cover = _null_device(stage)
            with opened(kernel, cover):
                kernel.move_mount(cover, target)


def _null_device(stage: Stage) -> int:
    """A clone of the host's /dev/null, which must be character device 1:3 (CVE-2025-31133)."""
    kernel = stage.kernel
    with opened(
        kernel,
        kernel.openat2(
            k.AT_FDCWD, "/dev/null", os.O_PATH | os.O_NOFOLLOW, resolve=k.RESOLVE_NO_SYMLINKS
        ),
    ) as null:
        status = kernel.fstat(null)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(1, 3):
            raise RuntimeFault("/dev/null of this machine is not the null device")
        return clone(kernel, null)


class Terminal(Record):
    """A pseudo-terminal of the container's own devpts, also bound at /dev/console."""

    size: tuple[int, int] | None

    def describe(self) -> str:
        """The step in one line."""
        return "open a terminal and bind it on /dev/console"

    def execute(self, stage: Stage) -> None:
        """Open both ends by descriptor: no name in /dev is trusted (CVE-2025-52565)."""
        kernel = stage.kernel
        resolve = k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS
        flags = os.O_RDWR | os.O_NOCTTY
        master = kernel.openat2(stage.mounts["/dev/pts"], "ptmx", flags, resolve=resolve)
        fcntl.ioctl(master, k.TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, k.TIOCGPTPEER, flags | os.O_CLOEXEC)
        if self.size is not None:
            fcntl.ioctl(master, k.TIOCSWINSZ, struct.pack("4H", *self.size, 0, 0))
        dev = stage.mounts["/dev"]
        kernel.mknodat(dev, "console", stat.S_IFREG | 0o600, 0)
        with (
            opened(
                kernel,
                kernel.openat2(dev, "console", os.O_PATH, resolve=resolve),
            ) as console,
            opened(kernel, clone(kernel, slave)) as mount,
        ):
            kernel.move_mount(mount, console)
        stage.terminal = (master, slave)


class Hostname(Record):
    """The names of the UTS namespace."""

    hostname: str
    domainname: str = ""

    def describe(self) -> str:
        """The step in one line."""
        return f"hostname {self.hostname} {self.domainname}".rstrip()

    def execute(self, stage: Stage) -> None:
        """Set them."""
        if self.hostname:
            stage.kernel.sethostname(self.hostname)
        if self.domainname:
            stage.kernel.setdomainname(self.domainname)


class PivotRoot(Record):
    """The new root becomes the root, and the host's tree leaves the namespace."""

    def describe(self) -> str:
        """The step in one line."""
        return "pivot into the root and detach the host's tree"

    def execute(self, stage: Stage) -> None:
        """pivot_root(2), "pivot_root(\\".\\", \\".\\")"."""
        kernel = stage.kernel
        kernel.fchdir(stage.root)
        kernel.pivot_root(".", ".")
        kernel.umount2(".", k.MNT_DETACH)
        kernel.fchdir(stage.root)


class RootAttributes(Record):
    """Read-only root and the propagation that the configuration asks for."""

    read_only: bool
    propagation: str = "private"

    def describe(self) -> str:
        """The step in one line."""
        return f"root {'read-only' if self.read_only else 'writable'}, {self.propagation}"

    def execute(self, stage: Stage) -> None:
        """Change the attributes of the root's mount alone."""
        flags = {"slave": k.MS_SLAVE, "shared": k.MS_SHARED, "private": k.MS_PRIVATE}
        kind = flags.get(self.propagation.removeprefix("r"), k.MS_PRIVATE)
        stage.kernel.mount_setattr(
            stage.root,
            attr_set=k.MOUNT_ATTR_RDONLY if self.read_only else 0,
            propagation=kind,
            recursive=False,
        )
