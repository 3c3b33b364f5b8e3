"""How everybody else runs containers: ask the launcher, starting it if there is none.

    container = run(ContainerRequest(...), stdin=0, stdout=1, stderr=2, runtime_dir=path)
    code = container.wait()

Light to import: no ctypes, no asyncio, nothing of the runtime that runs inside the launcher.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sys
import time
from contextlib import contextmanager, suppress

from runtime import protocol
from runtime.errors import RuntimeFault
from runtime.request import ContainerRequest, Port, Rootfs, SecretFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any, Final

__all__ = [
    "Container",
    "ContainerRequest",
    "Port",
    "Rootfs",
    "RuntimeFault",
    "SecretFile",
    "default_runtime_dir",
    "prepare",
    "run",
    "stop_launcher",
]

SOCKET_NAME: Final = "launcher.sock"
LOCK_NAME: Final = "launcher.lock"
_LOG_NAME: Final = "launcher.log"
_DEFAULT_IDLE: Final = "300"
_ATTEMPTS: Final = 5


def default_runtime_dir() -> Path:
    """``$LADING_RUNTIME_DIR``, else /run/lading as root, ``$XDG_RUNTIME_DIR/lading`` otherwise."""
    from pathlib import Path

    if chosen := os.environ.get("LADING_RUNTIME_DIR"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/run/lading")
    return Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")) / "lading"


class Container:
    """A started container. Not for several threads at once, except ``kill``."""

    def __init__(
        self, connection: socket.socket, receiver: protocol.Receiver, started: dict[str, Any]
    ) -> None:
        self._connection = connection
        self._receiver = receiver
        self._exited: dict[str, Any] | None = None
        self.pid: int = started["pid"]
        self.endpoint: dict[str, Any] | None = started["endpoint"]
        """``bridge address prefix_length gateway mtu hardware_address ports``, None without a
        network.
        """

    def fileno(self) -> int:
        """Readable when ``wait`` will not block; for event loops."""
        return self._connection.fileno()

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, 128 + n for signal n; asked again, the same.

        When this returns, no process, mount, control group or stub of the container is left.

        Raises:
            TimeoutError: it is still running after ``timeout`` seconds.
            RuntimeFault: the shim is gone, so the exit code is unknown.
        """
        if self._exited is None:
            self._connection.settimeout(timeout)
            try:
                received = self._receiver.receive()
            except TimeoutError:
                raise
            except OSError:
                received = None
            if received is None or received[0]["event"] == "fault":
                self._connection.close()
            if received is None:
                raise RuntimeFault("the container's supervisor died", where=str(self.pid))
            if received[0]["event"] == "fault":
                raise RuntimeFault.from_json(received[0])
            self._exited = received[0]
            self._connection.close()
        return int(self._exited["code"])

    @property
    def oom_killed(self) -> bool:
        """Whether the kernel killed something inside for want of memory; known after ``wait``."""
        return self._exited is not None and bool(self._exited["oom"])

    def kill(self, signum: int) -> None:
        """Send a signal to the container's first process; one that has exited takes no notice."""
        self._command({"operation": "kill", "signal": int(signum)})

    def resize(self, rows: int, cols: int) -> None:
        """Tell the container's terminal its size."""
        self._command({"operation": "resize", "rows": rows, "columns": cols})

    def close(self) -> None:
        """Let go: with ``kill_on_disconnect`` the container is killed, else it goes on."""
        self._connection.close()

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _command(self, message: dict[str, Any]) -> None:
        try:
            protocol.send(self._connection, message)
        except OSError:
            return


def run(
    request: ContainerRequest,
    *,
    stdin: int,
    stdout: int,
    stderr: int,
    terminal: bool = False,
    runtime_dir: str | Path | None = None,
) -> Container:
    """Start a container with these descriptors, which stay the caller's, as standard streams.

    With ``terminal`` it gets a pseudo-terminal; the shim copies between it and
    ``stdin``/``stdout``. Returns once the program has been executed.

    Raises:
        RuntimeFault: ``command-not-found`` (exit code 127), ``command-not-executable`` (126),
            ``user-unknown``, ``mount-refused``, ``request-invalid``, ``busy``, ``runtime``.
    """
    request.checked()
    folder = os.fspath(runtime_dir or default_runtime_dir())
    if os.geteuid() != 0:
        raise RuntimeFault("running containers needs root", fix="run the command with sudo")
    message = {
        "operation": "run",
        "fingerprint": fingerprint(),
        "request": request.to_json(),
        "terminal": terminal,
    }
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        connection, receiver = _submit(folder, message, (stdin, stdout, stderr, namespace))
    finally:
        os.close(namespace)
    try:
        received = receiver.receive()
    except OSError:
        received = None
    if received is not None and received[0]["event"] == "started":
        return Container(connection, receiver, received[0])
    connection.close()
    if received is None:
        raise RuntimeFault("the container's supervisor died", fix=f"see {folder}/{_LOG_NAME}")
    raise RuntimeFault.from_json(received[0])


def prepare(runtime_dir: str | Path | None = None) -> None:
    """Start the launcher if there is none, for containers that are going to be asked for.

    Raises:
        RuntimeFault: it cannot be started; without root nothing is tried.
    """
    if os.geteuid() != 0:
        return
    folder = os.fspath(runtime_dir or default_runtime_dir())
    # One that is there need not be asked: every connection is a container's.
    if not os.path.exists(f"{folder}/{SOCKET_NAME}"):
        with _alone(folder):
            if not os.path.exists(f"{folder}/{SOCKET_NAME}"):
                _listen(folder, fingerprint())


def stop_launcher(runtime_dir: str | Path | None = None) -> None:
    """Ask the launcher to go, and wait until it has; running containers are not touched."""
    folder = os.fspath(runtime_dir or default_runtime_dir())
    connection = _connect(folder)
    if connection is None:
        return
    with connection:
        try:
            protocol.send(connection, {"operation": "stop", "fingerprint": fingerprint()})
            received = protocol.Receiver(connection).receive()
        except OSError:
            return
    if received is not None and received[0]["event"] == "stale":
        _await_end(received[0]["pid"])


def _await_end(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([handle], [], [], 10)
    finally:
        os.close(handle)


def fingerprint() -> str:
    """What changes when the interpreter or this code does: names, sizes and times of the files."""
    top = os.path.dirname(__file__)
    parts = [sys.executable, sys.version]
    records = f"{os.path.dirname(top)}/records"
    for folder in (top, f"{top}/cgroups", f"{top}/seccomp", f"{top}/network", records):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    parts.append(f"{entry.path} {status.st_mtime_ns} {status.st_size}")
    return "\n".join(sorted(parts))


def _submit(
    folder: str, message: dict[str, Any], fds: tuple[int, ...]
) -> tuple[socket.socket, protocol.Receiver]:
    """Hand the message to a launcher of our version; before ``accepted`` nothing is done."""
    for _ in range(_ATTEMPTS):
        connection = _connect(folder) or _start_launcher(folder, message["fingerprint"])
        receiver = protocol.Receiver(connection)
        try:
            protocol.send(connection, message, fds)
            received = receiver.receive()
        except OSError:
            received = None
        if received is not None and received[0]["event"] == "accepted":
            return connection, receiver
        connection.close()
        if received is not None:
            _await_end(received[0]["pid"])
        else:
            time.sleep(0.01)
    raise RuntimeFault("the container launcher does not answer", fix=f"see {folder}/{_LOG_NAME}")


def _connect(folder: str) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        connection.close()
        return None
    try:
        # Through the descriptor, because a socket address holds at most 107 bytes.
        connection.connect(f"/proc/self/fd/{handle}/{SOCKET_NAME}")
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    finally:
        os.close(handle)
    return connection


def _start_launcher(folder: str, version: str) -> socket.socket:
    """Start a launcher, or connect to the one that another client has just started."""
    with _alone(folder):
        connection = _connect(folder)
        if connection is not None:
            return connection
        _listen(folder, version)
        started = _connect(folder)
    if started is None:
        raise RuntimeFault("the container launcher did not start", fix=f"see {folder}/{_LOG_NAME}")
    return started


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Make the run-time directory, and be the only one who starts a launcher there."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    status = os.stat(folder)
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise RuntimeFault(
            "the run-time directory belongs to somebody else or others can write to it",
            where=folder,
            fix=f"chown root {folder} && chmod 700 {folder}",
        )
    with open(f"{folder}/{LOCK_NAME}", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _listen(folder: str, version: str) -> None:
    """Start a launcher on a socket that takes connections already."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            address = f"/proc/self/fd/{handle}/{SOCKET_NAME}"
            with suppress(FileNotFoundError):
                os.unlink(f"{folder}/{SOCKET_NAME}")
            listener.bind(address)
            os.chmod(f"{folder}/{SOCKET_NAME}", 0o600)
        finally:
            os.close(handle)
        listener.listen(512)
        _spawn(folder, version, listener)


def _spawn(folder: str, version: str, listener: socket.socket) -> None:
    folder = os.path.abspath(folder)
    idle = os.environ.get("LADING_LAUNCHER_IDLE", _DEFAULT_IDLE)
    arguments = [
        f"{folder}/{SOCKET_NAME}",
        _program("launcher", settled=True),
        folder,
        version,
        idle,
    ]
    inherited = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    log = os.open(
        f"{folder}/{_LOG_NAME}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
    )
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    # Above 9, so that no target of a dup2 below is still needed as a source.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (null, log, listener.fileno())]
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", _program("detach"), *arguments],
            {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **inherited},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, high[0], 0),
                (os.POSIX_SPAWN_DUP2, high[0], 1),
                (os.POSIX_SPAWN_DUP2, high[1], 2),
                (os.POSIX_SPAWN_DUP2, high[2], 3),
            ],
            # Whoever starts it may hold signals back for a moment; it must not inherit that.
            setsigmask=(),
        )
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
    finally:
        for fd in (log, null, *high):
            os.close(fd)


def _program(module: str, *, settled: bool = False) -> str:
    """The text that runs a module of this package by its ``main``.

    ``settled`` says that what it loads stays, so that nobody need look for garbage among it.
    """
    source = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return (
        f"import gc, sys; {'gc.disable(); ' if settled else ''}"
        f"sys.path.insert(0, {source!r}); "
        f"from runtime.{module} import main; "
        "main(sys.argv[1:])"
    )
