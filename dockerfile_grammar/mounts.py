"""``RUN --mount``: from options as written to a checked mount, once variables have their values.

Dockerfile reference, "RUN --mount"; the messages are BuildKit's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from dockerfile_grammar.errors import MountError
from dockerfile_grammar.quoting import quoted
from dockerfile_grammar.suggest import nearest, with_suggestion
from records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dockerfile_grammar.nodes import Mount

MountType: TypeAlias = Literal["bind", "cache", "tmpfs", "secret", "ssh"]

TYPES: tuple[MountType, ...] = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARINGS = ("shared", "private", "locked")
KEYS = (
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
)

_ALIASES: Mapping[str, str] = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
}
_BARE = frozenset({"readonly", "readwrite", "required"})
_ONLY_FOR: Mapping[str, frozenset[str]] = {
    "size": frozenset({"tmpfs"}),
    "sharing": frozenset({"cache"}),
    "required": frozenset({"secret", "ssh"}),
    "env": frozenset({"secret"}),
}
_NOT_FOR_BIND = ("mode", "uid", "gid")
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


class MountSpec(Record):
    """A mount whose options have been expanded and checked; None where an option was not given."""

    type: MountType = "bind"
    source: str | None = None
    target: str | None = None
    """As written; relative to the working directory."""
    from_: str | None = None
    read_only: bool = True
    id: str | None = None
    sharing: str = "shared"
    size: int = 0
    """Bytes; 0 is no limit."""
    required: bool = False
    env: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


def resolve(mount: Mount, expand: Callable[[str], str]) -> MountSpec:
    """Expand and check a mount's options.

    Args:
        mount: the options as written.
        expand: gives a value its variables.

    Raises:
        MountError: an unknown key or type, a value of the wrong kind, or a key its type does not
            allow. ExpansionError: raised by ``expand``.
    """
    check_fields(mount)
    values: dict[str, str] = {}
    for key, value in mount.options:
        name, text = _option(key, value, expand)
        values[name] = text
        if name in ("readonly", "readwrite"):
            values.pop("readwrite" if name == "readonly" else "readonly", None)
    kind = values.get("type", "bind").lower()
    if kind not in TYPES:
        raise MountError(
            with_suggestion(f"unsupported mount type {quoted(values['type'])}", kind, TYPES),
            fix=f"use one of {', '.join(TYPES)}",
        )
    _check_allowed(kind, values)
    return MountSpec(
        type=kind,
        source=values.get("source"),
        target=values.get("target"),
        from_=values.get("from"),
        read_only=_read_only(kind, values),
        id=values.get("id"),
        sharing=_sharing(values.get("sharing", "shared")),
        size=_size(values["size"]) if "size" in values else 0,
        required=values.get("required") == "true",
        env=values.get("env"),
        mode=_number(values, "mode", base=8),
        uid=_number(values, "uid"),
        gid=_number(values, "gid"),
    )


def check_fields(mount: Mount, *, offset: int | None = None) -> None:
    """Refuse what no value of a variable can mend: a bare key that needs a value.

    Raises:
        MountError: there is one.
    """
    for key, value in mount.options:
        name = _ALIASES.get(key.lower(), key.lower())
        if value is None and name not in _BARE:
            raise MountError(
                f"invalid field '{key}' must be a key=value pair",
                fix=f"write {key}=value",
                offset=offset,
            )


def _option(key: str, value: str | None, expand: Callable[[str], str]) -> tuple[str, str]:
    """The canonical name of an option and its expanded value."""
    lowered = key.lower()
    name = _ALIASES.get(lowered, lowered)
    if lowered not in KEYS:
        field = key if value is None else f"{key}={value}"
        near = nearest(lowered, KEYS)
        raise MountError(
            with_suggestion(f"unexpected key '{lowered}' in '{field}'", lowered, KEYS),
            fix=f"write {near}" if near else f"use one of {', '.join(KEYS)}",
        )
    if value is None:
        return name, "true"
    text = expand(value)
    if name == "from" and value and not text:
        raise MountError(
            f"the name in from={value} is empty",
            fix="declare the argument in this stage, or give it a value",
        )
    if name in _BARE:
        if text.lower() not in ("true", "false", "1", "0"):
            raise MountError(f"invalid value for {lowered}: {text}", fix="write true or false")
        text = "true" if text.lower() in ("true", "1") else "false"
    return name, text


def _check_allowed(kind: MountType | str, values: Mapping[str, str]) -> None:
    for name, allowed in _ONLY_FOR.items():
        if name in values and kind not in allowed:
            raise MountError(
                f"unexpected key '{name}' for mount type '{kind}'",
                fix=f"{name} belongs to type={'|'.join(sorted(allowed))}",
            )
    for name in _NOT_FOR_BIND:
        if name in values and kind == "bind":
            raise MountError(f'{name} not allowed for "bind" type mounts', fix=f"remove {name}")
    if kind == "secret" and "source" in values and "id" in values:
        raise MountError("both source and id can't be set", fix="keep id")
    if kind == "secret" and not {"source", "target", "id"} & set(values):
        raise MountError(
            "invalid secret mount. one of source, target required", fix="write id=name"
        )
    if kind in ("bind", "cache", "tmpfs"):
        target = values.get("target", "")
        if not target:
            raise MountError(
                f"target required for {quoted(kind)} type mounts", fix="write target=/path"
            )
        if "/" in target and not target.strip("/"):
            raise MountError(
                f"invalid mount target {quoted(target)}", fix="choose another directory"
            )


def _read_only(kind: str, values: Mapping[str, str]) -> bool:
    """A bind mount is read-only unless asked otherwise, every other type is not."""
    if "readwrite" in values:
        return values["readwrite"] == "false"
    if "readonly" in values:
        return values["readonly"] == "true"
    return kind == "bind"


def _sharing(value: str) -> str:
    lowered = value.lower()
    if lowered not in SHARINGS:
        raise MountError(
            with_suggestion(f"unsupported sharing value {quoted(value)}", lowered, SHARINGS),
            fix=f"use one of {', '.join(SHARINGS)}",
        )
    return lowered


def _number(values: Mapping[str, str], name: str, *, base: int = 10) -> int | None:
    text = values.get(name)
    if text is None:
        return None
    digits = "01234567" if base == 8 else "0123456789"
    if not text or len(text) > 12 or any(char not in digits for char in text):
        raise MountError(
            f"invalid value {text} for {name}",
            fix="write an octal number such as 0755" if base == 8 else "write a number",
        )
    return int(text, base)


def _size(text: str) -> int:
    """``64m``, ``1g``, ``512k``, plain bytes (docker/go-units, RAMInBytes)."""
    number = text.rstrip("bBkKmMgGtTpPiI ")
    unit = text[len(number) :].strip().lower().removesuffix("b").removesuffix("i")
    scale = _UNITS.get(unit)
    try:
        value = float(number)
    except ValueError:
        scale = None
    if scale is None or not 0 <= value < 2**40:
        raise MountError(f"invalid value for size: {text}", fix="write a size such as 64m")
    return int(value * scale)
