"""One supervisor per container: forked from the launcher, it forks the container and outlives the
client.

It receives the request, builds control groups and network, reports ``started`` and ``exited``,
passes on signals and terminal sizes, and takes everything away again: processes, control groups,
stubs, state. When the client vanishes, a container with ``kill_on_disconnect`` is killed, any other
one goes on.
"""

from __future__ import annotations

import fcntl
import os
import platform
import select
import shutil
import signal
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from runtime import constants as k
from runtime import protocol, syscalls
from runtime.cgroups import Group, Layout
from runtime.cgroups import create as create_group
from runtime.config import Spec
from runtime.container import Birth, be_born
from runtime.errors import RuntimeFault, from_oserror
from runtime.etc_files import hosts, names_only_resolved, resolv_conf
from runtime.network.endpoint import Endpoint, attach, detach
from runtime.network.ports import PortBinding
from runtime.plan import ETC_FILES, Places, mount_points, plan, scratch_count
from runtime.process import narrow
from runtime.relay import Relay
from runtime.request import ContainerRequest
from runtime.seccomp import compile_filter, default_profile, oci_profile
from runtime.state import (
    StateDirectory,
    claim,
    clear_volatile,
    make_stubs,
    remove_created,
    write_file,
)

_RESOLV_CONF: Final = "/etc/resolv.conf"
_RESOLVED_CONF: Final = "/run/systemd/resolve/resolv.conf"


@dataclass(frozen=True, slots=True)
class Warm:
    """What the launcher worked out once for all its shims."""

    runtime_dir: str
    layout: Layout
    held: int
    filters: dict[tuple[str, ...], bytes]
    """Compiled default filters by effective capabilities."""
    mount_namespace: tuple[int, int]


@dataclass(slots=True)
class _Resources:
    """What must be taken away again, in the order it came to be."""

    state: StateDirectory | None = None
    stubs: str | None = None
    group: Group | None = None
    endpoint: Endpoint | None = None
    created: list[str] = field(default_factory=list)
    pidfd: int = -1
    pid: int = 0


def serve(connection: socket.socket, message: dict[str, Any], fds: list[int], warm: Warm) -> None:
    """Run one container for one client; returns when everything is cleaned up."""
    resources = _Resources()
    try:
        _serve(connection, message, fds, warm, resources)
    except RuntimeFault as fault:
        _tell(connection, {"event": "fault", **fault.to_json()})
    except OSError as error:
        refusal = from_oserror(error, "run the container")
        _tell(connection, {"event": "fault", **refusal.to_json()})
    finally:
        _clean_up(resources, None)


def _serve(
    connection: socket.socket,
    message: dict[str, Any],
    fds: list[int],
    warm: Warm,
    resources: _Resources,
) -> None:
    request = ContainerRequest.from_json(message["request"])
    spec = Spec.from_json(message["request"]["spec"])
    terminal = bool(message["terminal"])
    stdin, stdout, stderr, namespace = fds
    _follow_client(namespace, warm)
    channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    birth = _prepare(request, spec, warm, resources, (stdin, stdout, stderr), terminal=terminal)
    _fork(birth, channel, theirs, connection, resources)
    for fd in (stderr,) if terminal else (stdin, stdout, stderr):
        os.close(fd)
    master = _raise_child(channel, request, spec, warm, resources)
    started = {"event": "started", "pid": resources.pid, "endpoint": _describe(resources.endpoint)}
    _tell(connection, started)
    loop = _Supervision(connection, request, resources)
    code = loop.run((master, stdin, stdout) if terminal and master is not None else None)
    oom = resources.group is not None and resources.group.oom_kills() > 0
    _clean_up(resources, request)
    if request.exit_file is not None:
        _write_exit(request.exit_file, code)
    _tell(connection, {"event": "exited", "code": code, "oom": oom})


def _tell(connection: socket.socket, message: dict[str, Any]) -> None:
    with suppress(OSError):
        protocol.send(connection, message)


def _follow_client(namespace: int, warm: Warm) -> None:
    """See the mounts that the client sees; the launcher may be older than some of them."""
    status = os.fstat(namespace)
    if (status.st_dev, status.st_ino) != warm.mount_namespace:
        syscalls.setns(namespace, k.CLONE_NEWNS)
    os.close(namespace)


def _prepare(
    request: ContainerRequest,
    spec: Spec,
    warm: Warm,
    resources: _Resources,
    stdio: tuple[int, int, int],
    *,
    terminal: bool,
) -> Birth:
    scratch = scratch_count(spec, request.secrets)
    resources.state = state = claim(warm.runtime_dir, request.id, scratch=scratch)
    binds = {mount.source for mount in spec.mounts if mount.type == "bind"}
    points = mount_points(
        spec,
        directories={source: os.path.isdir(source) for source in binds},
        etc_files=request.etc_files,
        secrets=request.secrets,
    )
    resources.stubs = make_stubs(request.rootfs, request.id, points)
    if request.etc_files:
        for name in ETC_FILES:
            write_file(f"{state.path}/{name}", "")
    path = spec.linux.cgroups_path or f"{request.cgroup_parent}/{request.id}"
    resources.group = group = create_group(warm.layout, path, spec.linux.resources)
    mounted = [entry for entry in group.directories if entry[0] != "unified"]
    places = Places(
        state.path,
        tuple(mounted) or tuple(("", directory) for _, directory in group.directories),
        group.links,
        resources.stubs,
    )
    operations = plan(
        spec,
        request.rootfs,
        places,
        etc_files=request.etc_files,
        secrets=request.secrets,
        terminal=terminal,
    )
    return Birth(
        request=request,
        spec=spec,
        operations=operations,
        mountpoint=f"{state.path}/rootfs",
        group=group,
        privileges=narrow(spec.process.capabilities, warm.held),
        seccomp=_filter(request, spec, warm),
        stdio=stdio,
        terminal=terminal,
    )


def _filter(request: ContainerRequest, spec: Spec, warm: Warm) -> bytes | None:
    if request.seccomp == "unconfined":
        return None
    if request.seccomp == "spec":
        if spec.linux.seccomp is None:
            return None
        return compile_filter(oci_profile(spec.linux.seccomp), platform.machine())
    names = spec.process.capabilities.effective
    if names not in warm.filters:
        warm.filters[names] = compile_filter(default_profile(names), platform.machine())
    return warm.filters[names]


def _fork(
    birth: Birth,
    channel: socket.socket,
    theirs: socket.socket,
    connection: socket.socket,
    resources: _Resources,
) -> None:
    """Fork the container's first process into its pid namespace."""
    namespace = birth.spec.linux.namespace("pid")
    if namespace is not None and namespace.path is not None:
        handle = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
        syscalls.setns(handle, k.CLONE_NEWPID)
        os.close(handle)
    elif namespace is not None:
        syscalls.unshare(k.CLONE_NEWPID)
    else:
        # Orphans of a container in the host's pid namespace must come to us, not to init.
        syscalls.prctl(k.PR_SET_CHILD_SUBREAPER, 1)
    resources.pid = os.fork()
    if resources.pid == 0:
        channel.close()
        connection.close()
        be_born(birth, theirs)
    theirs.close()
    resources.pidfd = os.pidfd_open(resources.pid)


def _raise_child(
    channel: socket.socket,
    request: ContainerRequest,
    spec: Spec,
    warm: Warm,
    resources: _Resources,
) -> int | None:
    """Follow the first process up to its exec; returns the terminal's master, if there is one.

    Raises:
        RuntimeFault: what the child could not do.
    """
    receiver = protocol.Receiver(channel)
    _expect(receiver, "namespaces")
    if request.network not in ("none", "host") and spec.linux.namespace("network") is not None:
        resources.endpoint = _attach_network(request, resources.pid)
    if request.etc_files and resources.state is not None:
        _write_etc_files(resources.state.path, request, spec, resources.endpoint)
    ready, fds = _expect(receiver, "ready")
    resources.created = ready["created"]
    protocol.send(channel, {"event": "go"})
    if receiver.receive() is not None:
        raise RuntimeFault("the container's first process broke the protocol")
    channel.close()
    return fds[0] if fds else None


def _expect(receiver: protocol.Receiver, event: str) -> tuple[dict[str, Any], list[int]]:
    received = receiver.receive()
    if received is None:
        raise RuntimeFault("the container's first process died before it could start")
    message, fds = received
    if message["event"] == "fault":
        raise RuntimeFault.from_json(message)
    if message["event"] != event:
        raise RuntimeFault("the container's first process broke the protocol")
    return message, fds


def _attach_network(request: ContainerRequest, pid: int) -> Endpoint:
    ports = [
        PortBinding(p.port, p.protocol, p.host_port, p.host_address, p.host_port_end)
        for p in request.ports
    ]
    handle = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if request.network == "bridge":
            return attach(handle, identifier=request.id, ports=ports)
        return attach(handle, identifier=request.id, bridge=request.network, ports=ports)
    finally:
        os.close(handle)


def _describe(endpoint: Endpoint | None) -> dict[str, Any] | None:
    if endpoint is None:
        return None
    return {
        "bridge": endpoint.bridge,
        "address": endpoint.address,
        "prefix_length": endpoint.prefix_length,
        "gateway": endpoint.gateway,
        "mtu": endpoint.mtu,
        "hardware_address": endpoint.hardware_address,
        "ports": [
            [port.port, port.protocol, port.host_port, port.host_address] for port in endpoint.ports
        ],
    }


def _write_etc_files(
    folder: str, request: ContainerRequest, spec: Spec, endpoint: Endpoint | None
) -> None:
    hostname = request.hostname or spec.hostname
    shares = spec.linux.namespace("network") is None
    write_file(f"{folder}/hostname", f"{hostname}\n" if hostname else "")
    text = hosts(
        hostname=hostname,
        domainname=spec.domainname,
        address=None if endpoint is None else endpoint.address,
        extra=request.extra_hosts,
        gateway=endpoint.gateway if endpoint is not None else "127.0.0.1" if shares else None,
    )
    write_file(f"{folder}/hosts", text)
    text = resolv_conf(
        _host_resolv_conf(),
        nameservers=request.dns,
        search=request.dns_search,
        options=request.dns_options,
        shares_host_network=shares,
    )
    write_file(f"{folder}/resolv.conf", text)


def _host_resolv_conf() -> str:
    text = _read_text(_RESOLV_CONF)
    return _read_text(_RESOLVED_CONF) or text if names_only_resolved(text) else text


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return ""


class _Supervision:
    """The time between exec and exit."""

    def __init__(
        self, connection: socket.socket, request: ContainerRequest, resources: _Resources
    ) -> None:
        self._connection = connection
        self._receiver = protocol.Receiver(connection)
        self._request = request
        self._resources = resources
        self._poller = select.poll()
        self._relay: Relay | None = None
        self._master = -1

    def run(self, terminal: tuple[int, int, int] | None) -> int:
        """Wait for the end of the first process and return its exit code (128 + n for signal n)."""
        if terminal is not None:
            self._master, stdin, stdout = terminal
            self._relay = Relay(self._poller, master=self._master, stdin=stdin, stdout=stdout)
        self._poller.register(self._resources.pidfd, select.POLLIN)
        self._poller.register(self._connection, select.POLLIN)
        while True:
            for fd, events in self._poller.poll():
                if fd == self._resources.pidfd:
                    return self._reap()
                if self._relay is not None and self._relay.handles(fd):
                    self._relay.step(fd, events)
                elif fd == self._connection.fileno():
                    self._obey()

    def _reap(self) -> int:
        if self._relay is not None:
            self._relay.drain()
        _, status = os.waitpid(self._resources.pid, 0)
        self._resources.pid = 0
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def _obey(self) -> None:
        try:
            received = self._receiver.receive()
        except (OSError, ValueError):
            received = None
        while received is not None:
            self._command(received[0])
            pending = self._receiver.pending()
            if pending is None:
                return
            received = pending, []
        self._poller.unregister(self._connection)
        if self._request.kill_on_disconnect:
            _kill(self._resources, signal.SIGKILL)

    def _command(self, message: dict[str, Any]) -> None:
        match message.get("operation"):
            case "kill":
                _kill(self._resources, int(message["signal"]))
            case "resize" if self._master >= 0:
                size = os.terminal_size((int(message["columns"]), int(message["rows"])))
                _resize(self._master, size)
            case _:
                return


def _kill(resources: _Resources, number: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(resources.pidfd, number)


def _resize(master: int, size: os.terminal_size) -> None:
    with suppress(OSError):
        fcntl.ioctl(master, k.TIOCSWINSZ, struct.pack("4H", size.lines, size.columns, 0, 0))


def _clean_up(resources: _Resources, request: ContainerRequest | None) -> None:
    """Take everything away; what is gone already is skipped, so a second call does nothing."""
    if resources.pid:
        _kill(resources, signal.SIGKILL)
        os.waitpid(resources.pid, 0)
        resources.pid = 0
    if resources.group is not None:
        group, resources.group = resources.group, None
        group.remove()
    if resources.endpoint is not None:
        endpoint, resources.endpoint = resources.endpoint, None
        detach(endpoint)
    if resources.stubs is not None:
        stubs, resources.stubs = resources.stubs, None
        shutil.rmtree(stubs, ignore_errors=True)
    if request is not None:
        if resources.created:
            remove_created(request.rootfs.upper or request.rootfs.path or "", resources.created)
        if request.rootfs.volatile and request.rootfs.work is not None:
            clear_volatile(request.rootfs.work)
    if resources.state is not None:
        state, resources.state = resources.state, None
        state.remove()


def _write_exit(path: str, code: int) -> None:
    temporary = f"{path}.new"
    write_file(temporary, f"{code}\n")
    os.rename(temporary, path)
