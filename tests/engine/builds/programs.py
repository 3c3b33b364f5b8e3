"""Programs of other machines, assembled by hand: they write one line and end."""

from __future__ import annotations

import struct

BASE = 0x400000


def arm64_program(line: bytes) -> bytes:
    """A static ELF program for Linux on arm64 that writes ``line``: write(1, ...), exit(0)."""
    code_at = 64 + 56
    text_at = BASE + code_at + 4 * 9
    code = [
        _movz(0, 1),
        _movz(1, text_at & 0xFFFF),
        0xF2A00000 | (text_at >> 16) << 5 | 1,  # movk x1, #high, lsl #16
        _movz(2, len(line)),
        _movz(8, 64),
        0xD4000001,  # svc #0
        _movz(0, 0),
        _movz(8, 93),
        0xD4000001,
    ]
    body = struct.pack(f"<{len(code)}I", *code) + line
    size = code_at + len(body)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, BASE + code_at, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x1000)
    return ident + header + segment + body


def _movz(register: int, value: int) -> int:
    return 0xD2800000 | value << 5 | register
