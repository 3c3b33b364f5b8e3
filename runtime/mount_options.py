"""Mount options sorted into attributes, propagation and file-system parameters.

Runtime-spec ``config-linux.md``, "Linux mount options". Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from records import Record
from runtime import constants as k

_ATIME: Final = k.MOUNT_ATTR__ATIME

# option: bits to set, bits to clear
_ATTRIBUTES: Final[dict[str, tuple[int, int]]] = {
    "ro": (k.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, k.MOUNT_ATTR_RDONLY),
    "nosuid": (k.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, k.MOUNT_ATTR_NOSUID),
    "nodev": (k.MOUNT_ATTR_NODEV, 0),
    "dev": (0, k.MOUNT_ATTR_NODEV),
    "noexec": (k.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, k.MOUNT_ATTR_NOEXEC),
    "nosymfollow": (k.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, k.MOUNT_ATTR_NOSYMFOLLOW),
    "nodiratime": (k.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, k.MOUNT_ATTR_NODIRATIME),
    "relatime": (k.MOUNT_ATTR_RELATIME, _ATIME),
    "noatime": (k.MOUNT_ATTR_NOATIME, _ATIME),
    "atime": (k.MOUNT_ATTR_RELATIME, _ATIME),
    "strictatime": (k.MOUNT_ATTR_STRICTATIME, _ATIME),
}
_PROPAGATION: Final = {
    "private": (k.MS_PRIVATE, False),
    "rprivate": (k.MS_PRIVATE, True),
    "slave": (k.MS_SLAVE, False),
    "rslave": (k.MS_SLAVE, True),
    "shared": (k.MS_SHARED, False),
    "rshared": (k.MS_SHARED, True),
}
_IGNORED: Final = frozenset(
    {"defaults", "async", "sync", "bind", "rbind", "remount", "mand", "nomand", "newinstance"}
)


class MountOptions(Record):
    """What ``parse`` made of a list of options."""

    attr_set: int = 0
    attr_clr: int = 0
    recursive: bool = False
    """The attributes go to every mount below, too (``rro`` and its kin, and ``ro`` of an rbind)."""
    rbind: bool = False
    propagation: int = 0
    propagation_recursive: bool = False
    data: tuple[tuple[str, str | None], ...] = ()
    """File-system parameters: name and value, None for a bare name."""


def parse(options: Iterable[str]) -> MountOptions:
    """Sort ``options``; later ones win. An unknown word is a parameter of the file system."""
    attr_set = attr_clr = propagation = 0
    recursive = rbind = propagation_recursive = False
    data: list[tuple[str, str | None]] = []
    for option in options:
        plain = option[1:] if option[:1] == "r" and option[1:] in _ATTRIBUTES else option
        if option in _ATTRIBUTES or plain in _ATTRIBUTES:
            bits, cleared = _ATTRIBUTES[option if option in _ATTRIBUTES else plain]
            recursive = recursive or option not in _ATTRIBUTES
            attr_set = attr_set & ~cleared | bits
            attr_clr = attr_clr & ~bits | cleared
        elif option in _PROPAGATION:
            propagation, propagation_recursive = _PROPAGATION[option]
        elif option not in _IGNORED:
            name, separator, value = option.partition("=")
            data.append((name, value if separator else None))
        rbind = rbind or option == "rbind"
    recursive = recursive or (rbind and bool(attr_set & k.MOUNT_ATTR_RDONLY))
    return MountOptions(
        attr_set, attr_clr, recursive, rbind, propagation, propagation_recursive, tuple(data)
    )
