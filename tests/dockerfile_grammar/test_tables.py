"""The tables that are shipped are those of the grammar, and others are not used."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dockerfile_grammar import syntax, tables

FOLDER = Path(tables.__file__).parent
LINES = [
    ("pairs", 'a=b c=\'d e\' f="g\\"h"'),
    ("pairs", "a b c"),
    ("paths", '["a", "b"]'),
    ("command", "echo `a` \\b"),
    ("from", "image AS name"),
    ("mount", 'type=cache,"target=/a,b",ro'),
    ("flags", "--a=b --c -- rest"),
    ("declarations", "A B=`c` D=\\e"),
]


@pytest.mark.parametrize("escape", tables.ESCAPES)
def test_what_is_shipped_is_of_this_grammar_and_this_lark(
    escape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tables.build(escape, starts=syntax.STARTS)

    def never(*_: object, **__: object) -> None:
        pytest.fail("run `python -m dockerfile_grammar.tables`: the tables are of something else")

    monkeypatch.setattr(tables, "build", never)
    shipped = tables.parser(escape, starts=syntax.STARTS)
    for start, text in LINES:
        assert shipped.parse(text, start=start) == made.parse(text, start=start)


@pytest.mark.parametrize("damage", ["", "another head\n", "half"])
def test_tables_of_something_else_are_made_in_place(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(FOLDER / tables.GRAMMAR, tmp_path)
    name = "tables.backslash.pickle"
    whole = (FOLDER / name).read_bytes()
    if damage:
        (tmp_path / name).write_bytes(whole[: len(whole) // 2] if damage == "half" else b"x\n")
    monkeypatch.setattr(tables, "__file__", str(tmp_path / "tables.py"))
    parser = tables.parser("\\", starts=syntax.STARTS)
    assert parser.parse("a b", start="paths").data == "paths"


def test_written_tables_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(FOLDER / tables.GRAMMAR, tmp_path)
    tables.write(tmp_path, starts=["from", "text"])
    monkeypatch.setattr(tables, "__file__", str(tmp_path / "tables.py"))
    monkeypatch.delattr(tables, "build")
    assert tables.parser("`", starts=["from", "text"]).parse("a", start="text").children == ["a"]
