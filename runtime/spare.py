"""What a shim holds for its container, and what of it can be made before anybody asks.

A waiting shim has a state directory and control groups under a name of its own, a first process
with its namespaces and standard mounts, and, where its last container had one, a place on a bridge.
Directory and groups take the container's name when it is known; rename(2) costs less than making
them. A group of cgroup v2 cannot be renamed, and its first process must be born in it, so there
nothing is made ahead.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from records import Record, replace
from runtime import constants as k
from runtime import protocol, remains, syscalls
from runtime.birth import is_standard
from runtime.cgroups import Group, create
from runtime.config import Resources, Spec
from runtime.container import Cradle, be_born
from runtime.errors import RuntimeFault
from runtime.network.bridge import DEFAULT_BRIDGE
from runtime.network.endpoint import Endpoint, attach, detach
from runtime.network.errors import NetworkFault
from runtime.network.ports import PortBinding
from runtime.request import ContainerRequest, Rootfs
from runtime.spec import default_spec
from runtime.state import (
    CLAIM_ATTEMPTS,
    CLAIM_SECONDS,
    StateDirectory,
    Stubs,
    busy,
    claim,
    remove_created,
    spare_name,
)
from runtime.warm import Warm

PARENT: Final = "lading"
"""The control group that holds those of all containers, unless a request names another."""


class Embryo(Record):
    """A forked first process that waits for its request on the other end of ``channel``."""

    pid: int
    pidfd: int
    channel: socket.socket
    receiver: protocol.Receiver

    def expect(self, event: str) -> tuple[dict[str, Any], list[int]]:
        """The next message, which must be ``event``, and the descriptors beside it.

        Raises:
            RuntimeFault: it died, or what it says of its failure.
        """
        try:
            received = self.receiver.receive()
        except ConnectionResetError:
            received = None
        if received is None:
            raise RuntimeFault("the container's first process died before it could start")
        message, fds = received
        if message["event"] == "fault":
            raise RuntimeFault.from_json(message)
        if message["event"] != event:
            raise RuntimeFault("the container's first process broke the protocol")
        return message, fds

    def kill(self, number: int) -> None:
        """Send it a signal, unless it is gone."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def reap(self) -> int:
        """Wait for its end; returns the status of waitpid(2)."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.channel.close()
        return status


class Holdings:
    """What must be taken away again, in the order it came to be."""

    def __init__(self, state: StateDirectory | None = None) -> None:
        self.state = state
        self.stubs: Stubs | None = None
        self.group: Group | None = None
        self.endpoint: Endpoint | None = None
        self.rootfs: Rootfs | None = None
        self.created: list[str] = []
        self.embryo: Embryo | None = None
        self.standard: Spec | None = None
        """What group and embryo were made for ahead of the request."""
        self.detached: list[Endpoint] = []
        self.unmounting: list[int] = []
        """Descriptors of mounts that hang nowhere: closing the last one unmounts."""

    def discard_embryo(self) -> None:
        """Kill and reap the first process, if there is one."""
        embryo, self.embryo = self.embryo, None
        if embryo is not None:
            embryo.kill(signal.SIGKILL)
            embryo.reap()

    def discard_spares(self) -> None:
        """Give up what was made ahead, except the state directory."""
        self.standard = None
        self.discard_embryo()
        self._remove_group()
        self._detach()

    def clean_up(self, *, reuse: bool = False) -> None:
        """Take everything away; what is gone already is skipped, so a second call does nothing.

        With ``reuse`` the state directory stays, under another name. The mark of a volatile
        overlay stays for whoever mounts it again: most are thrown away.
        """
        self.discard_embryo()
        self._remove_group()
        self._detach()
        if self.stubs is not None:
            stubs, self.stubs = self.stubs, None
            stubs.remove()
        if self.rootfs is not None:
            rootfs, self.rootfs = self.rootfs, None
            written = rootfs.upper or rootfs.path
            if self.created and written is not None:
                remove_created(written, self.created)
        if self.state is not None:
            state, self.state = self.state, None
            if reuse:
                self.state = state.emptied()
            else:
                state.remove()

    def close(self) -> None:
        """Close what may wait for the kernel; see ``Endpoint.close``."""
        while self.detached:
            self.detached.pop().close()
        while self.unmounting:
            os.close(self.unmounting.pop())

    def _remove_group(self) -> None:
        if self.group is not None:
            group, self.group = self.group, None
            group.remove()

    def _detach(self) -> None:
        if self.endpoint is not None:
            endpoint, self.endpoint = self.endpoint, None
            detach(endpoint)
            self.detached.append(endpoint)


def prepare(
    warm: Warm,
    hot: Sequence[tuple[int, int]] = (),
    *,
    state: StateDirectory | None = None,
    bridge: str | None = None,
) -> Holdings:
    """Make ahead what can be; ``bridge`` is the one the next container will probably want.

    ``state`` is the directory of the container before. ``hot`` is the memory that this process will
    write to: having forked, it shares it.

    Raises:
        RuntimeFault, OSError: this machine refuses what every container needs.
    """
    holdings = Holdings(state)
    if state is not None:
        state.forget_etc_files()
    if warm.layout.version == 2:
        return holdings
    try:
        if state is None:
            holdings.state = state = claim(warm.runtime_dir, spare_name(), ())
        name = os.path.basename(state.path)
        remains.note(state.path, groups=[f"{PARENT}/{name}"])
        standard = default_spec([])
        holdings.group = create(warm.layout, f"{PARENT}/{name}", standard.linux.resources)
        cradle = Cradle(standard, holdings.group, state.path)
        holdings.embryo = fork(warm, k.CLONE_NEWPID, None, cradle)
        syscalls.madvise_populate_write(hot)
        holdings.embryo.expect("rested")
        if bridge is not None:
            # Whoever wants it tries again, and is told.
            with suppress(NetworkFault):
                holdings.endpoint = attach_to(holdings.embryo.pid, name, bridge)
        holdings.standard = standard
    except BaseException:
        holdings.clean_up()
        raise
    return holdings


def fork(warm: Warm, flags: int, cgroup: int | None, cradle: Cradle | None) -> Embryo:
    """Fork a first process; see ``runtime.container``."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    pid, pidfd = syscalls.clone3(flags, cgroup=cgroup)
    if pid == 0:
        be_born(theirs, warm, cradle)
    theirs.close()
    return Embryo(pid, pidfd, ours, protocol.Receiver(ours))


def attach_to(
    pid: int, identifier: str, bridge: str, ports: Sequence[PortBinding] = ()
) -> Endpoint:
    """Give the network namespace of a process a place on ``bridge``; raises as ``attach``."""
    handle = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return attach(handle, identifier=identifier, bridge=bridge, ports=ports)
    finally:
        os.close(handle)


def claim_named(
    warm: Warm, holdings: Holdings, request: ContainerRequest, slots: list[int]
) -> StateDirectory:
    """Give the state directory the container's name, or make it.

    Raises:
        RuntimeFault: ``busy``; a live container has this id.
    """
    if holdings.state is None:
        holdings.state = claim(warm.runtime_dir, request.id, slots)
        return holdings.state
    for _ in range(CLAIM_ATTEMPTS):
        try:
            holdings.state = holdings.state.renamed(request.id, slots)
        except FileExistsError as error:
            if not remains.clear(str(error.filename), warm.layout):
                # Alive, or just being swept.
                time.sleep(CLAIM_SECONDS)
        else:
            return holdings.state
    raise busy(request.id)


def bridge_of(request: ContainerRequest) -> str | None:
    """The bridge that a container wants to be on."""
    if request.network in ("none", "host"):
        return None
    return DEFAULT_BRIDGE if request.network == "bridge" else request.network


def suits(holdings: Holdings, request: ContainerRequest, spec: Spec) -> bool:
    """Whether the first process, its control groups and its network can become this container's."""
    endpoint = holdings.endpoint
    if endpoint is not None and (request.ports or endpoint.bridge != bridge_of(request)):
        return False
    return (
        holdings.standard is not None
        and is_standard(spec, holdings.standard)
        and request.cgroup_parent.strip("/") == PARENT
        and not spec.linux.cgroups_path
    )


def limit(warm: Warm, group: Group, wanted: Resources, standard: Resources) -> None:
    """Set the limits that a group made for ``standard`` lacks; raises as ``Group.limit``."""
    same = wanted.devices == standard.devices
    group.limit(warm.layout, replace(wanted, devices=()) if same else wanted)
