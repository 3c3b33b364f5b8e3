"""Go's spelling of strings and durations."""

from __future__ import annotations

import pytest

from builder.plan.gotext import duration, plain_list, quote, quoted_list


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain", '"plain"'),
        ('a"b\\c', r'"a\"b\\c"'),
        ("tab\tnew\nline", r'"tab\tnew\nline"'),
        ("é", '"é"'),
        ("\x00\x7f", r'"\x00\x7f"'),
        ("\u200b", r'"\u200b"'),
        ("\U000e0001", r'"\U000e0001"'),
    ],
)
def test_quote(text: str, quoted: str) -> None:
    assert quote(text) == quoted


def test_lists() -> None:
    assert quoted_list(["a", "b c"]) == '["a" "b c"]'
    assert quoted_list([]) == "[]"
    assert plain_list(["a", "b c"]) == "[a b c]"


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (300_000_000, "300ms"),
        (3_000_000_000, "3s"),
        (1_500_000_000, "1.5s"),
        (300_000_000_000, "5m0s"),
        (3_723_500_000_000, "1h2m3.5s"),
        (-1_000_000_000, "-1s"),
    ],
)
def test_duration(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text
