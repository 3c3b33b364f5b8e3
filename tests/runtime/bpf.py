"""A classic BPF machine, as much of it as seccomp allows; bpf(4), seccomp(2)."""

from __future__ import annotations

import struct

ARCHITECTURES = {"x86_64": 0xC000003E, "i386": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}


def seccomp_data(architecture: str, number: int, arguments: tuple[int, ...] = ()) -> bytes:
    """``struct seccomp_data``; numbers and arguments wrap as registers do."""
    padded = [value & 0xFFFFFFFFFFFFFFFF for value in (*arguments, *[0] * 6)][:6]
    return struct.pack("=IIQ6Q", number & 0xFFFFFFFF, ARCHITECTURES[architecture], 0, *padded)


def execute(program: bytes, data: bytes) -> int:
    """The program's verdict; a jump out of the program is an IndexError."""
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator = counter = 0
    while True:
        code, jump_true, jump_false, value = instructions[counter]
        counter += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x54:
                accumulator &= value
            case 0x05:
                counter += value
            case 0x15:
                counter += jump_true if accumulator == value else jump_false
            case 0x25:
                counter += jump_true if accumulator > value else jump_false
            case 0x35:
                counter += jump_true if accumulator >= value else jump_false
            case 0x06:
                return value
            case _:
                raise AssertionError(f"instruction {code:#x} is not one seccomp takes")
