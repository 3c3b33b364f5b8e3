"""The tables that are shipped are those of the grammar, and others are not used."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dockerfile_grammar import syntax, tables

FOLDER = Path(tables.__file__).parent


@pytest.mark.parametrize("escape", tables.ESCAPES)
def test_what_is_shipped_is_of_this_grammar(escape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        pytest.fail("run `python -m dockerfile_grammar.generate`: the tables are of something else")

    monkeypatch.setattr(tables, "_made", never)
    shipped = tables.load(escape, starts=syntax.STARTS)
    assert set(shipped.starts) == set(syntax.STARTS)


@pytest.mark.parametrize("damage", ["", "another head\n", "half", "fields"])
def test_tables_of_something_else_are_made_in_place(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(FOLDER / tables.GRAMMAR, tmp_path)
    name = "tables.backslash.json"
    whole = (FOLDER / name).read_text()
    head = whole.splitlines(keepends=True)[0]
    if damage:
        damaged = {"half": whole[: len(whole) // 2], "fields": f"{head}{{}}\n"}
        (tmp_path / name).write_text(damaged.get(damage, damage))
    monkeypatch.setattr(tables, "__file__", str(tmp_path / "tables.py"))
    made = tables.load("\\", starts=syntax.STARTS)
    assert set(made.starts) == set(syntax.STARTS)


def test_written_tables_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(FOLDER / tables.GRAMMAR, tmp_path)
    monkeypatch.setattr(tables, "__file__", str(tmp_path / "tables.py"))
    tables.write(tmp_path, starts=["from", "text"])
    monkeypatch.delattr(tables, "_made")
    assert set(tables.load("`", starts=["from", "text"]).starts) == {"from", "text"}
