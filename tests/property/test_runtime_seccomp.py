"""Whatever a profile says, the compiled filter answers the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import constants as k
from runtime.seccomp import Comparison, Profile, Rule, compile_filter
from runtime.seccomp.numbers import NEWEST_NUMBER, syscall_numbers
from tests.runtime.bpf import execute, seccomp_data

NUMBERS = syscall_numbers("x86_64")
ENOSYS = k.SECCOMP_RET_ERRNO | 38
ACTIONS = (k.SECCOMP_RET_ALLOW, k.SECCOMP_RET_ERRNO | 1, k.SECCOMP_RET_TRAP, k.SECCOMP_RET_LOG)
WORD = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.integers(0, 8),
    st.integers((1 << 32) - 4, (1 << 32) + 4),
)


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    operator = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "&"]))
    mask = draw(WORD) if operator == "&" else 0
    value = draw(WORD) & mask if operator == "&" else draw(WORD)
    return Comparison(draw(st.integers(0, 5)), operator, value, mask)


RULES = st.lists(
    st.builds(Rule, st.sampled_from(ACTIONS), st.lists(comparisons(), max_size=3).map(tuple)),
    min_size=1,
    max_size=4,
).map(tuple)
PROFILES = st.builds(
    Profile,
    st.sampled_from(ACTIONS[1:]),
    st.dictionaries(st.sampled_from(sorted(NUMBERS)), RULES, max_size=30),
)


def holds(comparison: Comparison, arguments: tuple[int, ...]) -> bool:
    left, right = arguments[comparison.index], comparison.value
    return {
        "==": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
        "&": left & comparison.mask == right,
    }[comparison.operator]


def meaning(profile: Profile, name: str | None, arguments: tuple[int, ...]) -> int:
    for rule in profile.rules.get(name or "", ()):
        if all(holds(comparison, arguments) for comparison in rule.comparisons):
            return rule.action
    return profile.default


@given(
    PROFILES,
    st.lists(st.tuples(st.sampled_from(sorted(NUMBERS)), st.tuples(*[WORD] * 6)), max_size=20),
)
@settings(max_examples=60)
def test_the_filter_means_the_profile(
    profile: Profile, calls: list[tuple[str, tuple[int, ...]]]
) -> None:
    program = compile_filter(profile, "x86_64")
    for name, arguments in [*calls, *((name, (0,) * 6) for name in profile.rules)]:
        data = seccomp_data("x86_64", NUMBERS[name], arguments)
        assert execute(program, data) == meaning(profile, name, arguments)


@given(PROFILES, st.integers(0, (1 << 32) - 1))
@settings(max_examples=60)
def test_every_number_has_an_answer(profile: Profile, number: int) -> None:
    program = compile_filter(profile, "x86_64")
    verdict = execute(program, seccomp_data("x86_64", number))
    x32 = number & 0x40000000
    if NEWEST_NUMBER < number < 0x40000000 or number >= 0x40000000 + 548:
        assert verdict == ENOSYS
    elif not x32 and number not in NUMBERS.values():
        assert verdict == profile.default
