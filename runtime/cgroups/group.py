"""One container's control groups: create, limit, join, count, kill, remove."""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from records import Record, replace
from runtime.cgroups.layout import Layout
from runtime.cgroups.limits import v1_files, v2_files
from runtime.config import DeviceRule, Resources
from runtime.errors import RuntimeFault

_PARENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*(/[A-Za-z0-9_][A-Za-z0-9_.:-]*)*")
_REMOVE_ATTEMPTS: Final = 200
UNIFIED: Final = "unified"


class Group(Record):
    """One container's directories by hierarchy name; ``UNIFIED`` is the cgroup2 one."""

    directories: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...] = ()
    """Names of single controllers of a joint hierarchy, such as cpu for cpu,cpuacct."""
    version: int = 1

    def renamed(self, name: str) -> Group:
        """The same group with another last component; cgroup v1 only, where rename(2) does that.

        An empty group of that name, which a shim that was killed left, makes room.

        Raises:
            OSError: there is one with processes; what was renamed has its old name again.
        """
        done: list[tuple[str, str, str]] = []
        try:
            for hierarchy, directory in self.directories:
                target = f"{os.path.dirname(directory)}/{name}"
                try:
                    os.rename(directory, target)
                except FileExistsError:
                    os.rmdir(target)
                    os.rename(directory, target)
                done.append((hierarchy, target, directory))
        except OSError:
            for _, target, directory in done:
                os.rename(target, directory)
            raise
        moved = tuple((hierarchy, target) for hierarchy, target, _ in done)
        return replace(self, directories=moved)

    def limit(self, layout: Layout, resources: Resources) -> None:
        """Write the limits of ``resources`` that are set.

        Raises:
            RuntimeFault: the kernel refuses one.
        """
        directories = dict(self.directories)
        try:
            for hierarchy in layout.hierarchies:
                for controller in hierarchy.controllers:
                    _write_limits(directories[hierarchy.name], v1_files(controller, resources))
            if self.unified is not None:
                _write_limits(self.unified, v2_files(resources))
        except OSError as error:
            raise _refused(error) from error

    def join(self) -> None:
        """Move the calling process, which has one thread, into every v1 hierarchy.

        ``tasks`` and 0 move just this thread, which needs no lock; ``cgroup.procs`` would wait for
        a grace period of some 15 ms (kernel ``cgroup_procs_write_start``).

        Raises:
            OSError: a controller refuses, for example an empty cpuset.
        """
        for name, directory in self.directories:
            if name != UNIFIED:
                _write(f"{directory}/tasks", "0")

    @property
    def unified(self) -> str | None:
        """The directory on the cgroup2 mount, where the first process has to be born."""
        return next((path for name, path in self.directories if name == UNIFIED), None)

    def processes(self) -> set[int]:
        """Process ids in any of the directories."""
        found: set[int] = set()
        for _, directory in self.directories:
            try:
                with open(f"{directory}/cgroup.procs", encoding="ascii") as file:
                    found.update(int(line) for line in file)
            except FileNotFoundError:
                continue
        return found

    def kill(self) -> None:
        """SIGKILL everything inside; return when it is empty, or after two seconds.

        Frozen first, so that a fork bomb cannot outrun us; a frozen process dies when it is thawed.
        """
        if self.unified is not None:
            # Kernels before 5.14 lack the file.
            with suppress(OSError):
                _write(f"{self.unified}/cgroup.kill", "1")
        with suppress(OSError):
            self.freeze(frozen=True)
        for pid in self.processes() - {0, os.getpid()}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(OSError):
            self.freeze(frozen=False)
        for _ in range(_REMOVE_ATTEMPTS):
            members = self.processes() - {0, os.getpid()}
            if not members:
                return
            for pid in members:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def remove(self) -> None:
        """Remove the directories, waiting up to two seconds for the last processes to leave.

        Raises:
            OSError: a directory is still in use.
        """
        for _, directory in self.directories:
            for attempt in range(_REMOVE_ATTEMPTS):
                try:
                    os.rmdir(directory)
                except FileNotFoundError:
                    break
                except OSError as error:
                    if error.errno != errno.EBUSY or attempt == _REMOVE_ATTEMPTS - 1:
                        raise
                    if attempt == 0:
                        self.kill()
                    time.sleep(0.01)
                else:
                    break

    def oom_kills(self) -> int:
        """How many processes the kernel killed for want of memory."""
        for name, directory in self.directories:
            if self.version == 2 or "memory" in name.split(","):
                file = "memory.events" if self.version == 2 else "memory.oom_control"
                return _counter(f"{directory}/{file}", "oom_kill")
        return 0

    def freeze(self, *, frozen: bool) -> None:
        """Stop or continue every process (v2 cgroup.freeze, v1 freezer.state)."""
        for name, directory in self.directories:
            if name == "freezer":
                _write(f"{directory}/freezer.state", "FROZEN" if frozen else "THAWED")
                return
        if self.unified is not None:
            _write(f"{self.unified}/cgroup.freeze", "1" if frozen else "0")


def create(
    layout: Layout,
    path: str,
    resources: Resources,
    *,
    attach_device_filter: Callable[[str, Iterable[DeviceRule]], None] | None = None,
) -> Group:
    """Make ``path`` (``lading/<id>``) in every hierarchy and write its limits.

    On a failure nothing of the container's own directories stays behind.

    Raises:
        RuntimeFault: ``request-invalid`` for a path that leaves its parent; a limit is refused.
    """
    path = path.strip("/")
    if not _PARENT.fullmatch(path):
        raise RuntimeFault(
            f"control group path {path!r} is not allowed",
            fix="use names of letters, digits, '.', '_', '-' and ':' between single slashes",
            code="request-invalid",
        )
    directories: list[tuple[str, str]] = []
    links: list[tuple[str, str]] = []
    group = Group((), version=layout.version)
    try:
        for hierarchy in layout.hierarchies:
            directory = _make_v1(hierarchy.path, path, cpuset="cpuset" in hierarchy.controllers)
            directories.append((hierarchy.name, directory))
            links += [(n, hierarchy.name) for n in hierarchy.controllers if n != hierarchy.name]
        if layout.version == 2 and layout.unified is not None:
            directory = _make_v2(layout.unified, path)
            directories.append((UNIFIED, directory))
            if attach_device_filter is not None and resources.devices:
                attach_device_filter(directory, resources.devices)
        group = Group(tuple(directories), tuple(links), layout.version)
        group.limit(layout, resources)
    except (OSError, RuntimeFault) as error:
        with suppress(OSError):
            Group(tuple(directories)).remove()
        if isinstance(error, OSError):
            raise _refused(error) from error
        raise
    return group


def _refused(error: OSError) -> RuntimeFault:
    return RuntimeFault(
        f"cannot set up control group: {(error.strerror or '').lower()}",
        where=error.filename,
        errno=error.errno,
    )


def _make_v1(mountpoint: str, path: str, *, cpuset: bool) -> str:
    directory = mountpoint
    for name in path.split("/"):
        parent, directory = directory, f"{directory}/{name}"
        _mkdir(directory)
        if cpuset:
            # A new cpuset is empty and takes no process until it has both.
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not _read(f"{directory}/{file}"):
                    _write(f"{directory}/{file}", _read(f"{parent}/{file}"))
    return directory


def _make_v2(mountpoint: str, path: str) -> str:
    directory = mountpoint
    for name in path.split("/"):
        available = _read(f"{directory}/cgroup.controllers").split()
        for controller in available:
            try:
                _write(f"{directory}/cgroup.subtree_control", f"+{controller}")
            except OSError as error:
                # EBUSY and ENOTSUP: processes live here, or the controller has no threads; do
                # without.
                if error.errno not in (errno.EBUSY, errno.EOPNOTSUPP, errno.EINVAL):
                    raise
        directory = f"{directory}/{name}"
        _mkdir(directory)
    return directory


def _write_limits(directory: str, files: Iterable[tuple[str, str]]) -> None:
    for name, value in files:
        if "/" in name:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
        try:
            _write(f"{directory}/{name}", value)
        except FileNotFoundError:
            # Swap accounting is a boot option; without it there is no swap to limit.
            if name not in ("memory.memsw.limit_in_bytes", "memory.swap.max"):
                raise


def _mkdir(directory: str) -> None:
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        return


def _write(path: str, value: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_TRUNC)
    try:
        os.write(handle, value.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(handle)


def _read(path: str) -> str:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(handle, 1 << 16).decode().strip()
    finally:
        os.close(handle)


def _counter(path: str, name: str) -> int:
    try:
        lines = _read(path).splitlines()
    except OSError:
        return 0
    for line in lines:
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
