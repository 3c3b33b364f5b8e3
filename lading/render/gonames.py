"""JSON objects by the names of Go's fields: templates say ``.MediaType``, documents mediaType."""

from __future__ import annotations

from typing import Any

_IRREGULAR = {
    "OS": "os",
    "OSVersion": "os.version",
    "OSFeatures": "os.features",
    "URLs": "urls",
    "SBOM": "sbom",
}


class GoObject(dict[str, Any]):
    """An object that answers to both spellings; written as JSON it has its own."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (
            isinstance(name, str) and super().__contains__(_json_name(name))
        )

    def __missing__(self, name: str) -> Any:
        return super().__getitem__(_json_name(name))


def go_names(value: Any) -> Any:
    """``value`` with every object in it as a ``GoObject``."""
    if isinstance(value, dict):
        return GoObject({key: go_names(item) for key, item in value.items()})
    if isinstance(value, list):
        return [go_names(item) for item in value]
    return value


def _json_name(name: str) -> str:
    return _IRREGULAR.get(name) or name[:1].lower() + name[1:]
