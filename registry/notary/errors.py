"""What the Notary service answers when it refuses: its codes, and the detail its clients read.

A client reads one KiB of a 400 and wants exactly one error, whose ``detail`` names a class of
notary's ``validation`` package.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from registry.errors import WireCode

CODES: Final[Mapping[str, WireCode]] = MappingProxyType(
    {
        "NO_FILENAME": WireCode(400, "a part of the upload has no file name"),
        "INVALID_ROLE": WireCode(400, "there is no such role"),
        "MALFORMED_JSON": WireCode(400, "the metadata is not JSON"),
        "MALFORMED_UPLOAD": WireCode(400, "the upload is not multipart/form-data"),
        "INVALID_UPDATE": WireCode(400, "the upload is not valid"),
        "VERSION": WireCode(400, "a newer version is already published"),
        "INVALID_GUN": WireCode(400, "the name of the collection is not valid"),
        "INVALID_PARAMETERS": WireCode(400, "a parameter is not valid"),
        "METADATA_NOT_FOUND": WireCode(404, "there is no such trust data"),
        "GENERIC_NOT_FOUND": WireCode(404, "there is no such resource"),
        "UPDATING": WireCode(500, "the upload cannot be stored"),
        "NO_CRYPTOSERVICE": WireCode(500, "the server's keys cannot be used"),
    }
)

_DETAIL_LIMIT: Final = 400
"""Characters of a message, so that the whole answer stays within the KiB that clients read."""


class NotaryError(Exception):
    """A refusal on its way to the client."""

    def __init__(self, code: str, *, detail: Any = None) -> None:
        self.code = code
        self.detail = detail
        self.status = CODES[code].status
        super().__init__(f"{code}: {CODES[code].message}")

    def body(self) -> bytes:
        """The JSON body."""
        import orjson

        error = {"code": self.code, "message": CODES[self.code].message, "detail": self.detail}
        return orjson.dumps({"errors": [error]})


class InvalidUpdateError(NotaryError):
    """An upload breaks a rule. ``name`` is ErrValidation, ErrBadRoot, ErrBadTargets,
    ErrBadSnapshot or ErrBadHierarchy; ``missing`` the role that the last one wants.
    """

    def __init__(self, name: str, message: str, *, missing: str | None = None) -> None:
        error = {"Msg": message[:_DETAIL_LIMIT]}
        if missing is not None:
            error["Missing"] = missing
        self.name = name
        super().__init__("INVALID_UPDATE", detail={"Name": name, "Error": error})
