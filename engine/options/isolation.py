"""What a container may do and be part of.

--security-opt, --sysctl, --network, --stop-signal, --cgroup-parent.
"""

from __future__ import annotations

import posixpath
import re
import signal
from collections.abc import Iterable

from engine.options.errors import OptionError, invalid
from records import Record, replace

_SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in [
        "msgmax",
        "msgmnb",
        "msgmni",
        "sem",
        "shmall",
        "shmmax",
        "shmmni",
        "shm_rmid_forced",
        "domainname",
    ]
)
_SYSCTL_NAME = r"[A-Za-z0-9_.*/:-]+\Z"
_NETWORKS = ("bridge", "none", "host")


class Security(Record):
    """What --security-opt says. ``seccomp`` is ``default``, ``unconfined`` or a profile's path."""

    no_new_privileges: bool = False
    seccomp: str = "default"
    unmasked: bool = False


def parse_security(values: Iterable[str]) -> Security:
    """Join every --security-opt; AppArmor and SELinux are only known as switched off.

    Raises:
        OptionError: unknown, or asks for a module this runtime does not drive.
    """
    found = Security()
    for value in values:
        name, separator, argument = value.partition("=")
        if not separator:
            name, separator, argument = value.partition(":")
        match name, argument:
            case "no-new-privileges", "" | "true":
                found = replace(found, no_new_privileges=True)
            case "no-new-privileges", "false":
                found = replace(found, no_new_privileges=False)
            case "seccomp", "builtin":
                found = replace(found, seccomp="default")
            case "seccomp", path if path:
                found = replace(found, seccomp=path)
            case "systempaths", "unconfined":
                found = replace(found, unmasked=True)
            case ("apparmor", "unconfined") | ("label", "disable"):
                pass
            case "apparmor" | "label", _:
                raise OptionError(
                    f"{name} profiles are not supported", where=f"--security-opt {value}"
                )
            case _:
                raise OptionError(f'invalid --security-opt: "{value}"')
    return found


def parse_sysctls(values: Iterable[str], *, host_network: bool) -> dict[str, str]:
    """``name=value`` of --sysctl, only such as belong to the container alone.

    Raises:
        OptionError: not namespaced, or of a network that is the host's.
    """
    found: dict[str, str] = {}
    for value in values:
        name, equals, setting = value.partition("=")
        name = name.strip()
        if not equals or not re.match(_SYSCTL_NAME, name) or ".." in name:
            raise OptionError(f"invalid sysctl '{value}'", where="--sysctl", fix="name=value")
        is_network = name.startswith("net.")
        if is_network and host_network:
            raise OptionError(f"sysctl '{name}' not allowed in host network namespace")
        if not (is_network or name.startswith("fs.mqueue.") or name in _SYSCTLS):
            raise OptionError(f"sysctl '{name}' is not allowed", where="--sysctl")
        found[name] = setting
    return found


def parse_network(value: str) -> str:
    """``bridge``, ``none`` or ``host``; ``default`` is ``bridge``.

    Raises:
        OptionError: another network, or another container's.
    """
    name = "bridge" if value in ("default", "") else value
    if name.startswith("container:"):
        raise OptionError(
            "sharing another container's network is not supported", where=f"--network {value}"
        )
    if name not in _NETWORKS:
        raise OptionError(f"network {value} not found", fix="use bridge, none or host")
    return name


def parse_signal(value: str) -> int:
    """A signal by number or name, with or without SIG.

    Raises:
        OptionError: there is none such.
    """
    if value.isdecimal():
        number = int(value)
        if 1 <= number < signal.NSIG:
            return number
        raise OptionError(f"Invalid signal: {value}")
    name = value.upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    base, plus, offset = name.partition("+")
    if plus and base == "SIGRTMIN" and offset.isdecimal():
        return int(signal.SIGRTMIN) + int(offset)
    try:
        return int(signal.Signals[name])
    except KeyError as error:
        raise OptionError(f"Invalid signal: {value}") from error


def parse_cgroup_parent(value: str) -> str:
    """A control group below the root of the hierarchy, without a leading slash.

    Raises:
        OptionError: it leads out of the hierarchy.
    """
    path = posixpath.normpath(value.lstrip("/"))
    if path in ("", ".") or path.startswith("..") or "\0" in path:
        raise invalid(value, "--cgroup-parent", "must name a group inside the hierarchy")
    return path
