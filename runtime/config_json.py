"""config.json in and out: strict about types, deaf to unknown properties as the standard is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from records import field_names
from runtime.config import (
    NAMESPACES,
    Capabilities,
    Device,
    DeviceRule,
    Hook,
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

VERSION: Final = "1.2.0"
_T = TypeVar("_T")


def read_spec(document: Mapping[str, Any]) -> Spec:
    """A decoded config.json as a ``Spec``.

    Raises:
        RuntimeFault: ``request-invalid``, naming the property that has the wrong type.
    """
    return _Reader(document, "").spec()


def write_spec(spec: Spec) -> dict[str, Any]:
    """The reverse of ``read_spec``; empty properties are left out."""
    process = spec.process
    return _compact(
        {
            "ociVersion": VERSION,
            "process": _compact(
                {
                    "terminal": process.terminal or None,
                    "consoleSize": process.console_size
                    and {"height": process.console_size[0], "width": process.console_size[1]},
                    "user": _compact(
                        {
                            "uid": process.user.uid,
                            "gid": process.user.gid,
                            "umask": process.user.umask,
                            "additionalGids": list(process.user.additional_gids),
                        }
                    ),
                    "args": list(process.args),
                    "env": list(process.env),
                    "cwd": process.cwd,
                    "capabilities": _compact(
                        {
                            name: list(getattr(process.capabilities, name))
                            for name in field_names(Capabilities)
                        }
                    ),
                    "rlimits": [
                        {"type": limit.type, "soft": limit.soft, "hard": limit.hard}
                        for limit in process.rlimits
                    ],
                    "noNewPrivileges": process.no_new_privileges or None,
                    "oomScoreAdj": process.oom_score_adj,
                }
            ),
            "root": {"path": spec.root.path, "readonly": spec.root.readonly},
            "hostname": spec.hostname,
            "domainname": spec.domainname,
            "mounts": [_mount_json(mount) for mount in spec.mounts],
            "annotations": dict(spec.annotations),
            "linux": _linux_json(spec.linux),
            "hooks": _compact({"createContainer": [_hook_json(hook) for hook in spec.hooks]}),
        }
    )


def _compact(mapping: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in mapping.items()
        if value is not None and value != "" and value != [] and value != {}
    }


def _hook_json(hook: Hook) -> dict[str, Any]:
    return _compact(
        {
            "path": hook.path,
            "args": list(hook.args),
            "env": list(hook.env),
            "timeout": hook.timeout,
        }
    )


def _mount_json(mount: Mount) -> dict[str, Any]:
    return _compact(
        {
            "destination": mount.destination,
            "type": mount.type,
            "source": mount.source,
            "options": list(mount.options),
        }
    )


def _linux_json(linux: Linux) -> dict[str, Any]:
    return _compact(
        {
            "namespaces": [
                _compact({"type": entry.type, "path": entry.path}) for entry in linux.namespaces
            ],
            "devices": [
                {
                    "path": device.path,
                    "type": device.type,
                    "major": device.major,
                    "minor": device.minor,
                    "fileMode": device.file_mode,
                    "uid": device.uid,
                    "gid": device.gid,
                }
                for device in linux.devices
            ],
            "resources": _resources_json(linux.resources),
            "cgroupsPath": linux.cgroups_path,
            "maskedPaths": list(linux.masked_paths),
            "readonlyPaths": list(linux.readonly_paths),
            "sysctl": dict(linux.sysctl),
            "rootfsPropagation": linux.rootfs_propagation,
            "seccomp": None if linux.seccomp is None else dict(linux.seccomp),
        }
    )


def _resources_json(resources: Resources) -> dict[str, Any]:
    return _compact(
        {
            "devices": [
                _compact(
                    {
                        "allow": rule.allow,
                        "type": rule.type,
                        "major": rule.major,
                        "minor": rule.minor,
                        "access": rule.access,
                    }
                )
                for rule in resources.devices
            ],
            "memory": _compact(
                {
                    "limit": resources.memory_limit,
                    "swap": resources.memory_swap,
                    "reservation": resources.memory_reservation,
                }
            ),
            "cpu": _compact(
                {
                    "shares": resources.cpu_shares,
                    "quota": resources.cpu_quota,
                    "period": resources.cpu_period,
                    "cpus": resources.cpuset_cpus,
                    "mems": resources.cpuset_mems,
                }
            ),
            "pids": _compact({"limit": resources.pids_limit}),
            "unified": dict(resources.unified),
        }
    )


class _Reader:
    """Typed access to one JSON object; ``place`` is its dotted name for messages."""

    def __init__(self, value: Any, place: str) -> None:
        self._place = place
        if not isinstance(value, Mapping):
            raise self._fault("", "an object")
        self._value = value

    def _fault(self, key: str, wanted: str) -> RuntimeFault:
        place = ".".join(part for part in (self._place, key) if part) or "config.json"
        return RuntimeFault(
            f"{place} is not {wanted}",
            fix="see the OCI runtime specification, config.md",
            code="request-invalid",
        )

    def _get(self, key: str, kind: type[_T], default: _T, wanted: str) -> _T:
        value = self._value.get(key)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self._fault(key, wanted)
        return value

    def text(self, key: str, default: str = "") -> str:
        value = self._get(key, str, default, "a string")
        if "\0" in value:
            raise self._fault(key, "free of NUL bytes")
        return value

    def flag(self, key: str) -> bool:
        return self._get(key, bool, default=False, wanted="true or false")

    def number(self, key: str, default: int = 0) -> int:
        return self._get(key, int, default, "an integer")

    def optional(self, key: str) -> int | None:
        return self.number(key) if self._value.get(key) is not None else None

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if self._value.get(key) is not None else None

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._get(key, list, [], "a list")
        if not all(isinstance(value, str) and "\0" not in value for value in values):
            raise self._fault(key, "a list of strings without NUL bytes")
        return tuple(values)

    def table(self, key: str) -> dict[str, str]:
        values = self._get(key, dict, {}, "an object")
        if not all(isinstance(value, str) for value in values.values()):
            raise self._fault(key, "an object of strings")
        return dict(values)

    def child(self, key: str) -> _Reader:
        value = self._value.get(key)
        return _Reader({} if value is None else value, f"{self._place}.{key}".lstrip("."))

    def children(self, key: str) -> list[_Reader]:
        values = self._get(key, list, [], "a list")
        place = f"{self._place}.{key}".lstrip(".")
        return [_Reader(value, f"{place}[{index}]") for index, value in enumerate(values)]

    def spec(self) -> Spec:
        root = self.child("root")
        return Spec(
            process=self.child("process").process(),
            root=Root(path=root.text("path"), readonly=root.flag("readonly")),
            hostname=self.text("hostname"),
            domainname=self.text("domainname"),
            mounts=tuple(entry.mount() for entry in self.children("mounts")),
            linux=self.child("linux").linux(),
            annotations=self.table("annotations"),
            hooks=tuple(it.hook() for it in self.child("hooks").children("createContainer")),
        )

    def process(self) -> Process:
        args, cwd = self.texts("args"), self.text("cwd", "/")
        if not args:
            raise self._fault("args", "a list of at least one string")
        if not cwd.startswith("/"):
            raise self._fault("cwd", "an absolute path")
        user, size, sets = self.child("user"), self.child("consoleSize"), self.child("capabilities")
        rows, columns = size.number("height"), size.number("width")
        return Process(
            args=args,
            env=self.texts("env"),
            cwd=cwd,
            user=User(
                uid=user.number("uid"),
                gid=user.number("gid"),
                additional_gids=user.numbers("additionalGids"),
                umask=user.optional("umask"),
            ),
            terminal=self.flag("terminal"),
            console_size=(rows, columns) if rows and columns else None,
            capabilities=Capabilities(*(sets.texts(name) for name in field_names(Capabilities))),
            rlimits=tuple(
                Rlimit(entry.text("type"), entry.number("soft"), entry.number("hard"))
                for entry in self.children("rlimits")
            ),
            no_new_privileges=self.flag("noNewPrivileges"),
            oom_score_adj=self.optional("oomScoreAdj"),
        )

    def numbers(self, key: str) -> tuple[int, ...]:
        values = self._get(key, list, [], "a list")
        if not all(isinstance(value, int) for value in values):
            raise self._fault(key, "a list of integers")
        return tuple(values)

    def hook(self) -> Hook:
        path, timeout = self.text("path"), self.optional("timeout")
        if not path.startswith("/"):
            raise self._fault("path", "an absolute path")
        if timeout is not None and timeout <= 0:
            raise self._fault("timeout", "greater than zero")
        return Hook(path, self.texts("args"), self.texts("env"), timeout)

    def mount(self) -> Mount:
        destination = self.text("destination")
        if not destination.startswith("/"):
            raise self._fault("destination", "an absolute path")
        options = self.texts("options")
        bind = any(option in ("bind", "rbind") for option in options)
        kind = self.text("type", "bind" if bind else "none")
        return Mount(destination, "bind" if bind else kind, self.text("source"), options)

    def linux(self) -> Linux:
        seccomp = self._value.get("seccomp")
        if seccomp is not None and not isinstance(seccomp, Mapping):
            raise self._fault("seccomp", "an object")
        return Linux(
            namespaces=tuple(entry.namespace() for entry in self.children("namespaces")),
            devices=tuple(entry.device() for entry in self.children("devices")),
            resources=self.child("resources").resources(),
            cgroups_path=self.text("cgroupsPath"),
            masked_paths=self.texts("maskedPaths"),
            readonly_paths=self.texts("readonlyPaths"),
            sysctl=self.table("sysctl"),
            rootfs_propagation=self.text("rootfsPropagation", "private"),
            seccomp=seccomp,
        )

    def namespace(self) -> Namespace:
        kind = self.text("type")
        if kind not in NAMESPACES:
            raise self._fault("type", f"one of {', '.join(NAMESPACES)}")
        return Namespace(kind, self.text("path") or None)

    def device(self) -> Device:
        kind = self.text("type")
        if kind not in ("c", "u", "b", "p"):
            raise self._fault("type", "one of c, u, b, p")
        return Device(
            path=self.text("path"),
            type=kind,
            major=self.number("major"),
            minor=self.number("minor"),
            file_mode=self.number("fileMode", 0o666),
            uid=self.number("uid"),
            gid=self.number("gid"),
        )

    def resources(self) -> Resources:
        memory, cpu, pids = self.child("memory"), self.child("cpu"), self.child("pids")
        return Resources(
            devices=tuple(
                DeviceRule(
                    allow=rule.flag("allow"),
                    type=rule.text("type") or "a",
                    major=_every(rule.optional("major")),
                    minor=_every(rule.optional("minor")),
                    access=rule.text("access") or "rwm",
                )
                for rule in self.children("devices")
            ),
            memory_limit=memory.optional("limit"),
            memory_swap=memory.optional("swap"),
            memory_reservation=memory.optional("reservation"),
            cpu_shares=cpu.optional("shares"),
            cpu_quota=cpu.optional("quota"),
            cpu_period=cpu.optional("period"),
            cpuset_cpus=cpu.optional_text("cpus"),
            cpuset_mems=cpu.optional_text("mems"),
            pids_limit=pids.optional("limit"),
            unified=self.table("unified"),
        )


def _every(number: int | None) -> int | None:
    return None if number is None or number < 0 else number
