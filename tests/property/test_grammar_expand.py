"""Properties of expansion and of its patterns."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerfile_grammar.errors import ExpansionError
from dockerfile_grammar.expand import expand, expand_words, expansion
from dockerfile_grammar.glob import remove_prefix, remove_suffix, replace

TEXT = st.text(max_size=30)
SMALL = st.text("ab/", max_size=8)
PATTERN = st.text("ab/*?", max_size=6)
NOISE = st.lists(
    st.sampled_from(
        ["$", "{", "}", "A", "B", ":", "-", "+", "?", "#", "%", "/", "\\", "'", '"', " "]
    )
).map("".join)


def regex(pattern: str, *, lazy: bool) -> str:
    star = ".*?" if lazy else ".*"
    return "".join({"*": star, "?": "."}.get(char) or re.escape(char) for char in pattern)


@given(TEXT)
def test_single_quotes_keep_everything(text: str) -> None:
    if "'" not in text:
        assert expand(f"'{text}'", {}) == text


@given(TEXT)
def test_double_quotes_with_escapes_come_back(text: str) -> None:
    escaped = "".join(f"\\{char}" if char in '\\"$' else char for char in text)
    assert expand(f'"{escaped}"', {}) == text


@given(TEXT)
def test_a_value_is_not_expanded_again(value: str) -> None:
    assert expand("$A", {"A": value}) == expand("${A}", {"A": value}) == value


@given(NOISE, st.dictionaries(st.sampled_from("AB"), TEXT))
def test_only_the_declared_error(word: str, env: dict[str, str]) -> None:
    try:
        found = expansion(word, env)
    except ExpansionError:
        with pytest.raises(ExpansionError, match="failed to process "):
            expand(word, env)
        return
    assert expand(word, env) == found.text
    assert set(found.matched) <= env.keys()
    assert not set(found.unmatched) & env.keys()


@given(st.lists(st.text("abc", min_size=1), min_size=1))
def test_words_are_split_at_blanks_only_outside_quotes(words: list[str]) -> None:
    assert expand_words("$A", {"A": "  ".join(words)}) == words
    assert expand_words('"$A"', {"A": " ".join(words)}) == [" ".join(words)]


@given(SMALL, PATTERN)
def test_prefixes_agree_with_a_regular_expression(value: str, pattern: str) -> None:
    for longest in (False, True):
        found = re.match(regex(pattern, lazy=not longest), value, re.DOTALL)
        expected = value[found.end() :] if found else value
        assert remove_prefix(value, pattern, longest=longest) == expected


@given(SMALL, PATTERN)
def test_suffixes_are_prefixes_of_the_reverse(value: str, pattern: str) -> None:
    for longest in (False, True):
        expected = remove_prefix(value[::-1], pattern[::-1], longest=longest)[::-1]
        assert remove_suffix(value, pattern, longest=longest) == expected


@given(SMALL, PATTERN, SMALL)
def test_replacing_once_agrees_with_a_regular_expression(
    value: str, pattern: str, replacement: str
) -> None:
    expression = re.compile(regex(pattern, lazy=False), re.DOTALL)
    expected = expression.sub(lambda _: replacement, value, count=1)
    assert replace(value, pattern, replacement, every=False, limit=1000) == expected


@given(SMALL, st.text("ab/", min_size=1, max_size=3), SMALL)
def test_replacing_a_literal_everywhere(value: str, literal: str, replacement: str) -> None:
    expected = value.replace(literal, replacement)
    assert replace(value, literal, replacement, every=True, limit=1000) == expected
