"""The device allow-list of cgroup v2: rules to eBPF by hand, loaded and attached to a directory.

``bpf(2)`` BPF_PROG_TYPE_CGROUP_DEVICE; the kernel calls the program with ``struct
bpf_cgroup_dev_ctx`` and refuses the access when it returns 0. Rules mean what they mean on v1:
later ones win, an ``a`` rule makes all before it moot, and what no rule names is refused.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable, Sequence
from typing import Final

from runtime import constants as k
from runtime import syscalls
from runtime.config import DeviceRule

_LOAD_WORD: Final = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_MOVE: Final = 0xBC  # BPF_ALU | BPF_MOV | BPF_X
_MOVE_VALUE: Final = 0xB7  # BPF_ALU64 | BPF_MOV | BPF_K
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_SHIFT_RIGHT: Final = 0x74  # BPF_ALU | BPF_RSH | BPF_K
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_UNEQUAL: Final = 0x55  # BPF_JMP | BPF_JNE | BPF_K
_JUMP_DIFFERENT: Final = 0x5D  # BPF_JMP | BPF_JNE | BPF_X
_EXIT: Final = 0x95

_ANSWER, _CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR = range(6)
_TYPES: Final = {"b": 1, "c": 2}
_ACCESSES: Final = {"m": 1, "r": 2, "w": 4}
_ALLOW_MULTI: Final = 2
_LICENSE: Final = ctypes.create_string_buffer(b"Apache-2.0")


def compile_rules(rules: Sequence[DeviceRule]) -> bytes:
    """An array of struct bpf_insn for ``rules``."""
    program = [
        _instruction(_LOAD_WORD, _TYPE, _CONTEXT, offset=0),
        _instruction(_MOVE, _ACCESS, _TYPE),
        _instruction(_SHIFT_RIGHT, _ACCESS, value=16),
        _instruction(_AND, _TYPE, value=0xFFFF),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, offset=4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, offset=8),
    ]
    for rule in reversed(rules):
        program += _rule(rule)
        if rule.type == "a":
            break
    else:
        program += _verdict(allow=False)
    return b"".join(program)


def _rule(rule: DeviceRule) -> list[bytes]:
    """Answer if the rule applies, else fall through."""
    if rule.type == "a":
        return _verdict(allow=rule.allow)
    mask = sum(_ACCESSES[letter] for letter in set(rule.access) if letter in _ACCESSES)
    checks: list[tuple[int, int, int, int]] = [(_JUMP_UNEQUAL, _TYPE, 0, _TYPES[rule.type])]
    if rule.allow:
        # All of the access asked for must be granted; any part of it can be refused.
        checks += [(_MOVE, _ANSWER, _ACCESS, 0), (_AND, _ANSWER, 0, mask)]
        checks.append((_JUMP_DIFFERENT, _ANSWER, _ACCESS, 0))
    else:
        checks += [(_MOVE, _ANSWER, _ACCESS, 0), (_AND, _ANSWER, 0, mask)]
        checks.append((_JUMP_EQUAL, _ANSWER, 0, 0))
    if rule.major is not None:
        checks.append((_JUMP_UNEQUAL, _MAJOR, 0, rule.major))
    if rule.minor is not None:
        checks.append((_JUMP_UNEQUAL, _MINOR, 0, rule.minor))
    verdict = _verdict(allow=rule.allow)
    jumps = (_JUMP_EQUAL, _JUMP_UNEQUAL, _JUMP_DIFFERENT)
    block = []
    for place, (code, target, source, value) in enumerate(checks, 1):
        beyond = len(checks) - place + len(verdict) if code in jumps else 0
        block.append(_instruction(code, target, source, offset=beyond, value=value))
    return [*block, *verdict]


def _verdict(*, allow: bool) -> list[bytes]:
    return [_instruction(_MOVE_VALUE, _ANSWER, value=int(allow)), _instruction(_EXIT)]


def _instruction(
    code: int, target: int = 0, source: int = 0, *, offset: int = 0, value: int = 0
) -> bytes:
    return struct.pack("=BBhi", code, target | source << 4, offset, value)


def attach(directory: str, rules: Iterable[DeviceRule]) -> None:
    """Compile ``rules`` and attach them to the cgroup v2 ``directory``.

    Raises:
        OSError: the kernel refuses the program.
    """
    program = compile_rules(tuple(rules))
    buffer = ctypes.create_string_buffer(program, len(program))
    load = struct.pack(
        "=IIQQIIQII",
        k.BPF_PROG_TYPE_CGROUP_DEVICE,
        len(program) // 8,
        ctypes.addressof(buffer),
        ctypes.addressof(_LICENSE),
        *(0, 0, 0, 0, 0),
    )
    loaded = syscalls.bpf(k.BPF_PROG_LOAD, load)
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            link = struct.pack("=IIII", folder, loaded, k.BPF_CGROUP_DEVICE, _ALLOW_MULTI)
            syscalls.bpf(k.BPF_PROG_ATTACH, link)
        finally:
            os.close(folder)
    finally:
        os.close(loaded)
