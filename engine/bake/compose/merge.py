"""One compose file over another, and the short forms of compose as their long ones.

https://github.com/compose-spec/compose-spec/blob/main/13-merge.md
"""

from __future__ import annotations

from typing import Any, Final

from engine.bake.compose.document import Replacement, Reset
from engine.bake.errors import BakeValueError

SERVICE_FIELDS: Final = ("image", "build", "environment", "env_file", "extends")
"""What of a service matters to its build."""
_MAPPED: Final = ("args", "labels", "additional_contexts", "environment")
"""Mappings that may be written as lists of ``NAME=value``."""


def service(raw: object, where: str) -> dict[str, Any]:
    """A service reduced to what matters, in long forms; raises BakeValueError."""
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise BakeValueError("a service is a mapping", where=where)
    made = {key: raw[key] for key in SERVICE_FIELDS if key in raw}
    if isinstance(made.get("build"), str):
        made["build"] = {"context": made["build"]}
    build = made.get("build")
    if isinstance(build, dict):
        made["build"] = {key: _long(key, value, where) for key, value in build.items()}
    elif build is not None and not isinstance(build, Reset | Replacement):
        raise BakeValueError("build is a path or a mapping", where=where)
    if "environment" in made:
        made["environment"] = _long("environment", made["environment"], where)
    return made


def _long(key: str, value: Any, where: str) -> Any:
    if key in _MAPPED and isinstance(value, list):
        return dict(_pair(item, "=", f"{where}.{key}") for item in value)
    if key == "extra_hosts":
        return _hosts(value, f"{where}.{key}")
    return value


def _pair(item: object, separators: str, where: str) -> tuple[str, str | None]:
    if not isinstance(item, str):
        raise BakeValueError(f"{item!r} is no NAME=value", where=where)
    for separator in separators:
        name, found, value = item.partition(separator)
        if found:
            return name, value
    return item, None


def _hosts(value: Any, where: str) -> Any:
    """Names with all their addresses; both ``name=ip`` and ``name:ip`` are written."""
    if isinstance(value, list):
        pairs = [_pair(item, "=:", where) for item in value]
    elif isinstance(value, dict):
        pairs = [
            (name, str(one))
            for name, addresses in value.items()
            for one in (addresses if isinstance(addresses, list) else [addresses])
        ]
    else:
        return value
    found: dict[str, list[str]] = {}
    for name, address in pairs:
        if address is None:
            raise BakeValueError(f"{name!r} has no address", where=where)
        known = found.setdefault(name, [])
        if address.strip("[]") not in known:
            known.append(address.strip("[]"))
    return found


def merged(base: Any, over: Any) -> Any:
    """``over`` upon ``base``: mappings by name, lists one after the other, the rest replaced."""
    if isinstance(over, Replacement):
        return over.value
    if over is None:
        return base
    if isinstance(base, dict) and isinstance(over, dict):
        made = dict(base)
        for key, value in over.items():
            if isinstance(value, Reset):
                made.pop(key, None)
            else:
                made[key] = merged(base.get(key), value)
        return made
    if isinstance(base, list) and isinstance(over, list):
        return [*base, *(item for item in over if item not in base)]
    return resolved(over)


def resolved(item: Any) -> Any:
    """A document without the tags that only say how it is merged."""
    if isinstance(item, Replacement):
        return resolved(item.value)
    if isinstance(item, dict):
        return {key: resolved(one) for key, one in item.items() if not isinstance(one, Reset)}
    if isinstance(item, list):
        return [resolved(one) for one in item if not isinstance(one, Reset)]
    return None if isinstance(item, Reset) else item
