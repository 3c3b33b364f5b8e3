"""The cgroup v2 device program, on a machine of the tests' own and on the kernel's."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from runtime import defaults, syscalls
from runtime.cgroups import read_layout
from runtime.cgroups.device_filter import attach, compile_rules
from runtime.config import DeviceRule

DEFAULT = tuple(DeviceRule(*rule) for rule in defaults.DEVICE_RULES)
ACCESS = {"m": 1, "r": 2, "w": 4}


def run_program(program: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """Interpret eBPF, as much of it as the compiler emits."""
    asked = sum(ACCESS[letter] for letter in access)
    context = struct.pack("=III", {"b": 1, "c": 2}[kind] | asked << 16, major, minor)
    instructions = list(struct.iter_unpack("=BBhi", program))
    registers = [0] * 11
    counter = 0
    while True:
        code, both, offset, value = instructions[counter]
        counter += 1
        target, source = both & 15, both >> 4
        match code:
            case 0x61:
                assert source == 1
                (registers[target],) = struct.unpack_from("=I", context, offset)
            case 0xBC:
                registers[target] = registers[source] & 0xFFFFFFFF
            case 0xB7:
                registers[target] = value
            case 0x54:
                registers[target] &= value
            case 0x74:
                registers[target] >>= value
            case 0x15:
                counter += offset if registers[target] == value else 0
            case 0x55:
                counter += offset if registers[target] != value else 0
            case 0x5D:
                counter += offset if registers[target] != registers[source] else 0
            case 0x95:
                return bool(registers[0])
            case _:
                raise AssertionError(f"instruction {code:#x}")


@pytest.mark.parametrize(
    ("kind", "major", "minor", "access", "allowed"),
    [
        ("c", 1, 3, "rw", True),
        ("c", 1, 3, "rwm", True),
        ("c", 5, 2, "r", True),
        ("c", 136, 7, "rw", True),
        ("c", 1, 1, "r", False),
        ("c", 1, 1, "m", True),
        ("c", 1, 1, "rm", False),
        ("b", 8, 0, "m", True),
        ("b", 8, 0, "r", False),
        ("b", 1, 3, "r", False),
        ("c", 10, 229, "rw", False),
    ],
)
def test_dockers_rules(kind: str, major: int, minor: int, access: str, allowed: bool) -> None:
    assert run_program(compile_rules(DEFAULT), kind, major, minor, access) is allowed


def test_later_rules_win() -> None:
    rules = (*DEFAULT, DeviceRule(False, "c", 1, 5, "w"), DeviceRule(True, "c", 10, 229))
    program = compile_rules(rules)
    assert run_program(program, "c", 1, 5, "r")
    assert not run_program(program, "c", 1, 5, "rw")
    assert run_program(program, "c", 10, 229, "rwm")
    reset = compile_rules((*rules, DeviceRule(False)))
    assert not run_program(reset, "c", 1, 3, "r")
    everything = compile_rules((*rules, DeviceRule(True)))
    assert run_program(everything, "b", 8, 0, "rw")


def test_no_rules_allow_nothing() -> None:
    assert not run_program(compile_rules(()), "c", 1, 3, "r")


@pytest.mark.root
def test_the_kernel_takes_it_and_obeys() -> None:
    unified = read_layout().unified
    if unified is None or not os.access(unified, os.W_OK):
        pytest.skip("no writable cgroup2 hierarchy")
    folder = Path(unified, f"lading-test-devices-{os.getpid()}")
    folder.mkdir()
    try:
        rules = (DeviceRule(False), DeviceRule(True, "c", 1, 3, "rw"))
        attach(str(folder), rules)
        handle = os.open(folder, os.O_PATH)
        pid, pidfd = syscalls.clone3(0, cgroup=handle)
        if pid == 0:
            code = 0
            for path, allowed in (("/dev/null", True), ("/dev/zero", False), ("/dev/full", False)):
                try:
                    os.open(path, os.O_RDWR)
                except PermissionError:
                    code |= allowed
                else:
                    code |= not allowed
            os._exit(code)
        os.close(handle)
        os.close(pidfd)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        folder.rmdir()
