"""What the builder asks of a container runtime: run one command over a stack of directories.

The builder never imports a runtime; ``engine`` implements ``StepRunner`` on top of one (design
D3). Everything in a ``RunStep`` is already decided: the runner looks nothing up again except user
names, which live in the step's own root filesystem.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from records import Record, field

if TYPE_CHECKING:
    from builder.plan.devices import DeviceSpec
    from images.platform import Platform

STDOUT: Final = 1
STDERR: Final = 2
HOSTNAME: Final = "buildkitsandbox"
"""The host name that commands see unless the build says otherwise."""

OutputSink: TypeAlias = Callable[[int, bytes], None]
"""Takes ``(STDOUT or STDERR, bytes)``; one thread at a time, never after ``run`` has returned."""


class BindMount(Record):
    """A file or directory of the host over ``target``; writes go to it unless ``read_only``.

    With ``subpath`` that part of the directory ``source``, which other steps may be changing: it is
    resolved when it is mounted, and no link may lead out of ``source``.
    """

    target: str
    source: Path
    read_only: bool = True
    subpath: str = ""


class OverlayMount(Record):
    """The subtree ``subpath`` of the merged ``lower`` directories (topmost first) over ``target``.

    There are two directories at least, or one and an upper, as overlayfs demands. With ``upper``
    and ``work`` set it is writable and the writes are thrown away after the step.
    """

    target: str
    lower: tuple[Path, ...]
    subpath: str = ""
    upper: Path | None = None
    work: Path | None = None


class TmpfsMount(Record):
    """An empty memory file system; ``size`` in bytes, 0 for the kernel's default."""

    target: str
    size: int = 0
    mode: int = 0o1777


class SecretMount(Record):
    """``content`` as one file that is never written to a disk: on a tmpfs, read-only."""

    target: str
    content: bytes = field(repr=False)
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


class SshMount(Record):
    """The agent socket ``source`` of the host at ``target``."""

    target: str
    source: Path
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


StepMount: TypeAlias = BindMount | OverlayMount | TmpfsMount | SecretMount | SshMount


class Ulimit(Record):
    """One resource limit: the name without ``RLIMIT_`` in lower case, soft and hard value."""

    name: str
    soft: int
    hard: int


class Dns(Record):
    """The lines of resolv.conf; empty ones mean the host's."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Resources(Record):
    """What a step may use. Bytes and microseconds; 0 and None mean the runtime's default.

    ``memory_swap`` is memory and swap together, -1 without limit. Only the first three are in cache
    keys, as in BuildKit's: a step's result does not depend on how fast it came about.
    """

    shm_size: int = 0
    ulimits: tuple[Ulimit, ...] = ()
    cgroup_parent: str = ""
    memory_limit: int | None = None
    memory_swap: int | None = None
    cpu_shares: int | None = None
    cpu_quota: int | None = None
    cpu_period: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    dns: Dns = Dns()


class Cancellation:
    """A one-way switch that several threads watch; cancelling twice is harmless."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._next = 0

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._event.is_set()

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` once, when cancelled or now if that is past; returns the undo."""
        with self._lock:
            if not self._event.is_set():
                handle = self._next
                self._next += 1
                self._callbacks[handle] = callback
                return lambda: self._forget(handle)
        callback()
        return lambda: None

    def cancel(self) -> None:
        """Set the switch and call every subscriber."""
        with self._lock:
            self._event.set()
            callbacks, self._callbacks = list(self._callbacks.values()), {}
        for callback in callbacks:
            callback()

    def _forget(self, handle: int) -> None:
        with self._lock:
            self._callbacks.pop(handle, None)


class RunStep(Record):
    """One command to run.

    ``lower`` is the root filesystem, topmost first, one directory at least, never written;
    ``upper`` receives every change as an overlay upper directory without redirects or metacopy, so
    that it stands alone as a layer.
    The runner leaves no trace of mount points, hosts, resolv.conf or hostname files in it.
    HOME, where ``env`` has none, comes from the root's /etc/passwd.
    ``network`` is ``default``, ``none`` or ``host``; ``security`` is ``sandbox`` or ``insecure``.
    """

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str
    lower: tuple[Path, ...]
    upper: Path
    work: Path
    output: OutputSink
    cancellation: Cancellation
    mounts: tuple[StepMount, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    hostname: str = HOSTNAME
    platform: Platform | None = None
    """Whose programs they are, where it is not this machine's own."""
    extra_hosts: tuple[tuple[str, str], ...] = ()
    resources: Resources = field(default_factory=Resources)
    devices: tuple[DeviceSpec, ...] = ()
    """By name; what each is on this machine is the runner's to find."""


FailureInspector: TypeAlias = Callable[[RunStep, str], None]
"""Takes a step that failed, while its root and mounts are still there, and what happened."""


class StepRunner(Protocol):
    """Runs steps, several at once from different threads."""

    def check(self, platform: Platform) -> None:
        """Return if commands of another platform than this machine's can be run.

        Raises:
            Exception: with attributes ``what where fix code``; they cannot.
        """

    def expect(self) -> None:
        """Get ready, in any thread: commands are going to be run. What fails here ``run`` tells."""

    def run(self, step: RunStep) -> int:
        """Run to the end and return the exit code (128 + n for signal n).

        Output is delivered to ``step.output`` before this returns. When ``step.cancellation``
        fires, every process of the step is killed and this returns soon after, with any code.

        Raises:
            Exception: with attributes ``what where fix code``; the command could not be started.
                Codes ``command-not-found``, ``command-not-executable`` and ``user-unknown`` are the
                step's own fault, all others the environment's.
        """
