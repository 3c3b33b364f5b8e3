"""RUN --mount: from written options to one typed mount.

Dockerfile reference, "RUN --mount"; messages are BuildKit's. Values are expanded by the caller's
function; ``from`` is resolved by the caller, who knows the stages.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass

from builder.plan import paths
from builder.plan.ops import (
    BindSpec,
    CacheSpec,
    MountSpec,
    SecretSpec,
    SshSpec,
    StepId,
    TmpfsSpec,
)
from dockerfile_grammar.nodes import Mount
from dockerfile_grammar.suggest import nearest

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING = ("shared", "private", "locked")
_ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
}
_KEYS = (
    *("type", "from", "source", "target", "readonly", "readwrite", "id", "sharing", "required"),
    *("size", "mode", "uid", "gid", "env"),
)
_ALLOWED = {
    "bind": {"from", "source", "target", "readonly", "readwrite"},
    "cache": {
        *("from", "source", "target", "readonly", "readwrite"),
        *("id", "sharing", "mode", "uid", "gid"),
    },
    "tmpfs": {"target", "size", "readwrite", "readonly"},
    "secret": {"source", "target", "id", "required", "mode", "uid", "gid", "env"},
    "ssh": {"source", "target", "id", "required", "mode", "uid", "gid"},
}
_BARE = {"readonly", "readwrite", "required"}
_TRUE = {"1", "t", "true"}
_FALSE = {"0", "f", "false"}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?\Z")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


class MountError(ValueError):
    """A mount option that is not allowed; the text is the message."""


@dataclass(frozen=True, slots=True)
class MountSurroundings:
    """What a mount depends on: its WORKDIR, its stage's variables and the other stages."""

    workdir: str
    expand: Callable[[str], str]
    source_step: Callable[[str], StepId | None]
    """From a ``from`` value to a step; None stands for the build context."""


def parse_mount(mount: Mount, around: MountSurroundings, *, ssh_index: int = 0) -> MountSpec:
    """Read one mount; ``ssh_index`` counts the ssh mounts of this RUN that came before.

    Raises:
        MountError: an unknown key or type, a value that does not fit, a target missing.
        ExpansionError: a variable cannot be expanded.
    """
    options = _read(mount, around.expand)
    kind = options.pop("type", "bind").lower()
    if kind not in TYPES:
        raise MountError(_suggest(f'unsupported mount type "{kind}"', kind, TYPES))
    _check_keys(kind, options)
    match kind:
        case "bind":
            return _bind(options, around)
        case "cache":
            return _cache(options, around)
        case "tmpfs":
            return TmpfsSpec(_target(options, around), parse_size(options.get("size", "0")))
        case "secret":
            return _secret(options, around)
    return _ssh(options, around, ssh_index)


def parse_size(text: str) -> int:
    """A byte count with an optional binary unit: ``64m``, ``1.5g``.

    Raises:
        MountError: not a size.
    """
    match = _SIZE.match(text.strip().lower())
    if match is None:
        raise MountError(f"invalid size: '{text}'")
    return int(float(match[1]) * _UNITS[match[2]])


def _read(mount: Mount, expand: Callable[[str], str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for written, value in mount.options:
        key = written.lower()
        key = _ALIASES.get(key, key)
        if value is None and key not in _BARE:
            raise MountError(f"invalid field '{written}' must be a key=value pair")
        if key not in _KEYS:
            message = f"unexpected key '{written}' in '{written}={value}'"
            raise MountError(_suggest(message, written, (*_KEYS, *_ALIASES)))
        options[key] = "true" if value is None else expand(value)
    return options


def _check_keys(kind: str, options: dict[str, str]) -> None:
    for key in options:
        if key in _ALLOWED[kind]:
            continue
        if key in ("mode", "uid", "gid"):
            raise MountError(f'{key} not allowed for "{kind}" type mounts')
        raise MountError(f"unexpected key '{key}' for mount type '{kind}'")


def _bind(options: dict[str, str], around: MountSurroundings) -> BindSpec:
    return BindSpec(
        target=_target(options, around),
        source=paths.clean(options.get("source", "/")),
        from_=_from(options, around),
        read_only=_read_only(options, default=True),
    )


def _cache(options: dict[str, str], around: MountSurroundings) -> CacheSpec:
    target = _target(options, around)
    sharing = options.get("sharing", "shared").lower()
    if sharing not in SHARING:
        raise MountError(_suggest(f'unsupported sharing value "{sharing}"', sharing, SHARING))
    return CacheSpec(
        target=target,
        id=options.get("id") or target,
        sharing=sharing,
        read_only=_read_only(options, default=False),
        mode=_octal(options, 0o755),
        uid=_number(options, "uid"),
        gid=_number(options, "gid"),
        from_=_from(options, around),
        source=paths.clean(options["source"]) if "source" in options else "",
    )


def _secret(options: dict[str, str], around: MountSurroundings) -> SecretSpec:
    source, target, name = options.get("source"), options.get("target"), options.get("id")
    if source and name:
        raise MountError("both source and id can't be set")
    secret_id = source or name or (posixpath.basename(target) if target else "")
    if not secret_id:
        raise MountError("invalid secret mount. one of source, target required")
    env = options.get("env")
    if not target and env is None:
        target = f"/run/secrets/{posixpath.basename(secret_id)}"
    return SecretSpec(
        id=secret_id,
        target=paths.join(around.workdir, target) if target else None,
        env=env,
        required=_flag(options, "required"),
        mode=_octal(options, 0o400),
        uid=_number(options, "uid"),
        gid=_number(options, "gid"),
    )


def _ssh(options: dict[str, str], around: MountSurroundings, index: int) -> SshSpec:
    target = options.get("target")
    return SshSpec(
        id=options.get("id") or options.get("source") or "default",
        target=paths.join(around.workdir, target or f"/run/buildkit/ssh_agent.{index}"),
        sets_variable=not target,
        required=_flag(options, "required"),
        mode=_octal(options, 0o600),
        uid=_number(options, "uid"),
        gid=_number(options, "gid"),
    )


def _target(options: dict[str, str], around: MountSurroundings) -> str:
    written = options.get("target")
    if not written:
        raise MountError("invalid mount target: target is required")
    target = paths.join(around.workdir, written)
    if target == "/":
        raise MountError('invalid mount target "/"')
    return target


def _from(options: dict[str, str], around: MountSurroundings) -> StepId | None:
    name = options.get("from")
    return around.source_step(name) if name else None


def _read_only(options: dict[str, str], *, default: bool) -> bool:
    if "readwrite" in options:
        return not _flag(options, "readwrite")
    return _flag(options, "readonly") if "readonly" in options else default


def _flag(options: dict[str, str], key: str) -> bool:
    value = options.get(key, "false")
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise MountError(f"invalid value for {key}: {value}")


def _octal(options: dict[str, str], default: int) -> int:
    value = options.get("mode")
    if value is None:
        return default
    try:
        mode = int(value, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise MountError(f"invalid value {value} for mode")
    return mode


def _number(options: dict[str, str], key: str) -> int:
    value = options.get(key, "0")
    if not (value.isascii() and value.isdigit()):
        raise MountError(f"invalid value {value} for {key}")
    return int(value)


def _suggest(message: str, word: str, candidates: tuple[str, ...]) -> str:
    near = nearest(word, candidates)
    return f"{message} (did you mean {near}?)" if near else message
