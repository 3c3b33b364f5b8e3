"""The sandbox as data: each change to the mount tree is one frozen operation.

``describe()`` says in one line what ``execute()`` will do, so a plan can be printed and compared.
The target of every mount is found inside the root as a descriptor and mounted on by descriptor; no
path of the container is ever handed to mount(2). mount_setattr(2), fsopen(2), openat2(2).
"""

from __future__ import annotations

import os
import stat
from typing import Final, Protocol

from records import Record, field
from runtime import constants as k
from runtime.errors import RuntimeFault
from runtime.kernel import Kernel
from runtime.mount_options import MountOptions
from runtime.rooted import (
    IN_ROOT,
    NO_LINKS,
    ensure_directory,
    ensure_file,
    open_in_root,
    opened,
)

_BENEATH: Final = k.RESOLVE_BENEATH | k.RESOLVE_NO_MAGICLINKS

# Files of procfs that a bind may cover, for lxcfs and its like.
_PROC_FILES: Final = frozenset(
    {"cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime"}
)


class Stage:
    """What the operations hand on to each other."""

    __slots__ = ("covered", "created", "kernel", "mounts", "proc", "root", "terminal")

    def __init__(self, kernel: Kernel, *, root: int = -1, proc: int = -1) -> None:
        self.kernel = kernel
        self.root = root
        """The new root, once it is attached."""
        self.proc = proc
        """A procfs that nobody else can mount over."""
        self.mounts: dict[str, int] = {}
        """The roots of mounts made so far that later operations fill, by destination."""
        self.covered: list[str] = []
        """Destinations mounted so far; what is made below them is not in the root's own layer."""
        self.created: list[str] = []
        """Mount points that had to be made in the writable layer, relative to the root, parents
        first.
        """
        self.terminal: tuple[int, int] | None = None
        """Master and slave."""

    def record_for(self, destination: str) -> list[str] | None:
        """Where to note what is made for ``destination``; None below another mount."""
        covered = any(destination.startswith(f"{cover}/") for cover in self.covered)
        return None if covered else self.created


class Operation(Protocol):
    """One step of building a sandbox."""

    def describe(self) -> str:
        """The step in one line."""

    def execute(self, stage: Stage) -> None:
        """Do it."""


def new_filesystem(
    kernel: Kernel, fstype: str, parameters: tuple[tuple[str, str | None], ...], attributes: int
) -> int:
    """A detached mount of a new instance of ``fstype``."""
    with opened(kernel, kernel.fsopen(fstype)) as context:
        for name, value in parameters:
            if value is None:
                kernel.fsconfig_flag(context, name)
            else:
                kernel.fsconfig_string(context, name, value)
        kernel.fsconfig_create(context)
        return kernel.fsmount(context, attributes)


def clone(kernel: Kernel, fd: int, *, recursive: bool = False) -> int:
    """A detached copy of the mount, or of the part of it, that ``fd`` refers to."""
    flags = k.AT_EMPTY_PATH | k.OPEN_TREE_CLONE | (k.AT_RECURSIVE if recursive else 0)
    return kernel.open_tree(fd, "", flags)


def _apply(kernel: Kernel, mount: int, options: MountOptions) -> None:
    if options.attr_set or options.attr_clr:
        kernel.mount_setattr(
            mount,
            attr_set=options.attr_set,
            attr_clr=options.attr_clr,
            recursive=options.recursive,
        )
    kernel.mount_setattr(
        mount,
        attr_set=0,
        propagation=options.propagation or k.MS_PRIVATE,
        recursive=options.propagation_recursive or not options.propagation,
    )


def _refuse_procfs(kernel: Kernel, target: int, destination: str) -> None:
    """A mount inside procfs could hide or fake what the runtime reads and writes there."""
    if kernel.fstatfs_type(target) != k.PROC_SUPER_MAGIC:
        return
    if kernel.fd_path(target).rpartition("/proc/")[2] not in _PROC_FILES:
        raise RuntimeFault(
            f"mounting on {destination} is refused: it lies inside /proc",
            fix="mount somewhere else; only files such as /proc/cpuinfo may be covered",
            code="mount-refused",
        )


def attach(stage: Stage, mount: int, destination: str, *, directory: bool) -> None:
    """Put the detached ``mount`` at ``destination`` of the root, making the mount point if needed.

    Raises:
        RuntimeFault: ``mount-refused``; the target is the root itself or lies inside procfs.
    """
    kernel = stage.kernel
    ensure = ensure_directory if directory else ensure_file
    created = stage.record_for(destination)
    with opened(kernel, ensure(kernel, stage.root, destination, created=created)) as target:
        here, root = kernel.fstat(target), kernel.fstat(stage.root)
        if (here.st_dev, here.st_ino) == (root.st_dev, root.st_ino):
            raise RuntimeFault(
                f"mounting on {destination} is refused: it is the container's root",
                code="mount-refused",
            )
        _refuse_procfs(kernel, target, destination)
        kernel.move_mount(mount, target)
    stage.covered.append(destination)


class DetachFromHost(Record):
    """Stop mount events of this namespace from reaching the host, or both ways when private."""

    slave: bool = False

    def describe(self) -> str:
        """The step in one line."""
        return f"make / recursively {'slave' if self.slave else 'private'}"

    def execute(self, stage: Stage) -> None:
        """Change the propagation of every mount."""
        flags = k.MS_REC | (k.MS_SLAVE if self.slave else k.MS_PRIVATE)
        stage.kernel.mount(None, "/", None, flags, None)


class Overlay(Record):
    """An overlay of any number of host directories, topmost first."""

    lower: tuple[str, ...]
    upper: str | None = None
    work: str | None = None
    volatile: bool = False

    def mount(self, kernel: Kernel, scratch: str) -> int:
        """A detached mount; ``scratch`` is a directory that old kernels mount on for a moment.

        The layers are named ``/proc/self/fd/N``: short enough for the 255 bytes of fsconfig(2) and
        the page of mount(2), and free of characters that overlayfs would interpret. Redirects,
        metacopy and index stay off, so that the upper directory stands alone as a layer.
        """
        handles: list[int] = []

        def name(path: str) -> str:
            handles.append(kernel.openat2(k.AT_FDCWD, path, os.O_PATH | os.O_DIRECTORY, resolve=0))
            return f"/proc/self/fd/{handles[-1]}"

        parameters: list[tuple[str, str | None]] = [
            ("redirect_dir", "off"),
            ("metacopy", "off"),
            ("index", "off"),
        ]
        try:
            if self.upper is not None and self.work is not None:
                parameters += [("upperdir", name(self.upper)), ("workdir", name(self.work))]
            lowers = [name(path) for path in self.lower]
            if self.volatile and self.upper is not None:
                parameters.append(("volatile", None))
            layered: list[tuple[str, str | None]] = [("lowerdir+", lower) for lower in lowers]
            try:
                named = ("source", "overlay")
                return new_filesystem(kernel, "overlay", (named, *layered, *parameters), 0)
            except OSError as error:
                if error.filename != "lowerdir+":
                    raise
            # Before Linux 6.5 all lowers go into one parameter, too long for fsconfig(2).
            return self._mount_classic(kernel, lowers, parameters, name(scratch))
        finally:
            for handle in handles:
                kernel.close(handle)

    @staticmethod
    def _mount_classic(
        kernel: Kernel, lowers: list[str], parameters: list[tuple[str, str | None]], scratch: str
    ) -> int:
        words = [key if value is None else f"{key}={value}" for key, value in parameters]
        data = ",".join([f"lowerdir={':'.join(lowers)}", *words])
        kernel.mount("overlay", scratch, "overlay", 0, data)
        # The descriptor behind ``scratch`` is what lies below; the path's end is what lies on top.
        below = kernel.fd_path(int(scratch.rpartition("/")[2]))
        try:
            return kernel.open_tree(k.AT_FDCWD, below, k.OPEN_TREE_CLONE)
        finally:
            kernel.umount2(below, k.MNT_DETACH)


class RootMount(Record):
    """The container's root: an overlay or a plain directory, attached at ``mountpoint``."""

    mountpoint: str
    source: Overlay | str

    def describe(self) -> str:
        """The step in one line."""
        if isinstance(self.source, str):
            return f"bind {self.source} as the root at {self.mountpoint}"
        upper = self.source.upper or "nothing"
        return f"overlay {len(self.source.lower)} directories, changes to {upper}, as the root"

    def execute(self, stage: Stage) -> None:
        """Mount, attach and keep the root's descriptor."""
        kernel = stage.kernel
        if isinstance(self.source, str):
            flags = k.OPEN_TREE_CLONE | k.AT_RECURSIVE
            stage.root = kernel.open_tree(k.AT_FDCWD, self.source, flags)
        else:
            stage.root = self.source.mount(kernel, self.mountpoint)
        kernel.mount_setattr(stage.root, attr_set=0, propagation=k.MS_PRIVATE, recursive=True)
        flags = os.O_PATH | os.O_DIRECTORY
        with opened(
            kernel, kernel.openat2(k.AT_FDCWD, self.mountpoint, flags, resolve=0)
        ) as target:
            kernel.move_mount(stage.root, target)


class PrivateProc(Record):
    """A procfs of our own, never attached, through which sysctls and attributes are written."""

    def describe(self) -> str:
        """The step in one line."""
        return "open a private procfs"

    def execute(self, stage: Stage) -> None:
        """Create it in the new pid namespace."""
        attributes = k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC
        stage.proc = new_filesystem(stage.kernel, "proc", (("source", "proc"),), attributes)


class Sysctl(Record):
    """One kernel parameter, ``net.ipv4.ip_forward`` style."""

    name: str
    value: str

    def describe(self) -> str:
        """The step in one line."""
        return f"sysctl {self.name}={self.value}"

    def execute(self, stage: Stage) -> None:
        """Write it through the private procfs."""
        path = "sys/" + self.name.replace(".", "/")
        try:
            write_proc(stage, path, self.value.encode())
        except OSError as error:
            raise RuntimeFault(
                f"cannot set sysctl {self.name}: {(error.strerror or '').lower()}",
                code="request-invalid",
                errno=error.errno,
            ) from error


def write_proc(stage: Stage, path: str, value: bytes) -> None:
    """Write a file of the private procfs, reached without links and without leaving that mount."""
    resolve = k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS | k.RESOLVE_NO_XDEV
    kernel = stage.kernel
    with opened(kernel, kernel.openat2(stage.proc, path, os.O_WRONLY, resolve=resolve)) as file:
        kernel.write(file, value)


class FilesystemMount(Record):
    """A new instance of a kernel file system, such as tmpfs or sysfs."""

    destination: str
    fstype: str
    options: MountOptions
    source: str = ""
    standard: bool = False
    """One of the runtime's own mount points, where the image may have no symbolic link."""

    def describe(self) -> str:
        """The step in one line."""
        words = [name if value is None else f"{name}={value}" for name, value in self.options.data]
        if self.options.attr_set & k.MOUNT_ATTR_RDONLY:
            words.insert(0, "ro")
        return f"mount {self.fstype} on {self.destination}" + (
            f" ({','.join(words)})" if words else ""
        )

    def execute(self, stage: Stage) -> None:
        """Create, attach, remember."""
        kernel = stage.kernel
        if self.standard:
            created = stage.record_for(self.destination)
            target = ensure_directory(
                kernel, stage.root, self.destination, created=created, resolve=NO_LINKS
            )
            kernel.close(target)
        named: tuple[tuple[str, str | None], ...] = (("source", self.source or self.fstype),)
        parameters = (*named, *self.options.data)
        mount = new_filesystem(kernel, self.fstype, parameters, self.options.attr_set)
        attach(stage, mount, self.destination, directory=True)
        stage.mounts[self.destination] = mount


class BindMount(Record):
    """A file or directory of the host, or what is at ``subpath`` of a directory that others change.

    The kernel resolves ``subpath`` as it mounts and lets no link lead out of ``source``, so whoever
    swaps a part of it meanwhile gains nothing (CVE-2024-23651).
    """

    destination: str
    source: str
    options: MountOptions
    subpath: str = ""

    def describe(self) -> str:
        """The step in one line."""
        access = "ro" if self.options.attr_set & k.MOUNT_ATTR_RDONLY else "rw"
        return f"bind {self.source} on {self.destination} ({access})"

    def execute(self, stage: Stage) -> None:
        """Clone the host's mount, narrow it, attach it."""
        kernel = stage.kernel
        flags = k.OPEN_TREE_CLONE | (k.AT_RECURSIVE if self.options.rbind else 0)
        try:
            if self.subpath:
                mount = self._part(kernel)
            else:
                mount = kernel.open_tree(k.AT_FDCWD, self.source, flags)
        except FileNotFoundError as error:
            raise RuntimeFault(
                f"bind source path does not exist: {self.source}",
                code="mount-refused",
                errno=error.errno,
            ) from error
        with opened(kernel, mount):
            _apply(kernel, mount, self.options)
            directory = stat.S_ISDIR(kernel.fstat(mount).st_mode)
            attach(stage, mount, self.destination, directory=directory)

    def _part(self, kernel: Kernel) -> int:
        flags = os.O_PATH | os.O_DIRECTORY
        with (
            opened(kernel, kernel.openat2(k.AT_FDCWD, self.source, flags, resolve=0)) as whole,
            opened(
                kernel, open_in_root(kernel, whole, self.subpath.lstrip("/"), resolve=_BENEATH)
            ) as part,
        ):
            return clone(kernel, part, recursive=self.options.rbind)


class OverlayBind(Record):
    """A subtree of an overlay of its own, which hangs on the host directory ``scratch``."""

    destination: str
    source: Overlay
    subpath: str
    scratch: str
    options: MountOptions

    def describe(self) -> str:
        """The step in one line."""
        return (
            f"overlay {len(self.source.lower)} directories, "
            f"/{self.subpath.strip('/')} of it on {self.destination}"
        )

    def execute(self, stage: Stage) -> None:
        """Mount in the private namespace, cut out the subtree, attach it."""
        kernel = stage.kernel
        flags = os.O_PATH | os.O_DIRECTORY
        with opened(kernel, self.source.mount(kernel, self.scratch)) as whole:
            with opened(
                kernel, kernel.openat2(k.AT_FDCWD, self.scratch, flags, resolve=0)
            ) as place:
                kernel.move_mount(whole, place)
            with opened(
                kernel, open_in_root(kernel, whole, self.subpath or "/", resolve=IN_ROOT)
            ) as part:
                directory = stat.S_ISDIR(kernel.fstat(part).st_mode)
                mount = clone(kernel, part)
        with opened(kernel, mount):
            _apply(kernel, mount, self.options)
            attach(stage, mount, self.destination, directory=directory)


class MemoryFile(Record):
    """``content`` as one read-only file, on a tmpfs that only the container sees."""

    destination: str
    content: bytes = field(repr=False)
    mode: int
    uid: int
    gid: int
    scratch: str

    def describe(self) -> str:
        """The step in one line."""
        return f"file of {len(self.content)} bytes, mode {self.mode:o}, on {self.destination}"

    def execute(self, stage: Stage) -> None:
        """Write the file, then bind it read-only."""
        kernel = stage.kernel
        attributes = k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC
        size = str(len(self.content) + (64 << 10))
        flags = os.O_PATH | os.O_DIRECTORY
        memory = new_filesystem(kernel, "tmpfs", (("size", size), ("mode", "700")), attributes)
        with opened(kernel, memory):
            with opened(
                kernel, kernel.openat2(k.AT_FDCWD, self.scratch, flags, resolve=0)
            ) as place:
                kernel.move_mount(memory, place)
            write = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            with opened(
                kernel,
                kernel.openat2(memory, "content", write, mode=0o600, resolve=k.RESOLVE_BENEATH),
            ) as file:
                rest = memoryview(self.content)
                while rest:
                    rest = rest[kernel.write(file, bytes(rest[: 1 << 20])) :]
                kernel.fchown(file, self.uid, self.gid)
                kernel.fchmod(file, self.mode)
                mount = clone(kernel, file)
        with opened(kernel, mount):
            kernel.mount_setattr(mount, attr_set=k.MOUNT_ATTR_RDONLY)
            attach(stage, mount, self.destination, directory=False)
