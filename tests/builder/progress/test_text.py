"""Text of unknown origin on its way to a terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.progress.text import LINE_LIMIT, cells, fit, harmless, last_overwrite, pad


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hgone", "gone"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP+q\x1b\\dcs", "dcs"),
        ("\x1b(0line", "line"),
        ("\x9b31mc1", "c1"),
        ("cut \x1b[3", "cut "),
        ("a\tb", "a       b"),
        ("bell\x07", "bell "),
        ("\u202eevil", " evil"),
        ("漢字 é", "漢字 é"),
    ],
)
def test_control_sequences_are_gone(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_colours_may_stay() -> None:
    text = "\x1b[1;31mred\x1b[0m \x1b[2Jgone\x1b]0;t\x07"
    assert harmless(text, colours=True) == "\x1b[1;31mred\x1b[0m gone"


@given(st.text(alphabet=st.characters() | st.sampled_from("\x1b[]\x9b;m0123H\x07\\"), max_size=80))
def test_nothing_that_moves_a_cursor_gets_through(text: str) -> None:
    assert harmless(text).isprintable()
    coloured = harmless(text, colours=True)
    assert re.sub(r"\x1b\[[0-9;:]*m", "", coloured).isprintable()


@given(st.text(max_size=60), st.integers(0, 40))
def test_text_fits(text: str, width: int) -> None:
    text = harmless(text)
    assert cells(fit(text, width)) <= width
    assert cells(pad(text, width)) == width
    if cells(text) <= width:
        assert fit(text, width) == text


def test_a_line_is_looked_at_so_far() -> None:
    assert len(harmless("x" * 10 * LINE_LIMIT)) == LINE_LIMIT


@pytest.mark.parametrize(
    ("line", "shown"), [(b"10%\r20%", "20%"), (b"done\r", "done"), (b"\xff\xfe", "\ufffd\ufffd")]
)
def test_what_was_overwritten_is_gone(line: bytes, shown: str) -> None:
    assert last_overwrite(line) == shown
