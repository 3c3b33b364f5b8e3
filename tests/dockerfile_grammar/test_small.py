"""Suggestions, durations, excerpts, records: the small parts by themselves."""

from __future__ import annotations

import pytest

from dockerfile_grammar.durations import parse_duration
from dockerfile_grammar.errors import SyntaxFault
from dockerfile_grammar.excerpt import excerpt
from dockerfile_grammar.heredocs import Opening, openings, parse_opening
from dockerfile_grammar.nodes import SourceRange
from dockerfile_grammar.suggest import edit_distance, nearest


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("chwon", "chown"),
        ("CHOWN", "chown"),
        ("chown", None),
        ("x", None),
        ("chmodxxx", None),
        ("", None),
    ],
)
def test_nearest(word: str, expected: str | None) -> None:
    assert nearest(word, ["chmod", "chown", "from"]) == expected


@pytest.mark.parametrize(
    ("left", "right", "distance"),
    [
        ("", "abc", 3),
        ("abc", "abc", 0),
        ("ab", "ba", 1),
        ("kitten", "sitting", 3),
        ("ca", "abc", 3),
    ],
)
def test_edit_distance(left: str, right: str, distance: int) -> None:
    assert edit_distance(left, right) == edit_distance(right, left) == distance


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("1ns", 1),
        ("1.5s", 1_500_000_000),
        ("1h2m3s", 3_723_000_000_000),
        ("-30s", -30_000_000_000),
        ("+.5us", 500),
        ("100µs", 100_000),
        ("1.ms", 1_000_000),
    ],
)
def test_duration(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "-", "5", "s", "1x", "1..s", ".s", "1s2", "9999999h", "1 s"])
def test_bad_duration(text: str) -> None:
    with pytest.raises(SyntaxFault):
        parse_duration(text)


@pytest.mark.parametrize(
    ("word", "opening"),
    [
        ("<<EOF", Opening("EOF", True, False, 0)),
        ("3<<-'E F'", None),
        ('12<<-"EOF"', Opening("EOF", False, True, 12)),
        ("<<E\\OF", Opening("EOF", False, False, 0)),
        ("<<'a'b", Opening("ab", False, False, 0)),
        ("<<", None),
        ("<<<x", None),
        ("a<<EOF", None),
        ('"<<EOF"', None),
        ("<<''", None),
    ],
)
def test_heredoc_opening(word: str, opening: Opening | None) -> None:
    assert parse_opening(word) == opening


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("RUN <<A cat <<B", ["A", "B"]),
        ("onbuild copy <<A /x", ["A"]),
        ("CMD <<A", []),
        ("RUN echo '<<A <<B' <<C", ["C"]),
        ("RUN echo it's <<A", []),
        ('RUN ["a", "b <<A c"]', []),
        ("ONBUILD CMD <<A", []),
    ],
)
def test_openings(line: str, names: list[str]) -> None:
    assert [opening.name for opening in openings(line)] == names


def test_excerpt_cuts_long_ranges_and_joins_distant_ones() -> None:
    lines = [f"line {number}" for number in range(1, 101)]
    text = excerpt("F", lines, [SourceRange(5, 90), SourceRange(99, 99)], caret=(99, 6))
    assert text.split("\n")[:4] == ["F:5", "-" * 20, "   3 |     line 3", "   4 |     line 4"]
    assert "  16 | >>> line 16" in text
    assert "line 20" not in text
    assert " ... |" in text
    assert text.split("\n")[-4:-1] == [
        "  99 | >>> line 99",
        "     |          ^",
        " 100 |     line 100",
    ]


def test_excerpt_without_lines_is_the_name() -> None:
    assert excerpt("F", [], [SourceRange(0, 0)]) == "F"
