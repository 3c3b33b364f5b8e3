"""Filters, run on a BPF machine of the tests' own."""

from __future__ import annotations

import errno

import pytest

from runtime import constants as k
from runtime.capabilities import NAMES
from runtime.defaults import CAPABILITIES
from runtime.errors import RuntimeFault
from runtime.seccomp import Comparison, Profile, Rule, compile_filter, default_profile, oci_profile
from runtime.seccomp.numbers import NEWEST_NUMBER, syscall_numbers
from tests.runtime.bpf import execute, seccomp_data

ALLOW = k.SECCOMP_RET_ALLOW
EPERM = k.SECCOMP_RET_ERRNO | errno.EPERM
ENOSYS = k.SECCOMP_RET_ERRNO | errno.ENOSYS
X32 = 0x40000000


@pytest.fixture(scope="module", params=["x86_64", "aarch64"])
def default(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    return request.param, compile_filter(default_profile(CAPABILITIES), request.param)


@pytest.fixture(scope="module")
def x86(request: pytest.FixtureRequest) -> bytes:
    return compile_filter(default_profile(CAPABILITIES), "x86_64")


def judge(program: bytes, architecture: str, name: str, *arguments: int) -> int:
    number = syscall_numbers(architecture)[name]
    return execute(program, seccomp_data(architecture, number, arguments))


def test_every_known_call_gets_the_profiles_answer(default: tuple[str, bytes]) -> None:
    machine, program = default
    profile = default_profile(CAPABILITIES)
    for name, number in syscall_numbers(machine).items():
        rules = profile.rules.get(name)
        if rules and any(rule.comparisons for rule in rules):
            continue
        wanted = rules[0].action if rules else EPERM
        assert execute(program, seccomp_data(machine, number)) == wanted, name


@pytest.mark.parametrize(("machine", "column"), [("x86_64", "i386"), ("x86_64", "x32")])
def test_other_roads_of_x86_get_the_same_answers(x86: bytes, machine: str, column: str) -> None:
    profile = default_profile(CAPABILITIES)
    offset = X32 if column == "x32" else 0
    architecture = machine if column == "x32" else column
    for name, number in syscall_numbers(column).items():
        rules = profile.rules.get(name)
        if rules and any(rule.comparisons for rule in rules):
            continue
        wanted = rules[0].action if rules else EPERM
        assert execute(x86, seccomp_data(architecture, number + offset)) == wanted, name


def test_numbers_beyond_the_table_do_not_exist(default: tuple[str, bytes]) -> None:
    machine, program = default
    for number in (NEWEST_NUMBER + 1, 1000, X32 - 1):
        assert execute(program, seccomp_data(machine, number)) == ENOSYS
    if machine == "x86_64":
        assert execute(program, seccomp_data(machine, X32 + 1000)) == ENOSYS
        assert execute(program, seccomp_data(machine, 0xFFFFFFFF)) == ENOSYS
        assert execute(program, seccomp_data("i386", NEWEST_NUMBER + 1)) == ENOSYS


def test_a_foreign_architecture_is_killed(default: tuple[str, bytes]) -> None:
    _, program = default
    assert execute(program, seccomp_data("arm", 0)) == k.SECCOMP_RET_KILL_PROCESS


@pytest.mark.parametrize("flag", [1 << bit for bit in (17, 25, 26, 27, 28, 29, 30)])
def test_clone_without_namespaces(default: tuple[str, bytes], flag: int) -> None:
    machine, program = default
    assert judge(program, machine, "clone", 17) == ALLOW
    assert judge(program, machine, "clone", 0x3D0F00) == ALLOW
    assert judge(program, machine, "clone", 17 | flag) == EPERM
    assert judge(program, machine, "clone3") == ENOSYS


def test_sockets_are_judged_as_the_kernel_reads_them(default: tuple[str, bytes]) -> None:
    machine, program = default
    for family in (38, 40, (1 << 32) | 40, (0xFFFFFFFF << 32) | 38):
        assert judge(program, machine, "socket", family) == EPERM
    for family in (1, 2, 10, 16, 17):
        assert judge(program, machine, "socket", family) == ALLOW


def test_personality(default: tuple[str, bytes]) -> None:
    machine, program = default
    for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert judge(program, machine, "personality", value) == ALLOW
    for value in (1, 0x0400000, (1 << 32) | 8, 0x20009):
        assert judge(program, machine, "personality", value) == EPERM


def test_socketcall_hides_its_arguments_and_is_refused(x86: bytes) -> None:
    assert judge(x86, "i386", "socketcall", 1) == ENOSYS


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ("CAP_SYS_ADMIN", "mount"),
        ("CAP_SYS_ADMIN", "clone3"),
        ("CAP_SYS_PTRACE", "kcmp"),
        ("CAP_SYS_MODULE", "init_module"),
        ("CAP_SYS_TIME", "clock_settime"),
        ("CAP_SYS_CHROOT", "chroot"),
        ("CAP_BPF", "bpf"),
        ("CAP_PERFMON", "perf_event_open"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ],
)
def test_capabilities_open_calls(capability: str, name: str) -> None:
    without = compile_filter(default_profile(set(NAMES) - {capability, "CAP_SYS_ADMIN"}), "x86_64")
    with_it = compile_filter(default_profile({capability}), "x86_64")
    assert judge(without, "x86_64", name) != ALLOW
    assert judge(with_it, "x86_64", name) == ALLOW


def test_every_name_of_the_profile_is_a_call_of_some_architecture() -> None:
    known = set().union(*(syscall_numbers(name) for name in ("x86_64", "i386", "aarch64")))
    assert set(default_profile(NAMES).rules) <= known


def test_io_uring_and_its_kin_are_closed(default: tuple[str, bytes]) -> None:
    machine, program = default
    for name in ("io_uring_setup", "io_uring_enter", "userfaultfd", "keyctl", "add_key", "bpf"):
        assert judge(program, machine, name) == EPERM


@pytest.mark.parametrize(
    ("operator", "value", "holds", "fails"),
    [
        ("==", 1 << 33, [1 << 33], [0, 1, (1 << 33) + 1]),
        ("!=", 7, [0, 8, (1 << 32) | 7], [7]),
        (">", 1 << 32, [(1 << 32) + 1, 1 << 40], [1 << 32, 0xFFFFFFFF, 0]),
        (">=", 1 << 32, [1 << 32, 1 << 40], [0xFFFFFFFF, 0]),
        ("<", (1 << 32) + 5, [0, 1 << 32, (1 << 32) + 4], [(1 << 32) + 5, 1 << 33]),
        ("<=", (1 << 32) + 5, [0, (1 << 32) + 5], [(1 << 32) + 6, 1 << 33]),
    ],
)
def test_comparisons(operator: str, value: int, holds: list[int], fails: list[int]) -> None:
    comparison = Comparison(1, operator, value)
    profile = Profile(EPERM, {"read": (Rule(ALLOW, (comparison,)),)})
    program = compile_filter(profile, "x86_64")
    assert [judge(program, "x86_64", "read", 9, argument) for argument in holds] == [ALLOW] * len(
        holds
    )
    assert [judge(program, "x86_64", "read", 9, argument) for argument in fails] == [EPERM] * len(
        fails
    )


def test_all_comparisons_of_a_rule_must_hold_and_rules_are_tried_in_order() -> None:
    both = (Comparison(0, "==", 1), Comparison(2, "&", 4, 6))
    trap = k.SECCOMP_RET_TRAP
    profile = Profile(EPERM, {"read": (Rule(ALLOW, both), Rule(trap, (Comparison(0, "==", 1),)))})
    program = compile_filter(profile, "aarch64")
    assert judge(program, "aarch64", "read", 1, 0, 5) == ALLOW
    assert judge(program, "aarch64", "read", 1, 0, 6) == trap
    assert judge(program, "aarch64", "read", 2, 0, 4) == EPERM


def test_an_oci_profile() -> None:
    profile = oci_profile(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
                {
                    "names": ["kill"],
                    "action": "SCMP_ACT_KILL_PROCESS",
                    "args": [{"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}],
                },
                {
                    "names": ["clone"],
                    "action": "SCMP_ACT_ERRNO",
                    "args": [
                        {"index": 0, "value": 0xF0, "valueTwo": 0x10, "op": "SCMP_CMP_MASKED_EQ"}
                    ],
                },
            ],
        }
    )
    program = compile_filter(profile, "x86_64")
    assert judge(program, "x86_64", "mkdir") == k.SECCOMP_RET_ERRNO | 13
    assert judge(program, "x86_64", "kill", 5, 9) == k.SECCOMP_RET_KILL_PROCESS
    assert judge(program, "x86_64", "kill", 5, 15) == ALLOW
    assert judge(program, "x86_64", "clone", 0x11) == EPERM
    assert judge(program, "x86_64", "clone", 0x21) == ALLOW
    # Nothing that is allowed by default may turn into "no such call".
    assert execute(program, seccomp_data("x86_64", NEWEST_NUMBER + 5)) == ALLOW


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"defaultAction": "SCMP_ACT_WISH"},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"]}]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": ["x"]},
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["x"], "action": "SCMP_ACT_ALLOW", "args": [{"op": "~", "value": 1}]}
            ],
        },
    ],
)
def test_broken_oci_profiles(document: dict) -> None:
    with pytest.raises(RuntimeFault, match="seccomp profile") as caught:
        oci_profile(document)
    assert caught.value.code == "request-invalid"


def test_a_program_that_is_too_long_is_refused() -> None:
    rules = tuple(Rule(ALLOW, (Comparison(0, "==", value),)) for value in range(1100))
    with pytest.raises(ValueError, match="instructions"):
        compile_filter(Profile(EPERM, {"read": rules}), "aarch64")


def test_far_jumps_reach() -> None:
    """A leaf of more than 255 instructions on the left of a search node."""
    rules = tuple(Rule(ALLOW, (Comparison(0, "==", value),)) for value in range(100))
    program = compile_filter(Profile(EPERM, {"read": rules, "write": (Rule(ALLOW),)}), "aarch64")
    assert judge(program, "aarch64", "read", 99) == ALLOW
    assert judge(program, "aarch64", "read", 100) == EPERM
    assert judge(program, "aarch64", "write") == ALLOW
    assert judge(program, "aarch64", "close") == EPERM
