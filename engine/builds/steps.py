"""The builder's RUN steps on our runtime: an adapter from ``RunStep`` to a container.

Nothing is decided here that the builder has not decided. What the builder's Protocol asks for and
the runtime keeps: no mount point, hosts or resolv.conf file is left in the upper directory.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from builder import runner
from engine.builds.agent_socket import AgentSocket
from engine.builds.emulation import Emulation
from engine.processes import Pipes, follow
from records import replace
from runtime import defaults
from runtime.client import run as start
from runtime.request import ContainerRequest, Rootfs, SecretFile
from runtime.spec import Mount, Resources, Rlimit, Spec, default_spec

if TYPE_CHECKING:
    from builder.runner import OverlayMount, RunStep, SshMount, StepMount
    from engine.builds.cdi import Edits
    from images.platform import Platform

_KILL = 9
CDI_FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
"""Where this machine's devices are described; the later one goes first."""
_NETWORKS = {"default": "bridge"}


class ContainerSteps:
    """A ``builder.runner.StepRunner``; steps may run at the same time from different threads."""

    def __init__(self, runtime_dir: Path, stubs: Path | None = None) -> None:
        """``stubs`` is a directory of the store that steps may share; see ``Rootfs``."""
        self._runtime_dir = runtime_dir
        self._stubs = stubs

    def check(self, platform: Platform) -> None:
        """Whether commands of another platform can be run; raises as ``Emulation.check``."""
        Emulation().check(platform)

    def run(self, step: RunStep) -> int:
        """Run one step to its end; see ``StepRunner.run``.

        Raises:
            RuntimeFault: it could not be started.
        """
        out, err = (partial(step.output, stream) for stream in (runner.STDOUT, runner.STDERR))
        with ExitStack() as stack:
            sockets = ssh_sockets(step, self._runtime_dir, stack)
            request = make_request(step, sockets, stubs=self._stubs)
            pipes = stack.enter_context(Pipes(out, err))
            stdin, stdout, stderr = pipes.inside
            container = start(
                request, stdin=stdin, stdout=stdout, stderr=stderr, runtime_dir=self._runtime_dir
            )
            stack.enter_context(container)
            pipes.handed_over()
            stack.callback(step.cancellation.subscribe(partial(container.kill, _KILL)))
            return follow(container, pipes)


def ssh_sockets(step: RunStep, folder: Path, stack: ExitStack) -> dict[str, Path]:
    """Open a socket for every agent that a step mounts, for the life of ``stack``; by target."""
    return {
        mount.target: stack.enter_context(_agent(mount, folder))
        for mount in step.mounts
        if isinstance(mount, runner.SshMount)
    }


def make_request(
    step: RunStep, sockets: dict[str, Path] | None = None, *, stubs: Path | None = None
) -> ContainerRequest:
    """What the runtime is asked for; ``sockets`` maps targets of ssh mounts to host sockets."""
    return ContainerRequest(
        id=f"step-{os.urandom(12).hex()}",
        spec=make_spec(step, sockets or {}),
        rootfs=Rootfs(
            lower=tuple(str(lower) for lower in step.lower),
            upper=str(step.upper),
            work=str(step.work),
            volatile=True,
            stubs=None if stubs is None else str(stubs),
        ),
        network=_NETWORKS.get(step.network, step.network),
        user=step.user,
        hostname=step.hostname,
        hostname_file=False,
        extra_hosts=step.extra_hosts,
        secrets=tuple(
            SecretFile(mount.target, mount.content, mount.mode, mount.uid, mount.gid)
            for mount in step.mounts
            if isinstance(mount, runner.SecretMount)
        ),
        seccomp="unconfined" if step.security == "insecure" else "default",
        cgroup_parent=step.resources.cgroup_parent.strip("/") or "lading",
        dns=step.resources.dns.servers,
        dns_search=step.resources.dns.search,
        dns_options=step.resources.dns.options,
    )


def make_spec(step: RunStep, sockets: dict[str, Path]) -> Spec:
    """The runtime configuration: Docker's default one, with the step's mounts and limits."""
    emulator = () if step.platform is None else Emulation().mounts(step.platform)
    given = _devices(step)
    mounts = [
        _mount(mount, sockets)
        for mount in (*step.mounts, *emulator)
        if not isinstance(mount, runner.SecretMount)
    ]
    mounts += given.mounts
    limits = [
        Rlimit(f"RLIMIT_{limit.name.upper()}", limit.soft, limit.hard)
        for limit in step.resources.ulimits
    ]
    spec = default_spec(
        step.args,
        env=(*step.env, *given.env),
        cwd=step.cwd,
        privileged=step.security == "insecure",
        mounts=mounts,
        devices=given.devices,
        resources=_resources(step.resources),
        rlimits=limits,
        shm_size=step.resources.shm_size or defaults.SHM_SIZE,
        network=_NETWORKS.get(step.network, step.network),
    )
    taken = {mount.destination for mount in mounts}
    kept = tuple(m for m in spec.mounts if m in mounts or m.destination not in taken)
    return replace(spec, hostname=step.hostname, mounts=kept, hooks=given.hooks)


def _devices(step: RunStep) -> Edits:
    """What the devices of a step bring; those that are missing are told in its log."""
    from engine.builds.cdi import Edits, edits_of

    if not step.devices:
        return Edits()
    found = edits_of(step.devices, CDI_FOLDERS)
    for name in found.missing:
        step.output(runner.STDERR, f"lading: no device {name} is registered\n".encode())
    return found


def _resources(wanted: runner.Resources) -> Resources:
    """The limits of the control group."""
    return Resources(
        memory_limit=wanted.memory_limit,
        memory_swap=wanted.memory_swap,
        cpu_shares=wanted.cpu_shares,
        cpu_quota=wanted.cpu_quota,
        cpu_period=wanted.cpu_period,
        cpuset_cpus=wanted.cpuset_cpus,
        cpuset_mems=wanted.cpuset_mems,
    )


def _mount(mount: StepMount, sockets: dict[str, Path]) -> Mount:
    match mount:
        case runner.BindMount():
            access = ("ro",) if mount.read_only else ()
            part = (f"subpath={mount.subpath}",) if mount.subpath else ()
            options = ("rbind", "rprivate", *access, *part)
            return Mount(mount.target, "bind", str(mount.source), options)
        case runner.OverlayMount():
            return _overlay(mount)
        case runner.TmpfsMount():
            size = (f"size={mount.size}",) if mount.size else ()
            options = ("nosuid", "nodev", f"mode={mount.mode:o}", *size)
            return Mount(mount.target, "tmpfs", "tmpfs", options)
        case runner.SshMount():
            source = str(sockets.get(mount.target, mount.source))
            return Mount(mount.target, "bind", source, ("bind", "rprivate"))
        case runner.SecretMount():
            raise TypeError("secrets are files of the request, not mounts of the spec")


def _overlay(mount: OverlayMount) -> Mount:
    options = [f"lowerdir+={lower}" for lower in mount.lower]
    if mount.upper is not None and mount.work is not None:
        options += [f"upperdir={mount.upper}", f"workdir={mount.work}"]
    else:
        options.append("ro")
    if mount.subpath:
        options.append(f"subpath={mount.subpath}")
    return Mount(mount.target, "overlay", "overlay", tuple(options))


def _agent(mount: SshMount, folder: Path) -> AgentSocket:
    return AgentSocket(mount.source, folder, mode=mount.mode, uid=mount.uid, gid=mount.gid)
