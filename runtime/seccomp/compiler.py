"""Profiles to classic BPF: per architecture, a binary search over runs of numbers.

seccomp(2), ``Documentation/networking/filter.rst``. A program has at most 4096 instructions of
eight bytes. Conditional jumps reach 255 instructions, so the far side of a search node is reached
by a jump whose offset has 32 bits. x32 calls share x86_64's architecture value and carry bit 30 in
the number.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from records import Record
from runtime import constants as k
from runtime.seccomp.numbers import NEWEST_NUMBER, syscall_numbers
from runtime.seccomp.profile import ENOSYS, Comparison, Profile, Rule

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP: Final = 0x05  # BPF_JMP | BPF_JA
_JEQ: Final = 0x15
_JGT: Final = 0x25
_JGE: Final = 0x35
_RETURN: Final = 0x06

_NUMBER_OFFSET: Final = 0
_ARCH_OFFSET: Final = 4
_ARGUMENTS_OFFSET: Final = 16
_X32_BIT: Final = 0x40000000
_MAX_INSTRUCTIONS: Final = 4096

AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "i386": 0x40000003, "aarch64": 0xC00000B7}

_Instruction = tuple[int, int, int, int]
_Rules = tuple[Rule, ...]


def compile_filter(profile: Profile, machine: str) -> bytes:
    """The program for ``machine`` (``x86_64`` or ``aarch64``) as an array of struct sock_filter.

    Calls above the newest known number answer ENOSYS; a foreign architecture is killed.

    Raises:
        ValueError: no number table for ``machine``, or the program is too long for the kernel.
    """
    if machine == "x86_64":
        native = _numbered(profile, "x86_64", 0)
        native.update(_numbered(profile, "x32", _X32_BIT))
        tables = [("x86_64", native), ("i386", _numbered(profile, "i386", 0))]
    else:
        tables = [(machine, _numbered(profile, machine, 0))]
    program: list[_Instruction] = [(_LOAD, 0, 0, _ARCH_OFFSET)]
    for name, table in tables:
        body = [(_LOAD, 0, 0, _NUMBER_OFFSET), *_search(_runs(profile, name, table), profile)]
        program += [(_JEQ, 1, 0, AUDIT_ARCH[name]), (_JUMP, 0, 0, len(body)), *body]
    program.append((_RETURN, 0, 0, k.SECCOMP_RET_KILL_PROCESS))
    if len(program) > _MAX_INSTRUCTIONS:
        raise ValueError(f"seccomp program has {len(program)} instructions, the kernel takes 4096")
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _numbered(profile: Profile, architecture: str, offset: int) -> dict[int, _Rules]:
    numbers = syscall_numbers(architecture)
    return {
        numbers[name] + offset: rules for name, rules in profile.rules.items() if name in numbers
    }


class _Run(Record):
    """From number ``start`` up to the next run, ``rules`` apply."""

    start: int
    rules: _Rules


def _runs(profile: Profile, architecture: str, table: Mapping[int, _Rules]) -> list[_Run]:
    default: _Rules = (Rule(profile.default),)
    # A profile that allows by default must not turn unknown calls into ENOSYS.
    beyond = default if profile.default == k.SECCOMP_RET_ALLOW else (Rule(ENOSYS),)
    edges: dict[int, _Rules] = {0: default, NEWEST_NUMBER + 1: beyond}
    if architecture == "x86_64":
        edges.update({_X32_BIT: default, _X32_BIT + 548: beyond})
    for number in sorted(table):
        edges.setdefault(number + 1, beyond if _beyond(number + 1) else default)
        edges[number] = table[number]
    runs: list[_Run] = []
    for start in sorted(edges):
        if not runs or runs[-1].rules != edges[start]:
            runs.append(_Run(start, edges[start]))
    return runs


def _beyond(number: int) -> bool:
    return NEWEST_NUMBER < number < _X32_BIT or number >= _X32_BIT + 548


def _search(runs: list[_Run], profile: Profile) -> list[_Instruction]:
    if len(runs) == 1:
        return _leaf(runs[0].rules, profile.default)
    middle = len(runs) // 2
    left, right = _search(runs[:middle], profile), _search(runs[middle:], profile)
    if len(left) <= 255:
        return [(_JGE, len(left), 0, runs[middle].start), *left, *right]
    return [(_JGE, 0, 1, runs[middle].start), (_JUMP, 0, 0, len(left)), *left, *right]


def _leaf(rules: _Rules, default: int) -> list[_Instruction]:
    program: list[_Instruction] = []
    for rule in rules:
        if not rule.comparisons:
            return [*program, (_RETURN, 0, 0, rule.action)]
        program += _conditional(rule)
    return [*program, (_RETURN, 0, 0, default)]


def _conditional(rule: Rule) -> list[_Instruction]:
    """Return the action if all comparisons hold, else fall out at the end."""
    program: list[_Instruction] = [(_RETURN, 0, 0, rule.action)]
    for comparison in reversed(rule.comparisons):
        program = [*_compare(comparison, len(program)), *program]
    return program


def _compare(comparison: Comparison, skip: int) -> list[_Instruction]:
    """Fall through when the comparison holds, else skip ``skip`` further instructions."""
    low = _ARGUMENTS_OFFSET + 8 * comparison.index
    load_low, load_high = (_LOAD, 0, 0, low), (_LOAD, 0, 0, low + 4)
    value, mask = comparison.value, comparison.mask
    low_word, high_word = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
    match comparison.operator:
        case "&":
            return [
                load_high,
                (_AND, 0, 0, mask >> 32 & 0xFFFFFFFF),
                (_JEQ, 0, skip + 3, high_word),
                load_low,
                (_AND, 0, 0, mask & 0xFFFFFFFF),
                (_JEQ, 0, skip, low_word),
            ]
        case "==":
            return [load_high, (_JEQ, 0, skip + 2, high_word), load_low, (_JEQ, 0, skip, low_word)]
        case "!=":
            return [load_high, (_JEQ, 0, 2, high_word), load_low, (_JEQ, skip, 0, low_word)]
        case ">" | ">=":
            code = _JGT if comparison.operator == ">" else _JGE
            return [
                load_high,
                (_JGT, 3, 0, high_word),
                (_JEQ, 0, skip + 2, high_word),
                load_low,
                (code, 0, skip, low_word),
            ]
        case "<" | "<=":
            code = _JGE if comparison.operator == "<" else _JGT
            return [
                load_high,
                (_JGT, skip + 3, 0, high_word),
                (_JEQ, 0, 2, high_word),
                load_low,
                (code, skip, 0, low_word),
            ]
        case operator:
            raise ValueError(f"unknown comparison {operator!r}")
