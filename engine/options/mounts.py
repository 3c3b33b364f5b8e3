"""--volume, --mount and --tmpfs: three spellings of one value.

Docker's grammars: opts/mount.go and the volume/mounts parsers of moby. Whether a source exists is
not asked here.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Sequence

from engine.options.errors import OptionError, invalid
from engine.options.numbers import parse_size
from records import Record, replace

BIND, VOLUME, TMPFS = "bind", "volume", "tmpfs"
TMPFS_OPTIONS = ("noexec", "nosuid", "nodev")
PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")

_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
_MODE_CLASSES = (
    frozenset({"ro", "rw"}),
    frozenset({"z", "Z"}),
    frozenset({"nocopy"}),
    frozenset(PROPAGATIONS),
    frozenset({"consistent", "cached", "delegated", "default"}),
)


class MountOption(Record):
    """One mount that was asked for.

    ``source`` is an absolute host path (bind), a volume's name or nothing for an anonymous one
    (volume). ``create_source`` makes a missing host directory, as -v does and --mount does not.
    ``data`` are further mount options of a tmpfs.
    """

    kind: str
    target: str
    source: str = ""
    read_only: bool = False
    propagation: str = ""
    create_source: bool = False
    no_copy: bool = False
    recursive: bool = True
    data: tuple[str, ...] = ()


def parse_mounts(
    volumes: Iterable[str], mounts: Iterable[str], tmpfs: Iterable[str]
) -> list[MountOption]:
    """Everything the three flags ask for, in Docker's order.

    Raises:
        OptionError: a value is malformed, or two have the same target.
    """
    found = [
        *(parse_volume(value) for value in volumes),
        *(parse_mount(value) for value in mounts),
        *(parse_tmpfs(value) for value in tmpfs),
    ]
    targets: set[str] = set()
    for mount in found:
        if mount.target in targets:
            raise OptionError(f"Duplicate mount point: {mount.target}")
        targets.add(mount.target)
    return found


def parse_volume(value: str) -> MountOption:
    """``[source:]target[:modes]`` of -v.

    Raises:
        OptionError: malformed, in Docker's words.
    """
    parts = value.split(":")
    modes: list[str] = []
    match parts:
        case [target] if target:
            source = ""
        case [source, target] if source and target and not _are_modes(target):
            pass
        case [target, mode] if target and _are_modes(mode):
            source, modes = "", mode.split(",")
        case [source, target, mode] if source and target:
            if not _are_modes(mode):
                raise invalid(value, "-v, --volume", f"invalid mode: {mode}")
            modes = mode.split(",")
        case _:
            raise invalid(
                value,
                "-v, --volume",
                f"invalid volume specification: '{value}'",
                fix="write [source:]target[:ro]",
            )
    option = MountOption(
        kind=BIND if source.startswith((".", "/", "~")) else VOLUME,
        target=_target(target, value),
        read_only="ro" in modes,
        propagation=next((mode for mode in modes if mode in PROPAGATIONS), ""),
        no_copy="nocopy" in modes,
    )
    if option.kind == BIND:
        source = posixpath.normpath(os.path.abspath(os.path.expanduser(source)))
        return replace(option, source=source, create_source=True)
    return replace(option, source=check_volume_name(source) if source else "")


def parse_tmpfs(value: str) -> MountOption:
    """``target[:options]`` of --tmpfs; the options are the kernel's.

    Raises:
        OptionError: the target is not absolute.
    """
    target, _, options = value.partition(":")
    words = [word for word in options.split(",") if word]
    return MountOption(
        TMPFS,
        _target(target, value),
        read_only="ro" in words,
        data=tuple(word for word in words if word not in ("ro", "rw")),
    )


def parse_mount(value: str) -> MountOption:
    """``type=bind,source=…,target=…[,…]`` of --mount, with csv quoting.

    Raises:
        OptionError: an unknown key, a bad value, a missing target, a key of another type.
    """
    fields = _fields(value)
    kind = fields.pop("type", VOLUME).lower()
    if kind not in (BIND, VOLUME, TMPFS):
        raise invalid(value, "--mount", f"unsupported mount type '{kind}'")
    target = fields.pop("target", "")
    if not target:
        raise invalid(value, "--mount", "target is required")
    source = fields.pop("source", "")
    option = MountOption(
        kind, _target(target, value), source, read_only=_flag(fields, "readonly", value)
    )
    fields.pop("consistency", None)
    option = _READERS[kind](option, fields, value)
    if fields:
        name = next(iter(fields))
        raise invalid(value, "--mount", f"cannot mix '{name}' with mount type '{kind}'")
    return option


def check_volume_name(name: str) -> str:
    """``name``, if it is one.

    Raises:
        OptionError: with Docker's hint that a path must be absolute.
    """
    if not _VOLUME_NAME.match(name):
        raise OptionError(
            f'"{name}" includes invalid characters for a local volume name, '
            'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed',
            fix="If you intended to pass a host directory, use absolute path",
        )
    return name


_KEYS = {
    "type": "type",
    "source": "source",
    "src": "source",
    "target": "target",
    "dst": "target",
    "destination": "target",
    "readonly": "readonly",
    "ro": "readonly",
    "consistency": "consistency",
    "bind-propagation": "bind-propagation",
    "bind-nonrecursive": "bind-nonrecursive",
    "bind-recursive": "bind-recursive",
    "bind-create-src": "bind-create-src",
    "volume-nocopy": "volume-nocopy",
    "tmpfs-size": "tmpfs-size",
    "tmpfs-mode": "tmpfs-mode",
}
_BARE = frozenset({"readonly", "volume-nocopy", "bind-nonrecursive", "bind-create-src"})


def _fields(value: str) -> dict[str, str]:
    import csv

    try:
        words = next(csv.reader([value], strict=True))
    except (csv.Error, StopIteration) as error:
        raise invalid(value, "--mount", "cannot be read as comma-separated values") from error
    fields: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        key = _KEYS.get(name.lower())
        if not equals and key not in _BARE:
            raise invalid(value, "--mount", f"invalid field '{word}' must be a key=value pair")
        if key is None:
            raise invalid(value, "--mount", f"unexpected key '{name}' in '{word}'")
        fields[key] = text if equals else "true"
    return fields


def _bind(option: MountOption, fields: dict[str, str], value: str) -> MountOption:
    if not option.source:
        raise invalid(value, "--mount", "source is required for bind mounts")
    if not option.source.startswith(("/", ".")):
        raise invalid(
            value,
            "--mount",
            f"invalid mount config for type \"bind\": invalid mount path: '{option.source}' "
            "mount path must be absolute",
        )
    propagation = fields.pop("bind-propagation", "")
    if propagation and propagation not in PROPAGATIONS:
        raise invalid(value, "--mount", f"invalid propagation mode: {propagation}")
    recursive = fields.pop("bind-recursive", "enabled")
    if recursive not in ("enabled", "disabled", "writable", "readonly"):
        raise invalid(value, "--mount", f"invalid value for bind-recursive: {recursive}")
    shallow = _flag(fields, "bind-nonrecursive", value) or recursive == "disabled"
    return replace(
        option,
        source=posixpath.normpath(os.path.abspath(option.source)),
        propagation=propagation,
        recursive=not shallow,
        create_source=_flag(fields, "bind-create-src", value),
    )


def _volume(option: MountOption, fields: dict[str, str], value: str) -> MountOption:
    return replace(
        option,
        source=check_volume_name(option.source) if option.source else "",
        no_copy=_flag(fields, "volume-nocopy", value),
    )


def _tmpfs(option: MountOption, fields: dict[str, str], value: str) -> MountOption:
    if option.source:
        raise invalid(value, "--mount", "cannot mix 'source' with mount type 'tmpfs'")
    data = []
    if "tmpfs-size" in fields:
        data.append(f"size={parse_size(fields.pop('tmpfs-size'), '--mount tmpfs-size')}")
    if "tmpfs-mode" in fields:
        mode = fields.pop("tmpfs-mode")
        if not re.fullmatch("[0-7]{1,5}", mode):
            raise invalid(value, "--mount", f"invalid value for tmpfs-mode: {mode}")
        data.append(f"mode={mode}")
    return replace(option, data=tuple(data))


_READERS = {BIND: _bind, VOLUME: _volume, TMPFS: _tmpfs}


def _flag(fields: dict[str, str], key: str, value: str) -> bool:
    text = fields.pop(key, "false").lower()
    if text not in ("true", "1", "false", "0"):
        raise invalid(value, "--mount", f"invalid value for {key}: {text}")
    return text in ("true", "1")


def _are_modes(text: str) -> bool:
    words: Sequence[str] = text.split(",")
    if not all(any(word in group for group in _MODE_CLASSES) for word in words):
        return False
    return all(sum(word in group for word in words) <= 1 for group in _MODE_CLASSES)


def _target(target: str, value: str) -> str:
    if not target.startswith("/"):
        raise OptionError(
            f"invalid mount path: '{target}' mount path must be absolute", where=value
        )
    path = posixpath.normpath(target)
    if path in ("/", "//"):
        raise OptionError(
            f"invalid volume specification: '{value}': invalid mount config: "
            "invalid specification: destination can't be '/'"
        )
    return path.replace("//", "/")
