"""Container configurations: the OCI types, and ``default_spec``, which makes Docker's default one.

The types come from ``runtime.config``; this module is where callers import all of them from.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from records import replace
from runtime import capabilities as caps
from runtime import defaults
from runtime.config import (
    Capabilities,
    Device,
    DeviceRule,
    Linux,
    Mount,
    Namespace,
    Process,
    Resources,
    Rlimit,
    Root,
    Spec,
    User,
)
from runtime.errors import RuntimeFault

__all__ = [
    "Capabilities",
    "Device",
    "DeviceRule",
    "Linux",
    "Mount",
    "Namespace",
    "Process",
    "Resources",
    "Rlimit",
    "Root",
    "Spec",
    "User",
    "default_environment",
    "default_spec",
    "spec_from_arguments",
]


def default_environment(
    env: Sequence[str], *, hostname: str = "", terminal: bool = False
) -> tuple[str, ...]:
    """Docker's rules: PATH, HOSTNAME and TERM first, overridden in place by ``env``."""
    merged = {"PATH": defaults.PATH}
    if hostname:
        merged["HOSTNAME"] = f"HOSTNAME={hostname}"
    if terminal:
        merged["TERM"] = "TERM=xterm"
    for entry in env:
        merged[entry.partition("=")[0]] = entry
    return tuple(merged.values())


def default_spec(
    args: Sequence[str],
    *,
    env: Sequence[str] = (),
    cwd: str = "/",
    user: User | None = None,
    hostname: str = "",
    terminal: bool = False,
    privileged: bool = False,
    read_only: bool = False,
    cap_add: Sequence[str] = (),
    cap_drop: Sequence[str] = (),
    mounts: Sequence[Mount] = (),
    devices: Sequence[Device] = (),
    resources: Resources | None = None,
    rlimits: Sequence[Rlimit] = (),
    sysctl: Mapping[str, str] | None = None,
    shm_size: int = defaults.SHM_SIZE,
    network: str = "none",
    host_namespaces: Sequence[str] = (),
    no_new_privileges: bool = False,
    unmasked: bool = False,
) -> Spec:
    """A container as Docker would make it.

    ``network`` ``host`` shares the host's network namespace; ``host_namespaces`` names others to
    share (``pid``, ``ipc``, ``uts``, ``cgroup``). ``unmasked`` is ``systempaths=unconfined``.
    Capabilities are what Docker grants; the runtime intersects them with what it holds itself.

    Raises:
        RuntimeFault: ``request-invalid``, an unknown capability.
    """
    shared = {*host_namespaces, *(("network",) if network == "host" else ())}
    capabilities = _default_capabilities(cap_add, cap_drop, privileged=privileged)
    limits = resources or Resources()
    return Spec(
        process=Process(
            args=tuple(args),
            env=default_environment(env, hostname=hostname, terminal=terminal),
            cwd=cwd or "/",
            user=user or User(),
            terminal=terminal,
            capabilities=capabilities,
            rlimits=tuple(rlimits),
            no_new_privileges=no_new_privileges,
        ),
        root=Root(readonly=read_only),
        hostname=hostname,
        mounts=_merge_mounts(_default_mounts(shm_size, privileged=privileged), mounts),
        linux=Linux(
            namespaces=tuple(
                Namespace(kind)
                for kind in ("mount", "pid", "uts", "ipc", "network", "cgroup")
                if kind not in shared
            ),
            devices=(*(_host_devices() if privileged else ()), *devices),
            resources=replace(
                limits, devices=_device_rules(limits.devices, devices, privileged=privileged)
            ),
            masked_paths=() if privileged or unmasked else _masked_paths(),
            readonly_paths=() if privileged or unmasked else defaults.READONLY_PATHS,
            sysctl={
                **(dict(defaults.NETWORK_SYSCTLS) if "network" not in shared else {}),
                **(sysctl or {}),
            },
        ),
    )


def spec_from_arguments(document: Mapping[str, Any]) -> Spec:
    """``default_spec`` of arguments that came as JSON, from a client that must start fast.

    Besides ``default_spec``'s own: ``domainname``, ``console_size``, ``oom_score_adj`` and
    ``seccomp`` (the OCI object). Mounts, devices, rules and rlimits are lists of their fields in
    order. A mount replaces the default one on the same destination. Without a uts namespace of its
    own the container keeps the host's name.

    Raises:
        RuntimeFault: ``request-invalid``; an unknown capability or argument.
    """
    arguments = dict(document)
    process = {name: arguments.pop(name, None) for name in ("oom_score_adj", "console_size")}
    linux = {"seccomp": arguments.pop("seccomp", None)}
    domainname = arguments.pop("domainname", "")
    limits = dict(arguments.pop("resources", {}))
    limits["devices"] = tuple(DeviceRule(*rule) for rule in limits.get("devices", ()))
    mounts = [Mount(d, t, s, tuple(o)) for d, t, s, o in arguments.pop("mounts", ())]
    try:
        spec = default_spec(
            arguments.pop("args"),
            mounts=mounts,
            devices=[Device(*device) for device in arguments.pop("devices", ())],
            resources=Resources(**limits),
            rlimits=[Rlimit(*limit) for limit in arguments.pop("rlimits", ())],
            **arguments,
        )
    except (KeyError, TypeError) as error:
        raise RuntimeFault(
            f"bad arguments for a container: {error}", code="request-invalid"
        ) from error
    size = process["console_size"]
    process["console_size"] = None if size is None else (size[0], size[1])
    taken = {mount.destination for mount in mounts}
    shared = spec.linux.namespace("uts") is None
    return replace(
        spec,
        process=replace(spec.process, **process),
        hostname="" if shared else spec.hostname,
        domainname="" if shared else domainname,
        mounts=tuple(m for m in spec.mounts if m in mounts or m.destination not in taken),
        linux=replace(spec.linux, **linux),
    )


def _default_capabilities(
    add: Sequence[str], drop: Sequence[str], *, privileged: bool
) -> Capabilities:
    try:
        names = caps.NAMES if privileged else caps.select(add, drop, defaults.CAPABILITIES)
    except ValueError as error:
        raise RuntimeFault(
            str(error), fix="see capabilities(7) for the names", code="request-invalid"
        ) from error
    return Capabilities(bounding=names, effective=names, permitted=names)


def _default_mounts(shm_size: int, *, privileged: bool) -> tuple[Mount, ...]:
    mounts = []
    for destination, kind, source, options in defaults.MOUNTS:
        if destination == "/dev/shm":
            options = (*options, f"size={shm_size}")
        if privileged:
            options = tuple(option for option in options if option != "ro")
        mounts.append(Mount(destination, kind, source, options))
    return tuple(mounts)


def _merge_mounts(standard: Sequence[Mount], own: Sequence[Mount]) -> tuple[Mount, ...]:
    """The standard mounts that ``own`` does not replace, then ``own``, shallow ones first."""
    taken = {posixpath.normpath(mount.destination) for mount in own}
    kept = (mount for mount in standard if mount.destination not in taken)
    depth = {mount: posixpath.normpath(mount.destination).count("/") for mount in own}
    return (*kept, *sorted(own, key=lambda mount: depth[mount]))


def _masked_paths() -> tuple[str, ...]:
    cpus = "/sys/devices/system/cpu"
    throttles = (f"{cpus}/{name}/thermal_throttle" for name in sorted(os.listdir(cpus)))
    return (*defaults.MASKED_PATHS, *(path for path in throttles if os.path.isdir(path)))


def _device_rules(
    rules: Sequence[DeviceRule], devices: Sequence[Device], *, privileged: bool
) -> tuple[DeviceRule, ...]:
    if privileged:
        return (DeviceRule(allow=True), *rules)
    granted = (
        DeviceRule(allow=True, type=d.type, major=d.major, minor=d.minor)
        for d in devices
        if d.type != "p"
    )
    return (*(DeviceRule(*rule) for rule in defaults.DEVICE_RULES), *granted, *rules)


def _host_devices() -> tuple[Device, ...]:
    """Every device node in the host's /dev, except the terminals' own."""
    found = []
    for folder, folders, names in os.walk("/dev"):
        folders[:] = [name for name in folders if name not in ("pts", "shm", "mqueue", "fd")]
        for name in names:
            path = f"{folder}/{name}"
            status = os.lstat(path)
            kind = {0o020000: "c", 0o060000: "b"}.get(status.st_mode & 0o170000)
            if kind is None or path in ("/dev/console", "/dev/ptmx"):
                continue
            major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
            mode = status.st_mode & 0o777
            found.append(Device(path, kind, major, minor, mode, status.st_uid, status.st_gid))
    return tuple(found)
