"""JSON objects by the names of Go's fields: templates say ``.MediaType``, documents mediaType.

What is a struct in Go has the fields that it has; what is a map there has no value for other keys.
"""

from __future__ import annotations

from typing import Any

_IRREGULAR = {
    "OS": "os",
    "OSVersion": "os.version",
    "OSFeatures": "os.features",
    "URLs": "urls",
    "SBOM": "sbom",
    "RootFS": "rootfs",
    "DiffIDs": "diff_ids",
    "CreatedBy": "created_by",
    "EmptyLayer": "empty_layer",
}
_MAPS = ("Labels", "annotations", "ExposedPorts", "Volumes", "provenance", "sbom", "image")
"""Fields with maps of Go, and what anybody may have written."""


class GoObject(dict[str, Any]):
    """An object that answers to both spellings; written as JSON it has its own."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (
            isinstance(name, str) and super().__contains__(_json_name(name))
        )

    def __missing__(self, name: str) -> Any:
        return super().__getitem__(_json_name(name))


class GoMap(GoObject):
    """An object whose keys are anybody's: those that are missing have no value."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)

    def __missing__(self, name: str) -> Any:
        return super().get(_json_name(name))


def go_names(value: Any, field: str = "") -> Any:
    """``value``, which the field of that name has, with every object in it as a ``GoObject``."""
    if isinstance(value, list):
        return [go_names(item, field) for item in value]
    if not isinstance(value, dict):
        return value
    kind, below = GoObject, dict.fromkeys(value, "")
    if field == "image":
        # The config of the only platform is a struct, several are a map of those.
        kind = GoMap if any("/" in key for key in value) else GoObject
    elif field in _MAPS:
        # What is stated is maps all the way down.
        kind, below = GoMap, dict.fromkeys(value, field)
    if kind is GoObject:
        below = {key: key for key in value}
    return kind({key: go_names(item, below[key]) for key, item in value.items()})


def _json_name(name: str) -> str:
    return _IRREGULAR.get(name) or name[:1].lower() + name[1:]
