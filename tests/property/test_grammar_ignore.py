"""Properties of .dockerignore: pruning loses nothing, the last line decides, explain agrees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.ignore import IgnorePatternError, IgnorePatterns

SEGMENT = st.sampled_from(
    ["a", "b", "ab", "*", "?", "a*", "**", "[ab]", "[^a]", "a**", "**b", ".x"]
)
PATTERN = st.builds(
    lambda keep, parts: ("!" if keep else "") + "/".join(parts),
    st.booleans(),
    st.lists(SEGMENT, min_size=1, max_size=4),
)
PATTERNS = st.lists(PATTERN, max_size=6)
PATH = st.lists(st.sampled_from(["a", "b", "ab", "aab", ".x", "c"]), min_size=1, max_size=5).map(
    "/".join
)


@given(PATTERNS, PATH)
def test_pruning_loses_nothing(patterns: list[str], path: str) -> None:
    ignore = IgnorePatterns.of(patterns)
    parents = [path[:end] for end, char in enumerate(path) if char == "/"]
    if any(ignore.matches(parent) and ignore.may_prune(parent) for parent in parents):
        assert ignore.matches(path)


@given(PATTERNS, PATH)
def test_explain_agrees_with_matches(patterns: list[str], path: str) -> None:
    ignore = IgnorePatterns.of(patterns)
    line = ignore.explain(path)
    assert (line is not None) == ignore.matches(path)
    if line is not None:
        assert patterns[line.number - 1] == line.text


@given(PATTERNS, PATH)
def test_the_last_line_that_matches_decides(patterns: list[str], path: str) -> None:
    alone = [IgnorePatterns.of([pattern.removeprefix("!")]).matches(path) for pattern in patterns]
    deciding = [
        not pattern.startswith("!") for pattern, hit in zip(patterns, alone, strict=True) if hit
    ]
    assert IgnorePatterns.of(patterns).matches(path) == (bool(deciding) and deciding[-1])


@given(PATTERNS, PATH, st.sampled_from(["a", "zz"]))
def test_what_is_below_a_match_matches(patterns: list[str], path: str, name: str) -> None:
    plain = IgnorePatterns.of([pattern.removeprefix("!") for pattern in patterns])
    if plain.matches(path):
        assert plain.matches(f"{path}/{name}")


@given(st.text(max_size=60), PATH)
def test_any_text_is_a_file_or_a_declared_error(text: str, path: str) -> None:
    try:
        ignore = IgnorePatterns.parse(text)
    except IgnorePatternError:
        with pytest.raises(IgnorePatternError, match=r"\.dockerignore:"):
            IgnorePatterns.parse(text)
        return
    ignore.matches(path)
