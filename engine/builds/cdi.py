"""Devices for steps by the Container Device Interface: what the files of its folders say is done.

CNCF CDI 0.8 (SPEC.md): JSON or YAML files, one kind each; those of ``/var/run/cdi`` go before those
of ``/etc/cdi``. Of hooks, programs of the host that a runtime calls, ours runs those of
``createContainer``, which prepare a root; a device that needs others is refused.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from builder.errors import BuildEnvironmentError
from records import Record
from runtime.config import Device, Hook, Mount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from builder.plan.devices import DeviceSpec

SIZE: Final = 4 << 20
CLASS: Final = "org.mobyproject.buildkit.device.class"
"""The annotation by which BuildKit finds devices of several vendors."""
RUN_HOOK: Final = "createContainer"


class Known(Record):
    """One device of a file: its whole name, its annotations, the edits of the file and its own."""

    name: str
    annotations: Mapping[str, str]
    edits: tuple[Mapping[str, Any], ...]
    where: str


class Edits(Record):
    """What devices change in a container."""

    env: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    mounts: tuple[Mount, ...] = ()
    hooks: tuple[Hook, ...] = ()
    missing: tuple[str, ...] = ()
    """Devices that nobody knows, and that the step can do without."""


def edits_of(wanted: Iterable[DeviceSpec], folders: Sequence[Path]) -> Edits:
    """What the devices of a step come to.

    Raises:
        BuildEnvironmentError: one that is required is not known, or needs what is not done here.
    """
    known = _known(folders)
    chosen: dict[str, Known] = {}
    missing = []
    for spec in wanted:
        found = _find(spec.name, known)
        if not found and spec.required:
            raise BuildEnvironmentError(
                f"required device {spec.name} is not registered",
                fix=f"put its CDI file into {' or '.join(map(str, folders))}",
            )
        missing += [] if found else [spec.name]
        chosen.update((one.name, one) for one in found)
    env: list[str] = []
    devices: dict[str, Device] = {}
    mounts: dict[str, Mount] = {}
    hooks: list[Hook] = []
    for edits, where in _once(chosen.values()):
        try:
            hooks += [_hook(item, where) for item in edits.get("hooks") or ()]
            env += [str(pair) for pair in edits.get("env") or ()]
            made = [_device(node, where) for node in edits.get("deviceNodes") or ()]
            devices.update((one.path, one) for one in made)
            bound = [_mount(item) for item in edits.get("mounts") or ()]
            mounts.update((one.destination, one) for one in bound)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BuildEnvironmentError(f"not a CDI file: {error!r}", where=where) from error
    return Edits(
        tuple(env),
        tuple(devices.values()),
        tuple(mounts.values()),
        tuple(hooks),
        tuple(dict.fromkeys(missing)),
    )


def _find(name: str, known: Mapping[str, Known]) -> list[Known]:
    kind, _, device = name.partition("=")
    of_kind = [one for one in known.values() if one.name.startswith(f"{kind}=")]
    found = [known[name]] if name in known else []
    if "/" in kind and device in ("", "*"):
        found = of_kind if device else of_kind[:1]
    return found or [one for one in known.values() if one.annotations.get(CLASS) == name]


def _once(chosen: Iterable[Known]) -> list[tuple[Mapping[str, Any], str]]:
    """Each edit once: those of a whole file are shared by its devices."""
    found: dict[int, tuple[Mapping[str, Any], str]] = {}
    for one in chosen:
        for edits in one.edits:
            found.setdefault(id(edits), (edits, one.where))
    return list(found.values())


def _known(folders: Sequence[Path]) -> dict[str, Known]:
    known: dict[str, Known] = {}
    for folder in folders:
        names: list[str] = []
        with suppress(FileNotFoundError, NotADirectoryError):
            names = sorted(os.listdir(folder))
        for name in names:
            if name.endswith((".json", ".yaml", ".yml")):
                known.update((one.name, one) for one in _devices(folder / name))
    return dict(sorted(known.items()))


def _devices(path: Path) -> list[Known]:
    """The devices of a file; one that cannot be read has none, as in other runtimes."""
    try:
        with path.open("rb") as file:
            document = _parsed(file.read(SIZE), path)
        shared = document.get("containerEdits") or {}
        notes = document.get("annotations") or {}
        return [
            Known(
                f"{document['kind']}={device['name']}",
                {**notes, **(device.get("annotations") or {})},
                (shared, device.get("containerEdits") or {}),
                str(path),
            )
            for device in document["devices"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _parsed(raw: bytes, path: Path) -> dict[str, Any]:
    if path.suffix == ".json":
        found = json.loads(raw)
    else:
        import yaml

        try:
            found = yaml.safe_load(raw)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _device(node: Mapping[str, Any], where: str) -> Device:
    path = str(node["path"])
    host = str(node.get("hostPath") or path)
    try:
        status = os.stat(host)
    except OSError as error:
        raise BuildEnvironmentError(
            f"the device {host} is not there: {error.strerror}", where=where
        ) from error
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise BuildEnvironmentError(f"{host} is not a device node", where=where)
    if not path.startswith("/dev/") or ".." in path.split("/"):
        raise BuildEnvironmentError(f"{path} is not below /dev", where=where)
    return Device(
        path,
        "c" if stat.S_ISCHR(status.st_mode) else "b",
        int(node.get("major") or os.major(status.st_rdev)),
        int(node.get("minor") or os.minor(status.st_rdev)),
        int(node.get("fileMode") or stat.S_IMODE(status.st_mode)),
        int(node.get("uid") or 0),
        int(node.get("gid") or 0),
    )


def _hook(item: Mapping[str, Any], where: str) -> Hook:
    name, path, timeout = str(item["hookName"]), str(item["path"]), item.get("timeout")
    if name != RUN_HOOK:
        raise BuildEnvironmentError(
            f"the device wants a hook {name}, of which only {RUN_HOOK} is run here",
            where=where,
            fix=f"generate the file with {RUN_HOOK} hooks alone, as nvidia-ctk cdi generate does",
        )
    if not os.path.isabs(path):
        raise BuildEnvironmentError(f"the hook {path} is no absolute path", where=where)
    if timeout is not None and (not isinstance(timeout, int) or timeout <= 0):
        raise BuildEnvironmentError(
            f"the timeout of {path} is not a number of seconds", where=where
        )
    args, env = (tuple(str(text) for text in item.get(key) or ()) for key in ("args", "env"))
    return Hook(path, args, env, timeout)


def _mount(item: Mapping[str, Any]) -> Mount:
    options = tuple(str(option) for option in item.get("options") or ())
    kind = "rbind" if "bind" not in options else "bind"
    rest = tuple(option for option in options if option not in ("bind", "rbind"))
    return Mount(str(item["containerPath"]), "bind", str(item["hostPath"]), (kind, *rest))
