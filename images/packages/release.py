"""The distribution an image is of: os-release(5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from images.packages.model import clean

PATHS: Final = ("etc/os-release", "usr/lib/os-release")
"""The first one that is there counts."""

_LINE: Final = re.compile(r"\s*([A-Z][A-Z0-9_]*)=(.*)\Z")
_QUOTED: Final = re.compile(r"""(["'])(.*)\1\s*\Z""")
_IDENTIFIER: Final = re.compile(r"[a-z0-9._-]+\Z")


@dataclass(frozen=True, slots=True)
class Release:
    """``id`` and ``version`` are in lower case and plain characters; ``name`` is for people."""

    id: str = ""
    version: str = ""
    name: str = ""


def parse_release(data: bytes) -> Release:
    """Read an os-release file; what it does not say, or says in a wrong form, is empty.

    Raises:
        DamagedPackageDataError: absurdly long fields.
    """
    values: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        matched = _LINE.match(line)
        if matched is not None:
            quoted = _QUOTED.match(matched[2])
            values[matched[1]] = clean(re.sub(r"\\(.)", r"\1", quoted[2]) if quoted else matched[2])
    version = values.get("VERSION_ID", "")
    return Release(
        id=_plain(values.get("ID", "")),
        version=_plain(version),
        name=values.get("PRETTY_NAME", ""),
    )


def _plain(text: str) -> str:
    return text.lower() if _IDENTIFIER.match(text.lower()) else ""
