"""As much of DER (X.690) as an encrypted private key of notary needs."""

from __future__ import annotations

from typing import Final

INTEGER: Final = 0x02
OCTETS: Final = 0x04
NULL: Final = 0x05
OID: Final = 0x06
SEQUENCE: Final = 0x30


def encode(tag: int, *contents: bytes) -> bytes:
    """One element around the concatenated ``contents``."""
    body = b"".join(contents)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def integer(value: int) -> bytes:
    """A non-negative INTEGER."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def elements(data: bytes, *, padded: bool = False) -> list[tuple[int, bytes]]:
    """The elements that ``data`` is made of; ``padded``: only the first, filler follows it.

    Raises:
        ValueError: it is cut off, or of a form that keys do not have.
    """
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        tag, length, at = _head(data, at)
        if at + length > len(data):
            raise ValueError("a DER element is cut off")
        found.append((tag, data[at : at + length]))
        at += length
        if padded:
            break
    return found


def sequence(data: bytes, *, padded: bool = False) -> list[tuple[int, bytes]]:
    """The members of the one SEQUENCE that ``data`` is; raises ``ValueError``."""
    found = elements(data, padded=padded)
    if len(found) != 1 or found[0][0] != SEQUENCE:
        raise ValueError("not one DER sequence")
    return elements(found[0][1])


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    if at + 2 > len(data):
        raise ValueError("a DER element is cut off")
    tag, first = data[at], data[at + 1]
    if first < 0x80:
        return tag, first, at + 2
    width = first & 0x7F
    if not 1 <= width <= 4 or at + 2 + width > len(data):
        raise ValueError("a DER length is malformed")
    return tag, int.from_bytes(data[at + 2 : at + 2 + width], "big"), at + 2 + width
