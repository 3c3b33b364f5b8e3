"""One supervisor per container: it makes the container and outlives the client.

It receives the request, builds control groups and network, reports ``started`` and ``exited``,
passes on signals and terminal sizes, and takes everything away again: processes, control groups,
stubs, state. When the client vanishes, a container with ``kill_on_disconnect`` is killed, any other
one goes on.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from runtime import constants as k
from runtime import protocol, syscalls
from runtime.birth import is_standard
from runtime.cgroups import Group, device_filter
from runtime.cgroups import create as create_group
from runtime.container import be_born
from runtime.errors import RuntimeFault, from_oserror
from runtime.etc_files import hosts, names_only_resolved, resolv_conf
from runtime.network.endpoint import Endpoint, attach, detach
from runtime.network.ports import PortBinding
from runtime.plan import mount_points, scratch_slots
from runtime.relay import Relay
from runtime.request import ContainerRequest, Rootfs
from runtime.spec import Spec
from runtime.state import (
    StateDirectory,
    Stubs,
    claim,
    clear_volatile,
    remove_created,
    write_file,
)
from runtime.warm import Warm

_RESOLV_CONF: Final = "/etc/resolv.conf"
_RESOLVED_CONF: Final = "/run/systemd/resolve/resolv.conf"


@dataclass(slots=True)
class _Resources:
    """What must be taken away again, in the order it came to be."""

    state: StateDirectory | None = None
    stubs: Stubs | None = None
    group: Group | None = None
    endpoint: Endpoint | None = None
    rootfs: Rootfs | None = None
    created: list[str] = field(default_factory=list)
    embryo: Embryo | None = None


@dataclass(frozen=True, slots=True)
class Embryo:
    """A forked first process that waits for its request on the other end of ``channel``."""

    pid: int
    pidfd: int
    channel: socket.socket


def fork_embryo(warm: Warm) -> Embryo | None:
    """Fork a first process ahead of its request; None where it must be born in its cgroup."""
    if warm.layout.version == 2:
        return None
    return _fork(warm, k.CLONE_NEWPID, None, early=True)


def _fork(warm: Warm, flags: int, cgroup: int | None, *, early: bool) -> Embryo:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    pid, pidfd = syscalls.clone3(flags, cgroup=cgroup)
    if pid == 0:
        be_born(theirs, warm, early=early)
    theirs.close()
    return Embryo(pid, pidfd, ours)


def serve(
    connection: socket.socket,
    message: dict[str, Any],
    fds: list[int],
    warm: Warm,
    embryo: Embryo | None,
    on_start: Callable[[], None],
) -> None:
    """Run one container for one client; returns when everything is cleaned up.

    ``on_start`` is called once the program has been executed.
    """
    resources = _Resources(embryo=embryo)
    try:
        _serve(connection, message, fds, warm, resources, on_start)
    except RuntimeFault as fault:
        _clean_up(resources)
        _tell(connection, {"event": "fault", **fault.to_json()})
    except OSError as error:
        _clean_up(resources)
        refusal = from_oserror(error, "run the container")
        _tell(connection, {"event": "fault", **refusal.to_json()})
    finally:
        _clean_up(resources)


def _serve(
    connection: socket.socket,
    message: dict[str, Any],
    fds: list[int],
    warm: Warm,
    resources: _Resources,
    on_start: Callable[[], None],
) -> None:
    request = ContainerRequest.from_json(message["request"])
    spec = Spec.from_json(message["request"]["spec"])
    embryo = resources.embryo
    if embryo is not None and is_standard(spec):
        protocol.send(embryo.channel, message, fds)
    else:
        _discard(resources)
        embryo = None
    _follow_client(fds[3], warm)
    group = _prepare(request, spec, warm, resources)
    if embryo is None:
        embryo = resources.embryo = _fork_for(spec, warm, group)
        protocol.send(embryo.channel, message, fds)
    prepared = {
        "group": [group.directories, group.links, group.version],
        "stubs": None if resources.stubs is None else resources.stubs.path,
    }
    protocol.send(embryo.channel, {"event": "prepared", **prepared})
    stdin, stdout, stderr, _ = fds
    for fd in (stderr,) if message["terminal"] else (stdin, stdout, stderr):
        os.close(fd)
    master = _raise_child(embryo, request, spec, resources)
    started = {"event": "started", "pid": embryo.pid, "endpoint": _describe(resources.endpoint)}
    _tell(connection, started)
    on_start()
    loop = _Supervision(connection, request, resources)
    code = loop.run(embryo, None if master is None else (master, stdin, stdout))
    oom = group.oom_kills() > 0
    _clean_up(resources)
    if request.exit_file is not None:
        _write_exit(request.exit_file, code)
    _tell(connection, {"event": "exited", "code": code, "oom": oom})


def _tell(connection: socket.socket, message: dict[str, Any]) -> None:
    with suppress(OSError):
        protocol.send(connection, message)


def _follow_client(namespace: int, warm: Warm) -> None:
    """See the mounts that the client sees; the launcher may live in another namespace."""
    status = os.fstat(namespace)
    if (status.st_dev, status.st_ino) != warm.mount_namespace:
        syscalls.setns(namespace, k.CLONE_NEWNS)


def _prepare(request: ContainerRequest, spec: Spec, warm: Warm, resources: _Resources) -> Group:
    slots = scratch_slots(spec, request.secrets)
    resources.state = state = claim(warm.runtime_dir, request.id, slots)
    resources.rootfs = rootfs = request.rootfs
    if rootfs.volatile and rootfs.work is not None:
        # The mark of a shim that was killed; what its container wrote was going to be thrown away.
        clear_volatile(rootfs.work)
    binds = {mount.source for mount in spec.mounts if mount.type == "bind"}
    points = mount_points(
        spec,
        directories={source: os.path.isdir(source) for source in binds},
        etc_files=request.etc_files,
        secrets=request.secrets,
    )
    resources.stubs = Stubs.make(rootfs, request.id, points)
    if request.etc_files:
        # With a network, hosts is written again, in place, when the address is known.
        _write_etc_files(state.path, request, spec)
    path = spec.linux.cgroups_path or f"{request.cgroup_parent}/{request.id}"
    resources.group = group = create_group(
        warm.layout, path, spec.linux.resources, attach_device_filter=device_filter.attach
    )
    return group


def _fork_for(spec: Spec, warm: Warm, group: Group) -> Embryo:
    """Fork the first process into the pid namespace and cgroup v2 directory of its own."""
    namespace = spec.linux.namespace("pid")
    flags = 0
    if namespace is None:
        # Orphans of a container in the host's pid namespace must come to us, not to init.
        syscalls.prctl(k.PR_SET_CHILD_SUBREAPER, 1)
    elif namespace.path is not None:
        handle = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
        syscalls.setns(handle, k.CLONE_NEWPID)
        os.close(handle)
    else:
        flags = k.CLONE_NEWPID
    if group.unified is None:
        return _fork(warm, flags, None, early=False)
    handle = os.open(group.unified, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _fork(warm, flags, handle, early=False)
    finally:
        os.close(handle)


def _discard(resources: _Resources) -> None:
    """Kill and reap the first process, if there is one."""
    embryo, resources.embryo = resources.embryo, None
    if embryo is not None:
        _kill(embryo, signal.SIGKILL)
        os.waitpid(embryo.pid, 0)
        embryo.channel.close()


def _raise_child(
    embryo: Embryo, request: ContainerRequest, spec: Spec, resources: _Resources
) -> int | None:
    """Follow the first process up to its exec; returns the terminal's master, if there is one.

    Raises:
        RuntimeFault: what the child could not do.
    """
    receiver = protocol.Receiver(embryo.channel)
    _expect(receiver, "namespaces")
    if request.network not in ("none", "host") and spec.linux.namespace("network") is not None:
        resources.endpoint = _attach_network(request, embryo.pid)
        if request.etc_files and resources.state is not None:
            _write_hosts(resources.state.path, request, spec, resources.endpoint)
    ready, fds = _expect(receiver, "ready")
    resources.created = ready["created"]
    protocol.send(embryo.channel, {"event": "go"})
    received = receiver.receive()
    if received is not None:
        if received[0]["event"] == "fault":
            raise RuntimeFault.from_json(received[0])
        raise RuntimeFault("the container's first process broke the protocol")
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


def _write_hosts(
    folder: str, request: ContainerRequest, spec: Spec, endpoint: Endpoint | None
) -> None:
    shares = spec.linux.namespace("network") is None
    text = hosts(
        hostname=request.hostname or spec.hostname,
        domainname=spec.domainname,
        address=None if endpoint is None else endpoint.address,
        extra=request.extra_hosts,
        gateway=endpoint.gateway if endpoint is not None else "127.0.0.1" if shares else None,
    )
    write_file(f"{folder}/hosts", text)


def _write_etc_files(folder: str, request: ContainerRequest, spec: Spec) -> None:
    hostname = request.hostname or spec.hostname
    write_file(f"{folder}/hostname", f"{hostname}\n" if hostname else "")
    if request.network in ("none", "host"):
        _write_hosts(folder, request, spec, None)
    else:
        write_file(f"{folder}/hosts", "")
    text = resolv_conf(
        _host_resolv_conf(),
        nameservers=request.dns,
        search=request.dns_search,
        options=request.dns_options,
        shares_host_network=spec.linux.namespace("network") is None,
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

    def run(self, embryo: Embryo, terminal: tuple[int, int, int] | None) -> int:
        """Wait for the end of the first process and return its exit code (128 + n for signal n)."""
        if terminal is not None:
            self._master, stdin, stdout = terminal
            self._relay = Relay(self._poller, master=self._master, stdin=stdin, stdout=stdout)
        self._poller.register(embryo.pidfd, select.POLLIN)
        self._poller.register(self._connection, select.POLLIN)
        while True:
            for fd, events in self._poller.poll():
                if fd == embryo.pidfd:
                    return self._reap(embryo)
                if self._relay is not None and self._relay.handles(fd):
                    self._relay.step(fd, events)
                elif fd == self._connection.fileno():
                    self._obey()

    def _reap(self, embryo: Embryo) -> int:
        if self._relay is not None:
            self._relay.drain()
        _, status = os.waitpid(embryo.pid, 0)
        self._resources.embryo = None
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
            self._signal(signal.SIGKILL)

    def _command(self, message: dict[str, Any]) -> None:
        match message.get("operation"):
            case "kill":
                self._signal(int(message["signal"]))
            case "resize" if self._master >= 0:
                size = os.terminal_size((int(message["columns"]), int(message["rows"])))
                _resize(self._master, size)
            case _:
                return

    def _signal(self, number: int) -> None:
        if self._resources.embryo is not None:
            _kill(self._resources.embryo, number)


def _kill(embryo: Embryo, number: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(embryo.pidfd, number)


def _resize(master: int, size: os.terminal_size) -> None:
    with suppress(OSError):
        fcntl.ioctl(master, k.TIOCSWINSZ, struct.pack("4H", size.lines, size.columns, 0, 0))


def _clean_up(resources: _Resources) -> None:
    """Take everything away; what is gone already is skipped, so a second call does nothing."""
    _discard(resources)
    if resources.group is not None:
        group, resources.group = resources.group, None
        group.remove()
    if resources.endpoint is not None:
        endpoint, resources.endpoint = resources.endpoint, None
        detach(endpoint)
    if resources.stubs is not None:
        stubs, resources.stubs = resources.stubs, None
        stubs.remove()
    if resources.rootfs is not None:
        rootfs, resources.rootfs = resources.rootfs, None
        written = rootfs.upper or rootfs.path
        if resources.created and written is not None:
            remove_created(written, resources.created)
        if rootfs.volatile and rootfs.work is not None:
            clear_volatile(rootfs.work)
    if resources.state is not None:
        state, resources.state = resources.state, None
        state.remove()


def _write_exit(path: str, code: int) -> None:
    temporary = f"{path}.new"
    write_file(temporary, f"{code}\n")
    os.rename(temporary, path)
