"""--device: host device nodes given to a container."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from engine.options.errors import OptionError

Node: TypeAlias = tuple[str, str, int, int, int, int, int]
"""Path inside, ``c`` or ``b``, major, minor, mode, uid, gid: the fields of
``runtime.config.Device``.
"""

Rule: TypeAlias = tuple[bool, str, int, int, str]
"""The fields of ``runtime.config.DeviceRule``."""


def parse_devices(values: Iterable[str]) -> tuple[list[Node], list[Rule]]:
    """The nodes to make and the rules that narrow them, of ``host[:container[:rwm]]``.

    A host directory gives every device below it.

    Raises:
        OptionError: malformed, or the host has no such device.
    """
    devices: list[Node] = []
    rules: list[Rule] = []
    for value in values:
        host, inside, access = _split(value)
        for path, status in _nodes(host, value):
            target = inside + path.removeprefix(host)
            kind = "c" if stat.S_ISCHR(status.st_mode) else "b"
            major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
            mode = stat.S_IMODE(status.st_mode)
            devices.append((target, kind, major, minor, mode, status.st_uid, status.st_gid))
            if denied := "".join(letter for letter in "rwm" if letter not in access):
                rules.append((False, kind, major, minor, denied))
    return devices, rules


def _split(value: str) -> tuple[str, str, str]:
    parts = value.split(":")
    host, inside, access = parts[0], parts[0], "rwm"
    match parts[1:]:
        case []:
            pass
        case [word] if _is_access(word):
            access = word
        case [inside]:
            pass
        case [inside, word] if _is_access(word):
            access = word
        case _:
            raise OptionError(f"invalid device specification: {value}", where="--device")
    if not inside.startswith("/dev/"):
        raise OptionError(
            f"{inside} is not below /dev", where=f"--device {value}", fix="write host:/dev/name"
        )
    return host, inside, access


def _is_access(word: str) -> bool:
    return bool(word) and set(word) <= set("rwm") and len(set(word)) == len(word)


def _nodes(host: str, value: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        status = os.stat(host)
    except OSError as error:
        raise OptionError(
            f'error gathering device information while adding custom device "{host}": '
            f"{(error.strerror or str(error)).lower()}",
            where=f"--device {value}",
        ) from error
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        yield host, status
        return
    if not stat.S_ISDIR(status.st_mode):
        raise OptionError(f"{host} is not a device node", where=f"--device {value}")
    for folder, _, names in os.walk(host):
        for name in sorted(names):
            path = f"{folder}/{name}"
            found = os.lstat(path)
            if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
                yield path, found
