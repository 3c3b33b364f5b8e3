"""From the finished sandbox to the program: limits, identity, privileges, filter, exec.

The order is what makes it safe. Without no_new_privs the filter needs CAP_SYS_ADMIN to load, so it
goes in before capabilities are dropped; with it, right before exec. The bounding set shrinks while
CAP_SETPCAP is there; inheritable stays empty (CVE-2022-24769); supplementary groups are replaced,
never kept (CVE-2022-36109). ``capabilities(7)``, ``credentials(7)``.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Sequence
from typing import Final, NoReturn

from records import Record
from runtime import capabilities as caps
from runtime import constants as k
from runtime import syscalls
from runtime.config import Capabilities, Process, Rlimit
from runtime.errors import RuntimeFault
from runtime.users import Identity


class Privileges(Record):
    """Capability sets as bit masks, already narrowed to what the runtime itself holds."""

    bounding: int
    effective: int
    permitted: int
    inheritable: int
    ambient: int


def narrow(wanted: Capabilities, held: int) -> Privileges:
    """``wanted`` without what is not in ``held``; ambient also needs permitted and inheritable."""
    permitted = caps.to_mask(wanted.permitted) & held
    inheritable = caps.to_mask(wanted.inheritable) & held
    return Privileges(
        bounding=caps.to_mask(wanted.bounding) & held,
        effective=caps.to_mask(wanted.effective) & permitted,
        permitted=permitted,
        inheritable=inheritable,
        ambient=caps.to_mask(wanted.ambient) & permitted & inheritable,
    )


def held_capabilities() -> int:
    """The bounding set of this process: what it could ever hand out."""
    mask = 0
    for number in range(len(caps.NAMES)):
        try:
            if syscalls.prctl(k.PR_CAPBSET_READ, number):
                mask |= 1 << number
        except OSError:
            # EINVAL: this kernel has fewer capabilities than we know.
            break
    return mask


def set_rlimits(limits: Sequence[Rlimit]) -> None:
    """Apply ``limits``; a hard limit above ours is lowered to it where raising is not permitted.

    Raises:
        RuntimeFault: ``request-invalid``; an unknown limit.
    """
    for limit in limits:
        number: int | None = getattr(resource, limit.type, None)
        if number is None or not limit.type.startswith("RLIMIT_"):
            raise RuntimeFault(f"unknown resource limit {limit.type!r}", code="request-invalid")
        try:
            resource.setrlimit(number, (limit.soft, limit.hard))
        except (ValueError, PermissionError):
            hard = _smaller(limit.hard, resource.getrlimit(number)[1])
            resource.setrlimit(number, (_smaller(limit.soft, hard), hard))


def _smaller(one: int, other: int) -> int:
    finite = [value for value in (one, other) if value >= 0]
    return min(finite, default=resource.RLIM_INFINITY)


def become(
    identity: Identity,
    privileges: Privileges,
    *,
    seccomp: bytes | None,
    no_new_privileges: bool,
) -> None:
    """Take on the identity and give up everything else.

    Raises:
        OSError: the kernel refuses a step.
    """
    if seccomp is not None and not no_new_privileges:
        syscalls.seccomp_set_filter(seccomp)
    _drop_bounding(privileges.bounding)
    syscalls.prctl(k.PR_SET_KEEPCAPS, 1)
    syscalls.setgroups(identity.groups)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    syscalls.prctl(k.PR_SET_KEEPCAPS, 0)
    syscalls.capset(
        effective=privileges.effective,
        permitted=privileges.permitted,
        inheritable=privileges.inheritable,
    )
    syscalls.prctl(k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(len(caps.NAMES)):
        if privileges.ambient >> number & 1:
            syscalls.prctl(k.PR_CAP_AMBIENT, k.PR_CAP_AMBIENT_RAISE, number)
    if no_new_privileges:
        syscalls.prctl(k.PR_SET_NO_NEW_PRIVS, 1)
        if seccomp is not None:
            syscalls.seccomp_set_filter(seccomp)


def _drop_bounding(keep: int) -> None:
    for number in range(len(caps.NAMES)):
        if keep >> number & 1:
            continue
        try:
            if syscalls.prctl(k.PR_CAPBSET_READ, number):
                syscalls.prctl(k.PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return
            raise


def environment(process: Process, home: str) -> dict[bytes, bytes]:
    """The exec environment, without entries that lack ``=``; HOME defaults to ``home``."""
    variables: dict[bytes, bytes] = {}
    for entry in process.env:
        name, separator, value = os.fsencode(entry).partition(b"=")
        if separator and name:
            variables[name] = value
    if not variables.get(b"HOME"):
        variables[b"HOME"] = os.fsencode(home)
    return variables


_DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def execute(args: Sequence[str], variables: dict[bytes, bytes]) -> NoReturn:
    """execve(2), with the search in PATH and the words of an error that Docker's users know.

    Raises:
        RuntimeFault: ``command-not-found`` or ``command-not-executable``.
    """
    name = args[0]
    words = [os.fsencode(word) for word in args]
    if "/" in name:
        candidates = [name]
    else:
        path = os.fsdecode(variables.get(b"PATH", _DEFAULT_PATH.encode()))
        candidates = [f"{folder or '.'}/{name}" for folder in path.split(":")] if name else []
    refusal: OSError | None = None
    for candidate in candidates:
        try:
            os.execve(candidate, words, variables)
        except OSError as error:
            if "/" in name or _executable(candidate):
                refusal = error
                break
    raise _exec_fault(name, refusal)


def _executable(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o111)


def _exec_fault(name: str, error: OSError | None) -> RuntimeFault:
    if error is None:
        return RuntimeFault(
            f'exec: "{name}": executable file not found in $PATH',
            fix="check the spelling, or give the full path",
            code="command-not-found",
            errno=errno.ENOENT,
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        exists = _executable(name)
        place = "" if exists else f"stat {name}: "
        return RuntimeFault(
            f'exec: "{name}": {place}no such file or directory',
            fix="the file is there, but its interpreter or dynamic loader is not"
            if exists
            else None,
            code="command-not-found",
            errno=error.errno,
        )
    directory = os.path.isdir(name)
    reason = "is a directory" if directory else (error.strerror or "refused").lower()
    return RuntimeFault(
        f'exec: "{name}": {reason}',
        fix="make the file executable" if error.errno == errno.EACCES and not directory else None,
        code="command-not-executable",
        errno=error.errno,
    )
