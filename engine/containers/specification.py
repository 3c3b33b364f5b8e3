"""From flags and an image's config to what the runtime is asked for. Reads no image content.

The rules are Docker's: an entrypoint flag drops the image's command; environment is PATH, HOSTNAME,
TERM, the image's, the user's, later ones winning; a volume flag wins over the image's volume of the
same path.

What reads a flag is imported when the flag is given: most starts have few.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence

from engine.containers.errors import ContainerError
from engine.options import environment, isolation
from engine.options.errors import OptionError
from engine.run_options import PULL_POLICIES, RunOptions
from records import Record
from runtime.request import ContainerRequest, Port, Rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from engine.containers.devices import Node, Rule
    from engine.options.mounts import MountOption

_NAMESPACES = ("pid", "ipc", "uts")
_LIMITS = (
    "memory",
    "memory_swap",
    "memory_reservation",
    "cpus",
    "cpu_shares",
    "cpu_period",
    "cpu_quota",
    "cpuset_cpus",
    "cpuset_mems",
    "pids_limit",
)


RuntimeMount: TypeAlias = tuple[str, str, str, tuple[str, ...]]
"""Destination, type, source, options: the fields of ``runtime.config.Mount``."""


class Plan(Record):
    """Everything that was decided before anything is made: flags read, image config merged."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str
    hostname: str
    domainname: str
    network: str
    mounts: tuple[MountOption, ...]
    ports: tuple[Port, ...]
    stop_signal: int
    labels: Mapping[str, str]
    security: isolation.Security


def check(options: RunOptions) -> None:
    """Refuse what needs no image to be refused.

    Raises:
        OptionError: flags that exclude each other, or that this version does not do.
    """
    if options.detach:
        raise OptionError(
            "detached containers are not supported",
            where="--detach",
            fix="run it in the foreground, or under your service manager",
        )
    if options.init:
        raise OptionError("an init process is not supported", where="--init")
    if options.pull not in PULL_POLICIES:
        choices = '"always", "missing" or "never"'
        raise OptionError(f"invalid pull option: '{options.pull}': must be one of {choices}")
    for flag in _NAMESPACES:
        value = getattr(options, flag)
        if value not in (None, "", "host", "private", "shareable"):
            raise OptionError(f"--{flag}: invalid {flag.upper()} mode: {value}")
    if options.name is not None:
        from engine.options.naming import check_name

        check_name(options.name)
    if options.hostname and (options.uts == "host"):
        raise OptionError("conflicting options: hostname and the UTS mode")


def make_plan(
    options: RunOptions, config: Mapping[str, Any], identifier: str, environ: Mapping[str, str]
) -> Plan:
    """Read the flags and merge in the image's config.

    Raises:
        OptionError: a flag is malformed.
        ContainerError: neither flags nor image say what to run.
    """
    network = isolation.parse_network(options.network)
    image_env = tuple(str(entry) for entry in config.get("Env") or ())
    user_env = environment.environment(options.env_file, options.env, environ)
    return Plan(
        args=arguments(options, config),
        env=(*image_env, *user_env),
        cwd=_cwd(options.workdir or str(config.get("WorkingDir") or "/")),
        user=options.user if options.user is not None else str(config.get("User") or ""),
        hostname=_hostname(options, network, identifier),
        domainname=_domainname(options),
        network=network,
        mounts=_mounts(options, config),
        ports=_ports(options, config, network),
        stop_signal=isolation.parse_signal(
            options.stop_signal or str(config.get("StopSignal") or "SIGTERM")
        ),
        labels={
            **{str(key): str(value) for key, value in (config.get("Labels") or {}).items()},
            **environment.labels(options.label_file, options.label),
        },
        security=isolation.parse_security(options.security_opt),
    )


def arguments(options: RunOptions, config: Mapping[str, Any]) -> tuple[str, ...]:
    """What to execute.

    Raises:
        ContainerError: nothing.
    """
    command = options.command
    entrypoint: tuple[str, ...]
    if options.entrypoint is not None:
        entrypoint = (options.entrypoint,) if options.entrypoint else ()
    else:
        entrypoint = tuple(str(word) for word in config.get("Entrypoint") or ())
        command = command or tuple(str(word) for word in config.get("Cmd") or ())
    if not entrypoint and not command:
        raise ContainerError(
            "no command specified", where=options.image, fix="name a command after the image"
        )
    return (*entrypoint, *command)


def make_spec(
    options: RunOptions,
    plan: Plan,
    mounts: Sequence[RuntimeMount],
    *,
    console: tuple[int, int] | None,
) -> dict[str, Any]:
    """The runtime configuration as ``runtime.spec.spec_from_arguments`` reads it.

    ``mounts`` are those of the plan with their sources found.

    Raises:
        OptionError: a flag is malformed.
    """
    devices, rules = _devices(options)
    profile = plan.security.seccomp
    arguments = {
        "args": plan.args,
        "env": plan.env,
        "cwd": plan.cwd,
        "hostname": plan.hostname,
        "domainname": plan.domainname,
        "terminal": options.tty,
        "console_size": console,
        "privileged": options.privileged,
        "read_only": options.read_only,
        "cap_add": options.cap_add,
        "cap_drop": options.cap_drop,
        "mounts": sorted(mounts, key=lambda mount: mount[0].count("/")),
        "devices": devices,
        "resources": {**_resources(options), "devices": rules},
        "rlimits": _rlimits(options),
        "sysctl": isolation.parse_sysctls(options.sysctl, host_network=plan.network == "host"),
        "network": plan.network,
        "host_namespaces": [kind for kind in _NAMESPACES if getattr(options, kind) == "host"],
        "no_new_privileges": plan.security.no_new_privileges,
        "unmasked": plan.security.unmasked,
    }
    arguments |= _sizes(options)
    if profile not in ("default", "unconfined"):
        from engine.containers.seccomp import read_profile

        arguments["seccomp"] = read_profile(profile, granted_capabilities(options))
    return {"arguments": arguments}


def granted_capabilities(options: RunOptions) -> tuple[str, ...]:
    """What the container may hold at most, for a seccomp profile that depends on it.

    Raises:
        OptionError: an unknown capability.
    """
    from runtime import capabilities, defaults

    if options.privileged:
        return capabilities.NAMES
    try:
        return capabilities.select(options.cap_add, options.cap_drop, defaults.CAPABILITIES)
    except ValueError as error:
        raise OptionError(str(error), fix="see capabilities(7) for the names") from error


def make_request(
    options: RunOptions, plan: Plan, spec: Mapping[str, Any], identifier: str, rootfs: Rootfs
) -> ContainerRequest:
    """What goes to the runtime.

    Raises:
        OptionError: a flag is malformed.
    """
    if options.privileged and plan.security.seccomp == "default":
        seccomp = "unconfined"
    else:
        seccomp = plan.security.seccomp
        seccomp = seccomp if seccomp in ("default", "unconfined") else "spec"
    parent = options.cgroup_parent
    return ContainerRequest(
        id=identifier,
        spec=spec,
        rootfs=rootfs,
        network=plan.network,
        user=plan.user,
        group_add=options.group_add,
        hostname=plan.hostname,
        extra_hosts=_extra_hosts(options),
        dns=_name_servers(options),
        dns_search=options.dns_search,
        dns_options=options.dns_option,
        ports=plan.ports,
        seccomp=seccomp,
        cgroup_parent=isolation.parse_cgroup_parent(parent) if parent else "lading",
    )


def runtime_mount(option: MountOption, source: str) -> RuntimeMount:
    """A mount for the runtime, with its source on the host."""
    from engine.options.mounts import TMPFS, TMPFS_OPTIONS

    access = ("ro",) if option.read_only else ()
    if option.kind == TMPFS:
        return option.target, "tmpfs", "tmpfs", (*TMPFS_OPTIONS, *access, *option.data)
    bind = "rbind" if option.recursive else "bind"
    return option.target, "bind", source, (bind, option.propagation or "rprivate", *access)


def _mounts(options: RunOptions, config: Mapping[str, Any]) -> tuple[MountOption, ...]:
    if not (options.volume or options.mount or options.tmpfs or config.get("Volumes")):
        return ()
    from engine.options.mounts import VOLUME, MountOption, parse_mounts

    found = parse_mounts(options.volume, options.mount, options.tmpfs)
    targets = {mount.target for mount in found}
    for path in sorted(config.get("Volumes") or ()):
        target = posixpath.normpath("/" + str(path).lstrip("/"))
        if target not in targets and target != "/":
            targets.add(target)
            found.append(MountOption(VOLUME, target))
    return tuple(found)


def _ports(options: RunOptions, config: Mapping[str, Any], network: str) -> tuple[Port, ...]:
    if not (options.publish or options.publish_all):
        return ()
    from engine.options.ports import parse_exposed, parse_ports

    ports = parse_ports(options.publish)
    if options.publish_all:
        published = {(port.port, port.protocol) for port in ports}
        for value in (*(config.get("ExposedPorts") or ()), *options.expose):
            for number, protocol in parse_exposed(str(value)):
                if (number, protocol) not in published:
                    ports.append(Port(number, protocol))
    return tuple(ports) if network == "bridge" else ()


def _hostname(options: RunOptions, network: str, identifier: str) -> str:
    if options.hostname:
        from engine.options.naming import check_host_name

        return check_host_name(options.hostname)
    return os.uname().nodename if "host" in (network, options.uts) else identifier[:12]


def _domainname(options: RunOptions) -> str:
    if not options.domainname:
        return ""
    from engine.options.naming import check_host_name

    return check_host_name(options.domainname, "--domainname")


def _extra_hosts(options: RunOptions) -> tuple[tuple[str, str], ...]:
    if not options.add_host:
        return ()
    from engine.options.naming import extra_hosts

    return extra_hosts(options.add_host)


def _name_servers(options: RunOptions) -> tuple[str, ...]:
    if not options.dns:
        return ()
    from engine.options.naming import name_servers

    return name_servers(options.dns)


def _devices(options: RunOptions) -> tuple[list[Node], list[Rule]]:
    if not options.device:
        return [], []
    from engine.containers.devices import parse_devices

    return parse_devices(options.device)


def _resources(options: RunOptions) -> dict[str, Any]:
    if not any(getattr(options, limit) for limit in _LIMITS):
        return {}
    from engine.containers.limits import resources

    return resources(options)


def _rlimits(options: RunOptions) -> list[tuple[str, int, int]]:
    if not options.ulimit:
        return []
    from engine.containers.limits import rlimits

    return rlimits(options.ulimit)


def _sizes(options: RunOptions) -> dict[str, int]:
    size, score = options.shm_size, options.oom_score_adj
    if not size and not score:
        return {}
    from engine.options.numbers import parse_integer, parse_size

    found = {}
    if size:
        found["shm_size"] = parse_size(size, "--shm-size")
    if score:
        found["oom_score_adj"] = parse_integer(score, "--oom-score-adj", low=-1000, high=1000)
    return found


def _cwd(path: str) -> str:
    if not path.startswith("/"):
        raise OptionError(
            f"the working directory '{path}' is invalid, it needs to be an absolute path",
            where="--workdir",
        )
    return path


__all__ = [
    "Plan",
    "arguments",
    "check",
    "make_plan",
    "make_request",
    "make_spec",
    "runtime_mount",
]
