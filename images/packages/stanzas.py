"""Paragraphs of ``Key: value`` lines: Debian's control files and Python's metadata.

deb-control(5): a line that begins with a blank continues the value above, an empty line ends the
paragraph, keys are compared without case. Python's core metadata begins the description after an
empty line, so only its first paragraph is metadata.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from images.packages.model import DamagedPackageDataError

PARAGRAPHS: Final = 200_000
"""Packages of one database."""

Stanza = Mapping[str, list[list[str]]]
"""By key in lower case: each of its values as lines."""


def paragraphs(data: bytes) -> Iterator[Stanza]:
    """Each paragraph of a document; lines that are not of the format are passed over.

    Raises:
        DamagedPackageDataError: more paragraphs than any system has packages.
    """
    current: dict[str, list[list[str]]] = {}
    last: list[str] = []
    count = 0
    for line in (*data.decode("utf-8", "replace").split("\n"), ""):
        if not line.strip():
            if current:
                count += 1
                yield current
            if count > PARAGRAPHS:
                raise DamagedPackageDataError(f"more than {PARAGRAPHS} packages in one list")
            current, last = {}, []
        elif line[0] in " \t":
            last.append(line.strip())
        else:
            key, colon, value = line.partition(":")
            last = [value.strip()]
            if colon:
                current.setdefault(key.strip().lower(), []).append(last)


def first(stanza: Stanza, key: str) -> str:
    """The first line of the first value, empty if there is none."""
    values = stanza.get(key)
    return values[0][0] if values else ""


def every(stanza: Stanza, key: str) -> list[str]:
    """The first line of each value."""
    return [value[0] for value in stanza.get(key, ())]
