"""From a configuration to the list of operations that builds its sandbox. Touches nothing.

Order is the point here: the root, a private procfs, the mounts as configured, the files below /etc,
masks and read-only paths last of all that lies in the root, then the pivot.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Final

from records import Record
from runtime import constants as k
from runtime import defaults
from runtime.config import Device, Mount, Spec
from runtime.confinement import (
    ControlGroups,
    DeviceNodes,
    Hostname,
    MaskedPath,
    PivotRoot,
    ReadonlyPath,
    RootAttributes,
    Terminal,
)
from runtime.errors import RuntimeFault
from runtime.furniture import FURNISHED, Furnish, Furniture
from runtime.mount_options import MountOptions, parse
from runtime.operations import (
    BindMount,
    DetachFromHost,
    FilesystemMount,
    MemoryFile,
    Operation,
    Overlay,
    OverlayBind,
    PrivateProc,
    RootMount,
    Sysctl,
)
from runtime.request import ETC_FILES, Rootfs, SecretFile

CLONE_FLAGS: Final = {
    "mount": k.CLONE_NEWNS,
    "uts": k.CLONE_NEWUTS,
    "ipc": k.CLONE_NEWIPC,
    "network": k.CLONE_NEWNET,
    "cgroup": k.CLONE_NEWCGROUP,
    "pid": k.CLONE_NEWPID,
}
_STANDARD: Final = frozenset(destination for destination, *_ in defaults.MOUNTS)
_IPC_SYSCTLS: Final = ("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue.")
_SHARING: Final = frozenset({"slave", "rslave", "shared", "rshared"})
"""Options of mounts that are to see, or send, later mount events."""


class Places(Record):
    """Host directories and facts that a plan refers to."""

    state: str
    """The container's state directory, with ``rootfs`` and ``scratch`` in it."""
    control_groups: tuple[tuple[str, str], ...] = ()
    control_group_links: tuple[tuple[str, str], ...] = ()
    stubs: str | None = None
    """A lowermost overlay directory that holds the mount points."""

    def scratch(self, index: int) -> str:
        """The directory number ``index`` to hang a temporary mount on."""
        return f"{self.state}/scratch/{index}"


def plan(
    spec: Spec,
    rootfs: Rootfs,
    places: Places,
    *,
    etc_files: Sequence[str] = ETC_FILES,
    secrets: Sequence[SecretFile] = (),
    terminal: bool = False,
    furniture: Furniture | None = None,
) -> list[Operation]:
    """The operations for ``spec``, in order; ``furniture`` that ``fits`` takes the place of its
    own standard mounts.

    Raises:
        RuntimeFault: ``request-invalid`` or ``mount-refused``; the configuration asks for what
            a container
            may not have.
    """
    mounts = spec.mounts
    _check_destinations(mounts)
    check_sysctls(spec)
    operations: list[Operation] = [
        DetachFromHost(slave=any(_SHARING.intersection(mount.options) for mount in mounts)),
        RootMount(f"{places.state}/rootfs", _root_source(rootfs, places)),
    ]
    furnished = 0
    if furniture is None:
        operations.append(PrivateProc())
    else:
        operations.append(Furnish(furniture, terminal=terminal))
        furnished = len(furniture.standard.mounts)
    for index, mount in enumerate(mounts[furnished:], furnished):
        operations += _mount_operations(mount, spec, places, index)
    operations += _etc_files(etc_files, spec, places)
    operations += [
        MemoryFile(
            secret.destination,
            secret.content,
            secret.mode,
            secret.uid,
            secret.gid,
            places.scratch(len(mounts) + index),
        )
        for index, secret in enumerate(secrets)
    ]
    done = {} if furniture is None else furniture.standard.linux.sysctl
    operations += _sysctls(spec, done)
    if terminal:
        operations.append(Terminal(spec.process.console_size))
    if furniture is None:
        operations += _covers(spec)
    return [*operations, *_finish(spec, places)]


def standard_mounts(standard: Spec, places: Places) -> list[Operation]:
    """The operations whose result is the furniture of every container like ``standard``."""
    operations: list[Operation] = [PrivateProc()]
    for index, mount in enumerate(standard.mounts):
        operations += _mount_operations(mount, standard, places, index)
    return [*operations, *_sysctls(standard, {}), *_covers(standard)]


def fits(spec: Spec, secrets: Sequence[SecretFile], standard: Spec) -> bool:
    """Whether the furniture of ``standard`` is what ``spec`` asks for, and nothing goes into it."""
    count = len(standard.mounts)
    own = [mount.destination for mount in spec.mounts[count:]]
    own += [secret.destination for secret in secrets]
    furnished = tuple(f"{path}/" for path in FURNISHED)
    return (
        spec.mounts[:count] == standard.mounts
        and spec.linux.masked_paths == standard.linux.masked_paths
        and spec.linux.readonly_paths == standard.linux.readonly_paths
        and not spec.linux.devices
        and not any(f"{posixpath.normpath(path)}/".startswith(furnished) for path in own)
    )


def _sysctls(spec: Spec, done: Mapping[str, str]) -> list[Operation]:
    wanted = sorted(spec.linux.sysctl.items())
    return [Sysctl(name, value) for name, value in wanted if done.get(name) != value]


def _etc_files(names: Sequence[str], spec: Spec, places: Places) -> list[Operation]:
    taken = {posixpath.normpath(mount.destination) for mount in spec.mounts}
    return [
        BindMount(f"/etc/{name}", f"{places.state}/{name}", MountOptions())
        for name in names
        if f"/etc/{name}" not in taken
    ]


def _covers(spec: Spec) -> list[Operation]:
    return [
        *(ReadonlyPath(path) for path in spec.linux.readonly_paths),
        *(MaskedPath(path) for path in spec.linux.masked_paths),
    ]


def _finish(spec: Spec, places: Places) -> list[Operation]:
    linux = spec.linux
    last: list[Operation] = []
    if linux.namespace("uts") is not None:
        last.append(Hostname(spec.hostname, spec.domainname))
    if spec.hooks:
        from runtime.hooks import Hooks

        last.append(Hooks(spec, places.state))
    return [
        *last,
        PivotRoot(),
        RootAttributes(spec.root.readonly, linux.rootfs_propagation),
    ]


def scratch_slots(spec: Spec, secrets: Sequence[SecretFile]) -> list[int]:
    """The numbers of the scratch directories that ``plan`` refers to."""
    overlays = [index for index, mount in enumerate(spec.mounts) if mount.type == "overlay"]
    return [*overlays, *(len(spec.mounts) + index for index in range(len(secrets)))]


def mount_points(
    spec: Spec,
    *,
    directories: Mapping[str, bool],
    etc_files: Sequence[str],
    secrets: Sequence[SecretFile],
) -> list[tuple[str, bool]]:
    """(path, is a directory) of every mount point in the root itself, not below another mount.

    ``directories`` says of each bind source whether it is a directory.
    """
    wanted: dict[str, bool] = {}
    for mount in spec.mounts:
        is_directory = mount.type != "bind" or directories.get(mount.source, True)
        wanted[posixpath.normpath(mount.destination)] = is_directory
    wanted.update({f"/etc/{name}": False for name in etc_files})
    wanted.update({posixpath.normpath(secret.destination): False for secret in secrets})
    covers = {posixpath.normpath(mount.destination) for mount in spec.mounts}
    return sorted(
        (path.lstrip("/"), is_directory)
        for path, is_directory in wanted.items()
        if path.strip("/") and not _below_any(path, covers)
    )


def _below_any(path: str, covers: set[str]) -> bool:
    parent = posixpath.dirname(path)
    while parent != "/":
        if parent in covers:
            return True
        parent = posixpath.dirname(parent)
    return False


def _root_source(rootfs: Rootfs, places: Places) -> Overlay | str:
    if rootfs.path is not None:
        return rootfs.path
    lower = rootfs.lower if places.stubs is None else (*rootfs.lower, places.stubs)
    return Overlay(lower, rootfs.upper, rootfs.work, volatile=rootfs.volatile)


def _check_destinations(mounts: Sequence[Mount]) -> None:
    for mount in mounts:
        path = posixpath.normpath(mount.destination)
        if path == "/":
            raise RuntimeFault("mounting on / is refused", code="mount-refused")
        if path == "/proc" and mount.type != "proc":
            raise RuntimeFault(
                f"mounting {mount.type} on /proc is refused",
                fix="the runtime mounts a procfs there",
                code="mount-refused",
            )


def _mount_operations(mount: Mount, spec: Spec, places: Places, index: int) -> list[Operation]:
    options, path = parse(mount.options), posixpath.normpath(mount.destination)
    if mount.type == "bind":
        subpath = dict(options.data).get("subpath") or ""
        return [BindMount(path, mount.source, options, subpath)]
    if mount.type in ("cgroup", "cgroup2"):
        return _control_groups(path, options, places)
    if mount.type == "overlay":
        return [_overlay_bind(path, options, places.scratch(index))]
    standard = path in _STANDARD
    operations: list[Operation] = [
        FilesystemMount(path, mount.type, options, mount.source, standard=standard)
    ]
    if path == "/dev" and mount.type == "tmpfs":
        nodes = tuple(
            Device(f"/dev/{name}", "c", major, minor) for name, major, minor in defaults.DEVICES
        )
        named = {device.path for device in spec.linux.devices}
        extra = tuple(d for d in spec.linux.devices if d.path.startswith("/dev/"))
        kept = tuple(node for node in nodes if node.path not in named)
        operations.append(DeviceNodes((*kept, *extra), defaults.DEVICE_LINKS))
    return operations


def _control_groups(path: str, options: MountOptions, places: Places) -> list[Operation]:
    if not places.control_groups:
        return []
    read_only = bool(options.attr_set & k.MOUNT_ATTR_RDONLY)
    return [
        ControlGroups(path, places.control_groups, places.control_group_links, read_only=read_only)
    ]


def _overlay_bind(path: str, options: MountOptions, scratch: str) -> OverlayBind:
    values = {name: value or "" for name, value in options.data}
    lower = tuple(value or "" for name, value in options.data if name == "lowerdir+")
    source = Overlay(lower, values.get("upperdir"), values.get("workdir"), volatile=True)
    return OverlayBind(path, source, values.get("subpath", ""), scratch, options)


def check_sysctls(spec: Spec) -> None:
    """Only parameters of namespaces that the container has to itself.

    Raises:
        RuntimeFault: ``request-invalid``; the parameter would change the host.
    """
    for name in spec.linux.sysctl:
        if name.startswith("net."):
            needed = "network"
        elif name.startswith(_IPC_SYSCTLS):
            needed = "ipc"
        elif name == "kernel.domainname":
            needed = "uts"
        else:
            needed = ""
        if not needed or "/" in name or ".." in name:
            raise RuntimeFault(
                f"sysctl {name!r} is not in a separate kernel namespace",
                fix="a container has net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm* only",
                code="request-invalid",
            )
        if spec.linux.namespace(needed) is None:
            raise RuntimeFault(
                f"sysctl {name!r} is not allowed: the {needed} namespace is the host's",
                code="request-invalid",
            )
