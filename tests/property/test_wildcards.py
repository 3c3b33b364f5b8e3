"""The two ways to match a pattern agree with each other and with a slow, plain model."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from builder.ignore import IgnorePatterns
from builder.wildcards import ANY_DEPTH, DEEP, ONE, REST, STAR, Walker, expression, is_wild, tokens

SEGMENT = st.sampled_from(
    ["a", "b", "*", "?", "a*", "*b*", "**", "[ab]", "[^a]", "a**", "**b", "a*b*a*b", "\\*"]
)
PATTERN = st.lists(SEGMENT, min_size=1, max_size=5).map("/".join)
PATH = st.lists(st.text("ab*", min_size=1, max_size=6), min_size=1, max_size=6).map("/".join)


def model(pattern: str, path: str) -> bool:
    """By trying everything: what each token may take, one after the other."""
    found = tokens(pattern)

    def from_here(index: int, at: int) -> bool:
        if index == len(found):
            return at == len(path)
        kind, piece = found[index]
        if kind == ONE:
            ends = [at + 1] if at < len(path) and re.fullmatch(piece, path[at], re.DOTALL) else []
        elif kind == STAR:
            slash = path.find("/", at)
            ends = list(range(at, (len(path) if slash < 0 else slash) + 1))
        elif kind == DEEP:
            ends = [at] + [end for end in range(at + 1, len(path) + 1) if path[end - 1] == "/"]
        else:
            assert kind == REST
            ends = list(range(at, len(path) + 1))
        return any(from_here(index + 1, end) for end in ends)

    return from_here(0, 0)


@given(PATTERN, PATH)
def test_walking_agrees_with_trying_everything(pattern: str, path: str) -> None:
    assert Walker(tokens(pattern)).matches(path) == model(pattern, path)


@given(PATTERN, PATH)
def test_walking_agrees_with_the_expression(pattern: str, path: str) -> None:
    found = tokens(pattern)
    text = expression(found)
    walker = Walker(found)
    assert walker.matches(path) == bool(re.fullmatch(text, path, re.DOTALL))
    assert walker.matches_above(path) == bool(re.match(rf"(?:{text})(?:/|\Z)", path, re.DOTALL))


@given(PATTERN, PATH)
def test_an_ignore_file_agrees_with_the_model(pattern: str, path: str) -> None:
    above = [path[:end] for end, char in enumerate(path) if char == "/"]
    ignored = any(model(pattern, part) for part in (*above, path))
    # A pattern of nothing but ** leaves out everything, and what ends in it all that is below.
    assert IgnorePatterns.of([pattern]).matches(path) == ignored


@given(PATTERN)
def test_few_gaps_stay_with_expressions(pattern: str) -> None:
    found = tokens(pattern)
    gaps = sum(kind in (STAR, DEEP) for kind, _ in found)
    assert not (is_wild(found) and gaps < 2)
    assert is_wild(found) or expression(found[:-1]).count(ANY_DEPTH) < 2
