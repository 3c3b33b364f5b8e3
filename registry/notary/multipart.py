"""The body of a publish: multipart/form-data (RFC 7578), read strictly.

A role is a part's file name, slash included: what a path library would call its base name is not
looked at. Truncated, nested or nameless bodies are refused whole.
"""

from __future__ import annotations

import re
from typing import Final

from registry.notary.errors import NotaryError

MAX_PARTS: Final = 1024

_BOUNDARY: Final = re.compile(
    r'multipart/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE
)
_FILENAME: Final = re.compile(
    rb'^content-disposition:\s*form-data\s*;.*?\bfilename="([^"\r\n]*)"',
    re.IGNORECASE | re.MULTILINE,
)


def boundary_of(content_type: str) -> bytes:
    """The boundary of a request's Content-Type.

    Raises:
        NotaryError: MALFORMED_UPLOAD.
    """
    match = _BOUNDARY.match(content_type)
    if match is None:
        raise NotaryError("MALFORMED_UPLOAD", detail="not multipart/form-data with a boundary")
    return (match[1] or match[2]).encode("utf-8", "replace")


def parse(body: bytes, boundary: bytes) -> dict[str, bytes]:
    """The parts by role.

    Raises:
        NotaryError: MALFORMED_UPLOAD; NO_FILENAME; INVALID_ROLE for a role that comes twice.
    """
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if len(parts) < 3 or parts[-1] not in (b"--", b"--\r\n") or len(parts) > MAX_PARTS:
        raise NotaryError("MALFORMED_UPLOAD", detail="the body is cut off, or has no parts")
    found: dict[str, bytes] = {}
    for part in parts[1:-1]:
        role, data = _part(part)
        if role in found:
            raise NotaryError("INVALID_ROLE", detail=f"{role[:200]} was sent twice")
        found[role] = data
    return found


def _part(part: bytes) -> tuple[str, bytes]:
    head, blank, data = part.partition(b"\r\n\r\n")
    if not part.startswith(b"\r\n") or not blank:
        raise NotaryError("MALFORMED_UPLOAD", detail="a part has no header")
    match = _FILENAME.search(head.removeprefix(b"\r\n"))
    if match is None or not match[1].removesuffix(b".json"):
        raise NotaryError("NO_FILENAME")
    return match[1].removesuffix(b".json").decode("utf-8", "replace"), data
