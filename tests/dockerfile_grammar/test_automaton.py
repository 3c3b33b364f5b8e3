"""The automaton reads what lark's parser reads, and finds the same faults at the same places."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lark import Lark, Token
from lark.exceptions import UnexpectedInput, UnexpectedToken

from dockerfile_grammar import generate, syntax, tables
from dockerfile_grammar.automaton import Automaton, Mismatch

if TYPE_CHECKING:
    from collections.abc import Callable

GRAMMAR = Path(tables.__file__).parent / tables.GRAMMAR
PIECES = [
    "a", "b", "=", " ", '"', "'", "\\", "`", ",", "[", "]", "{", "}", ":", "--", "--x", "as ",
    " AS ", "1", "true", "null", '"x"', "\t", "\n", ".", "-", "é",
]  # fmt: skip
CASES = [
    ("pairs", 'a=b c=\'d e\' f="g\\"h"'),
    ("pairs", "a b c"),
    ("pairs", "a=b c"),
    ("paths", '["a", {"b": [1, null]}, true]'),
    ("command", '["a", 1] b'),
    ("command", "echo `a` \\b"),
    ("from", "image AS name"),
    ("from", "image AS"),
    ("from", "image asx name"),
    ("mount", 'type=cache,"target=/a,b",ro'),
    ("mount", 'a"b'),
    ("flags", "--a=b --c -- rest"),
    ("declarations", "A B=`c` D=\\e"),
    ("health", 'CMD ["a"]'),
    ("text", ""),
]


class _Trees:
    """A value for every rule: its name and its children."""

    def __getattr__(self, name: str) -> Callable[[list[Any]], tuple[Any, ...]]:
        return lambda children: (name, *(_piece(child) for child in children))


def _piece(child: Any) -> Any:
    return (child.type, str(child), child.start) if hasattr(child, "start") else child


def _tree(tree: Any) -> tuple[Any, ...]:
    if isinstance(tree, Token):
        return (tree.type, str(tree), tree.start_pos)
    return (str(tree.data), *map(_tree, tree.children))


@cache
def _both(escape: str) -> tuple[Lark, Automaton]:
    shipped = tables.load(escape, starts=syntax.STARTS)
    return generate.parser(GRAMMAR, escape, syntax.STARTS), Automaton(shipped, _Trees())


def _by_lark(escape: str, start: str, text: str) -> object:
    try:
        return _tree(_both(escape)[0].parse(text, start=start))
    except UnexpectedInput as error:
        named = error.expected if isinstance(error, UnexpectedToken) else set[str]()
        return error.pos_in_stream or 0, frozenset(named) - {"<END-OF-FILE>"}


def _by_tables(escape: str, start: str, text: str) -> object:
    try:
        return _both(escape)[1].parse(text, start=start)
    except Mismatch as error:
        return error.position or 0, error.expected


@pytest.mark.parametrize("escape", tables.ESCAPES)
@pytest.mark.parametrize(("start", "text"), CASES)
def test_it_reads_as_lark_does(escape: str, start: str, text: str) -> None:
    assert _by_tables(escape, start, text) == _by_lark(escape, start, text)


@given(
    st.sampled_from(sorted(tables.ESCAPES)),
    st.sampled_from(syntax.STARTS),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
)
def test_any_text_is_read_as_lark_does(escape: str, start: str, text: str) -> None:
    assert _by_tables(escape, start, text) == _by_lark(escape, start, text)


def test_nesting_is_bounded_by_memory_alone() -> None:
    deep = "[" * 50_000 + "]" * 50_000
    with pytest.raises(syntax.SyntaxFault, match="strings only"):
        Automaton(tables.load("\\", starts=syntax.STARTS), syntax._Values()).parse(
            deep, start="command"
        )


@pytest.mark.parametrize("rule", ["?start: A", "start: A -> b", "!start: A"])
def test_what_it_cannot_do_is_refused_when_tables_are_made(rule: str, tmp_path: Path) -> None:
    grammar = tmp_path / "x.lark"
    grammar.write_text(f'{rule}\nA: "a"\n')
    with pytest.raises(ValueError, match="not supported"):
        generate.generate(grammar, "\\", ["start"])


def test_a_text_that_two_terminals_match_is_refused_when_tables_are_made(tmp_path: Path) -> None:
    grammar = tmp_path / "x.lark"
    grammar.write_text('start: A | B\nA: "a"\nB: /[a-z]/\n')
    with pytest.raises(ValueError, match="several terminals"):
        generate.generate(grammar, "\\", ["start"])
