"""Patterns and listings of repositories against slow models that are plainly right."""

from __future__ import annotations

import asyncio
import bisect

from hypothesis import given
from hypothesis import strategies as st

from registry.access.identity import Identity, Kind
from registry.access.patterns import compile_pattern, literal_prefix, pattern_problem
from registry.access.policy import Policy
from registry.access.settings import AccessSettings, Effect, Right, RuleSettings
from registry.access.visible import visible

SEGMENTS = st.text("ab-", min_size=1, max_size=3).filter(lambda s: s.strip("-") == s)
NAMES = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)
GLOBS = st.one_of(
    st.just("**"),
    st.just("{user}"),
    st.text("ab*", min_size=1, max_size=4).filter(lambda s: "**" not in s),
)
PATTERNS = st.lists(GLOBS, min_size=1, max_size=4).map("/".join)


def slow_segment(glob: str, text: str) -> bool:
    if not glob:
        return not text
    if glob[0] == "*":
        return any(slow_segment(glob[1:], text[at:]) for at in range(len(text) + 1))
    return bool(text) and glob[0] == text[0] and slow_segment(glob[1:], text[1:])


def slow_match(globs: list[str], segments: list[str]) -> bool:
    if not globs:
        return not segments
    if globs[0] == "**":
        return any(slow_match(globs[1:], segments[at:]) for at in range(1, len(segments) + 1))
    return (
        bool(segments)
        and slow_segment(globs[0], segments[0])
        and slow_match(globs[1:], segments[1:])
    )


@given(PATTERNS, NAMES, st.sampled_from(["a", "ab", "b"]))
def test_a_pattern_matches_what_the_model_matches(pattern: str, name: str, user: str) -> None:
    assert pattern_problem(pattern) is None
    globs = [user if glob == "{user}" else glob for glob in pattern.split("/")]
    matched = compile_pattern(pattern, user=user)(name)
    assert matched == slow_match(globs, name.split("/"))
    if matched:
        assert name.startswith(literal_prefix(pattern, user=user))


@given(PATTERNS, NAMES, st.sampled_from(["", "a/b", "A", "..", "*", "a*"]))
def test_a_user_whose_name_is_no_segment_owns_nothing(pattern: str, name: str, user: str) -> None:
    if "{user}" in pattern.split("/"):
        assert not compile_pattern(pattern, user=user)(name)


def test_a_hostile_name_costs_little() -> None:
    match = compile_pattern("/".join(["*a*a*a*a*b", "**", "*a*a*b", "**", "*a*b"]))
    assert not match("/".join(["a" * 40] * 6))


RULES = st.builds(
    RuleSettings,
    repositories=st.lists(PATTERNS, min_size=1, max_size=2).map(tuple),
    actions=st.sampled_from([(Right.PULL,), (Right.PUSH,), (Right.ALL,), (Right.ADMIN,)]),
    users=st.sampled_from([("*",), ("a",), ("b",)]),
    effect=st.sampled_from(list(Effect)),
)


@given(
    st.lists(RULES, min_size=1, max_size=4).map(tuple),
    st.sets(NAMES, max_size=30).map(sorted),
    NAMES | st.just(""),
    st.integers(1, 5),
)
def test_a_page_of_the_catalog_is_what_a_full_scan_shows(
    rules: tuple[RuleSettings, ...], names: list[str], last: str, limit: int
) -> None:
    rights = Policy(AccessSettings(rules=rules)).rights(Identity(Kind.USER, "a"))

    async def read(after: str, count: int) -> list[str]:
        start = bisect.bisect_right(names, after)
        return names[start : start + count]

    shown = asyncio.run(visible(read, rights, last=last, limit=limit))
    allowed = [n for n in names if n > last and rights.decide("pull", n).allowed]
    assert shown == allowed[:limit]


@given(st.lists(RULES, min_size=1, max_size=4), NAMES, st.randoms())
def test_the_order_of_rules_is_irrelevant(
    rules: list[RuleSettings], name: str, dice: object
) -> None:
    identity = Identity(Kind.USER, "a")

    def decided() -> list[bool]:
        rights = Policy(AccessSettings(rules=tuple(rules))).rights(identity)
        return [rights.decide(a, name).allowed for a in ("pull", "push", "delete", "admin")]

    before = decided()
    dice.shuffle(rules)  # type: ignore[attr-defined]
    assert decided() == before
