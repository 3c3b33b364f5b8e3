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
from typing import Any

from runtime import constants as k
from runtime import protocol, remains, syscalls
from runtime.cgroups import Group, create, device_filter
from runtime.errors import RuntimeFault, from_oserror
from runtime.etc_writing import write_etc_files, write_hosts
from runtime.network.endpoint import Endpoint
from runtime.network.errors import NetworkFault
from runtime.network.ports import PortBinding
from runtime.plan import mount_points, scratch_slots
from runtime.relay import Relay
from runtime.request import ContainerRequest
from runtime.spare import (
    PARENT,
    Embryo,
    Holdings,
    attach_to,
    bridge_of,
    claim_named,
    fork,
    limit,
    suits,
)
from runtime.spec import Spec
from runtime.state import Stubs, clear_volatile, write_file
from runtime.warm import Warm


def serve(
    connection: socket.socket,
    message: dict[str, Any],
    fds: list[int],
    warm: Warm,
    holdings: Holdings,
    on_start: Callable[[], None],
) -> tuple[bool, str | None]:
    """Run one container for one client; returns when everything is cleaned up.

    ``on_start`` is called once the program has been executed. Returns whether this process is as it
    was before, so that it can serve another client, and the bridge which that one may want.
    """
    service = None
    try:
        service = _Service(connection, message, fds, warm, holdings)
        service.run(on_start)
    except RuntimeFault as fault:
        holdings.clean_up()
        _tell(connection, {"event": "fault", **fault.to_json()})
        return False, None
    except OSError as error:
        holdings.clean_up()
        refusal = from_oserror(error, "run the container")
        _tell(connection, {"event": "fault", **refusal.to_json()})
        return False, None
    except BaseException:
        holdings.clean_up()
        raise
    finally:
        holdings.close()
    return service.harmless, bridge_of(service.request)


class _Service:
    """One request on its way to its end."""

    def __init__(
        self,
        connection: socket.socket,
        message: dict[str, Any],
        fds: list[int],
        warm: Warm,
        holdings: Holdings,
    ) -> None:
        self._connection = connection
        self._message = message
        self._fds = fds
        self._warm = warm
        self._holdings = holdings
        self.request = ContainerRequest.from_json(message["request"])
        self._spec = Spec.from_json(message["request"]["spec"])
        self.harmless = True
        """Whether it left this process in its namespaces and as no other one's keeper."""

    def run(self, on_start: Callable[[], None]) -> None:
        """From the request to the exit.

        Raises:
            RuntimeFault, OSError: the container could not be started.
        """
        connection, holdings = self._connection, self._holdings
        early = suits(holdings, self.request, self._spec) and self._hand_over()
        if not early:
            holdings.discard_spares()
        self._follow_client()
        group = self._prepare()
        embryo = holdings.embryo
        if embryo is None:
            embryo = holdings.embryo = self._fork(group)
            protocol.send(embryo.channel, self._message, self._fds)
        stubs = None if holdings.stubs is None else holdings.stubs.path
        bridge = self._missing_bridge()
        prepared = {"group": [group.directories, group.links, group.version], "stubs": stubs}
        protocol.send(embryo.channel, {"event": "prepared", "go": bridge is None, **prepared})
        terminal = self._start(embryo, bridge, early=early)
        started = {"event": "started", "pid": embryo.pid, "endpoint": _describe(holdings.endpoint)}
        _tell(connection, started)
        on_start()
        code = _Supervision(connection, self.request, holdings).run(embryo, terminal)
        for fd in terminal or ():
            os.close(fd)
        oom = group.oom_kills() > 0
        holdings.clean_up(reuse=self.harmless)
        if self.request.exit_file is not None:
            _write_exit(self.request.exit_file, code)
        _tell(connection, {"event": "exited", "code": code, "oom": oom})

    def _hand_over(self) -> bool:
        """Give the request to the waiting first process, unless somebody killed it."""
        embryo = self._holdings.embryo
        if embryo is None:
            return False
        try:
            protocol.send(embryo.channel, self._message, self._fds)
        except OSError:
            return False
        return True

    def _follow_client(self) -> None:
        """See the mounts that the client sees; the launcher may live in another namespace."""
        namespace = self._fds[3]
        status = os.fstat(namespace)
        if (status.st_dev, status.st_ino) != self._warm.mount_namespace:
            self.harmless = False
            syscalls.setns(namespace, k.CLONE_NEWNS)

    def _prepare(self) -> Group:
        request, spec, holdings, warm = self.request, self._spec, self._holdings, self._warm
        state = claim_named(warm, holdings, request, scratch_slots(spec, request.secrets))
        holdings.rootfs = rootfs = request.rootfs
        path = spec.linux.cgroups_path or f"{request.cgroup_parent}/{request.id}"
        remains.note(
            state.path,
            groups=_groups(holdings.group, path),
            stubs=Stubs.place(rootfs, request.id) or "",
            work=rootfs.work if rootfs.volatile and rootfs.work is not None else "",
        )
        if rootfs.volatile and rootfs.work is not None:
            # The mark of a shim that was killed; what its container wrote was to be thrown away.
            clear_volatile(rootfs.work)
        binds = {mount.source for mount in spec.mounts if mount.type == "bind"}
        points = mount_points(
            spec,
            directories={source: os.path.isdir(source) for source in binds},
            etc_files=request.etc_names(),
            secrets=request.secrets,
        )
        holdings.stubs = Stubs.make(rootfs, request.id, points)
        if request.etc_files:
            write_etc_files(state.path, request, spec, holdings.endpoint)
        if holdings.group is None or holdings.standard is None:
            resources = spec.linux.resources
            filtered = device_filter.attach
            holdings.group = create(warm.layout, path, resources, attach_device_filter=filtered)
        else:
            holdings.group = holdings.group.renamed(request.id)
            limit(warm, holdings.group, spec.linux.resources, holdings.standard.linux.resources)
        return holdings.group

    def _fork(self, group: Group) -> Embryo:
        """Fork the first process into the pid namespace and cgroup v2 directory of its own."""
        namespace = self._spec.linux.namespace("pid")
        flags = 0
        if namespace is None:
            # Orphans of a container in the host's pid namespace must come to us, not to init.
            self.harmless = False
            syscalls.prctl(k.PR_SET_CHILD_SUBREAPER, 1)
        elif namespace.path is not None:
            self.harmless = False
            handle = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
            syscalls.setns(handle, k.CLONE_NEWPID)
            os.close(handle)
        else:
            flags = k.CLONE_NEWPID
        if group.unified is None:
            return fork(self._warm, flags, None, None)
        handle = os.open(group.unified, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return fork(self._warm, flags, handle, None)
        finally:
            os.close(handle)

    def _missing_bridge(self) -> str | None:
        """The bridge that the container is still to be connected to."""
        if self._holdings.endpoint is not None or self._spec.linux.namespace("network") is None:
            return None
        return bridge_of(self.request)

    def _start(
        self, embryo: Embryo, bridge: str | None, *, early: bool
    ) -> tuple[int, int, int] | None:
        """Follow the first process up to its exec, connecting it to ``bridge`` meanwhile.

        Returns the terminal's master and the client's ends, if there is a terminal.

        Raises:
            RuntimeFault: what the child could not do.
        """
        stdin, stdout, stderr, namespace = self._fds
        terminal = bool(self._message["terminal"])
        for fd in (stderr, namespace) if terminal else self._fds:
            os.close(fd)
        if not early:
            embryo.expect("namespaces")
        if bridge is not None:
            try:
                self._connect(embryo, bridge)
            except (OSError, NetworkFault):
                # A first process that failed has no network left; what it says is the reason.
                embryo.expect("ready")
                raise
        ready, fds = embryo.expect("ready")
        self._holdings.created = ready["created"]
        self._holdings.unmounting = fds[1:] if terminal else fds
        if bridge is not None:
            protocol.send(embryo.channel, {"event": "go"})
        received = embryo.receiver.receive()
        if received is not None:
            if received[0]["event"] == "fault":
                raise RuntimeFault.from_json(received[0])
            raise RuntimeFault("the container's first process broke the protocol")
        return (fds[0], stdin, stdout) if terminal else None

    def _connect(self, embryo: Embryo, bridge: str) -> None:
        request, holdings = self.request, self._holdings
        ports = [
            PortBinding(p.port, p.protocol, p.host_port, p.host_address, p.host_port_end)
            for p in request.ports
        ]
        holdings.endpoint = attach_to(embryo.pid, request.id, bridge, ports)
        if request.etc_files and holdings.state is not None:
            write_hosts(holdings.state.path, request, self._spec, holdings.endpoint)


def _groups(spare: Group | None, path: str) -> list[str]:
    """Control group paths that a sweep must look for: the container's, and its spare's name."""
    if spare is None:
        return [path]
    return [f"{PARENT}/{os.path.basename(spare.directories[0][1])}", path]


def _tell(connection: socket.socket, message: dict[str, Any]) -> None:
    with suppress(OSError):
        protocol.send(connection, message)


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


class _Supervision:
    """The time between exec and exit."""

    def __init__(
        self, connection: socket.socket, request: ContainerRequest, holdings: Holdings
    ) -> None:
        self._connection = connection
        self._receiver = protocol.Receiver(connection)
        self._request = request
        self._holdings = holdings
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
        status = embryo.reap()
        self._holdings.embryo = None
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
        if self._holdings.embryo is not None:
            self._holdings.embryo.kill(number)


def _resize(master: int, size: os.terminal_size) -> None:
    with suppress(OSError):
        fcntl.ioctl(master, k.TIOCSWINSZ, struct.pack("4H", size.lines, size.columns, 0, 0))


def _write_exit(path: str, code: int) -> None:
    temporary = f"{path}.new"
    write_file(temporary, f"{code}\n")
    os.rename(temporary, path)
