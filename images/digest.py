"""Digests: content addresses that are safe as file names once parsed.

OCI image specification, descriptor.md, "Digests".
"""

from __future__ import annotations

import hashlib
import re

from images.errors import InvalidDigestError
from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import _Hash
    from typing import Self

HEX_LENGTHS = {"sha256": 64, "sha512": 128}
"""The algorithms that are read and written, with the length of their lower-case hex form."""

_HEX = re.compile(r"[0-9a-f]+\Z")


class Digest(Record, order=True):
    """A checked ``algorithm:hex`` pair."""

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        length = HEX_LENGTHS.get(self.algorithm)
        if length is None:
            raise InvalidDigestError(
                f"unsupported digest algorithm {self.algorithm!r}",
                fix=f"use one of {', '.join(HEX_LENGTHS)}",
            )
        if len(self.hex) != length or not _HEX.match(self.hex):
            raise InvalidDigestError(
                f"invalid digest {self.algorithm}:{self.hex[:140]!s}",
                fix=f"{self.algorithm} digests have {length} lower-case hex digits",
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``algorithm:hex``.

        Raises:
            InvalidDigestError: unknown algorithm, wrong length or alphabet.
        """
        algorithm, separator, hexadecimal = text.partition(":")
        if not separator:
            raise InvalidDigestError(
                f"invalid digest {text[:140]!r}", fix="digests look like sha256:<64 hex digits>"
            )
        return cls(algorithm, hexadecimal)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Self:
        """Hash ``data``."""
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    @classmethod
    def from_hash(cls, hasher: _Hash) -> Self:
        """Take the digest of a finished hashlib object."""
        return cls(hasher.name, hasher.hexdigest())

    def hasher(self) -> _Hash:
        """Return a fresh hashlib object of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    @property
    def short(self) -> str:
        """The first 12 hex digits, as listings show them."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
