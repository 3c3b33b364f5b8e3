"""Pages over many rows: along an index, in pieces, and never past what was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from images.mediatype import OCI_MANIFEST
from registry.index import SqlIndex
from registry.sql.connection import Connection
from registry.web import queries as module
from registry.web.queries import Queries
from registry.web.usage import LARGEST, TOGETHER, note_usage
from tests.registry.store_kit import open_index

DAY = 86400
REPOSITORIES, TAGS = 60, 40


class Recorded(Queries):
    """Remembers the statements, to look at their plans."""

    def __init__(self, index: SqlIndex) -> None:
        super().__init__(index.reader)
        self.said: list[tuple[str, tuple[Any, ...]]] = []

    def _rows(self, sql: str, *parameters: Any) -> list[Any]:
        self.said.append((sql, parameters))
        return super()._rows(sql, *parameters)


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SqlIndex]:
    """Some repositories, one with many tags, made row by row."""
    opened = open_index(tmp_path)
    opened.write("", partial(fill, opened.writer))
    yield opened
    opened.close()


def fill(db: Connection) -> None:
    for key in range(1, REPOSITORIES + 1):
        db.execute("INSERT INTO repositories VALUES (?, ?, 1, 0, 0)", (key, f"team/r{key:03}"))
    for tag in range(TAGS):
        row = (1, digest(tag), OCI_MANIFEST, 10, 1)
        db.execute(
            "INSERT INTO manifests (repository, digest, media_type, size, created)"
            " VALUES (?, ?, ?, ?, ?)",
            row,
        )
        # Every third moves in the same second.
        db.execute("INSERT INTO tags VALUES (1, ?, ?, ?)", (f"v{tag:02}", digest(tag), tag // 3))
        db.execute("INSERT INTO blob_links VALUES (1, ?, 100, 1)", (digest(1000 + tag),))
        db.execute(
            "INSERT INTO manifest_references VALUES (1, ?, ?)", (digest(tag), digest(1000 + tag))
        )


def test_no_page_scans_a_table(index: SqlIndex) -> None:
    queries = Recorded(index)
    queries.key("team/r001")
    queries.names(last="", limit=5)
    queries.found_names("00", last="", limit=5)
    queries.repositories(["team/r001", "team/r002"])
    queries.newest_tags(1, before=(3, "v10"), limit=5)
    queries.named_tags(1, last="v", limit=5)
    queries.prefixed_tags(1, "v1", last="", limit=5)
    queries.found_tags(1, "1", last="", limit=5)
    queries.tags_of(1, digest(1), limit=5)
    queries.created(1, digest(1))
    queries.lists_of(1, digest(1), limit=5)
    queries.sharing(1, [digest(1001)])
    queries.usage(1, since=0)
    queries.fact(LARGEST)
    assert len(queries.said) > 12
    for sql, parameters in queries.said:
        plan = index.reader().execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
        steps = [row[3] for row in plan]
        # What was cut to a page before may be read whole; of the rest no whole repository either.
        scans = [it for it in steps if re.match(r"SCAN (?!p\b|page\b|\(sub|SUBQUERY|CONSTANT)", it)]
        scans += [it for it in steps if "references" in it and it.endswith("(repository=?)")]
        scans += [it for it in steps if re.match(r"SEARCH [a-z] .*\(repository=\?\)$", it)]
        assert not scans, (sql, steps)


def test_tags_by_time_come_once_each(index: SqlIndex) -> None:
    queries, seen, before = Queries(index.reader), [], None
    while rows := queries.newest_tags(1, before=before, limit=7):
        seen += rows
        before = (rows[-1].updated, rows[-1].name)
    assert [(row.updated, row.name) for row in seen] == sorted(
        ((row.updated, row.name) for row in seen), reverse=True
    )
    assert len({row.name for row in seen}) == len(seen) == TAGS
    assert {row.size for row in seen} == {110}


def test_tags_by_name_come_once_each(index: SqlIndex) -> None:
    queries, seen, last = Queries(index.reader), [], ""
    while rows := queries.named_tags(1, last=last, limit=7):
        seen += [row.name for row in rows]
        last = rows[-1].name
    assert seen == [f"v{tag:02}" for tag in range(TAGS)]


def test_a_search_looks_at_a_window(index: SqlIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 10)
    queries = Queries(index.reader)
    rows, end = queries.found_tags(1, "5", last="", limit=9)
    assert ([row.name for row in rows], end) == (["v05"], "v09")
    rows, end = queries.found_tags(1, "5", last="v30", limit=9)
    assert ([row.name for row in rows], end) == (["v35"], None)


def test_a_search_of_names_looks_at_a_window(
    index: SqlIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WINDOW", 10)
    queries = Queries(index.reader)
    assert queries.found_names("7", last="", limit=9) == (["team/r007"], "team/r010")
    assert queries.found_names("7", last="team/r055", limit=9) == (["team/r057"], None)
    assert queries.found_names("r0", last="", limit=2) == (["team/r001", "team/r002"], None)


def test_usage_is_noted_when_it_changed(index: SqlIndex) -> None:
    queries = Queries(index.reader)
    grow = "UPDATE repositories SET bytes = bytes + ? WHERE id = 2"
    for day, added in ((10, 5), (11, 0), (13, 7)):
        index.write("", partial(index.writer.execute, grow, (added,)))
        note_usage(index, clock=lambda day=day: day * DAY + 5.0)
        note_usage(index, clock=lambda day=day: day * DAY + 3600.0)
    assert queries.usage(2, since=0) == [(10, 5), (13, 12)]
    whole = 40 * 110
    assert queries.usage(TOGETHER, since=0) == [(10, whole + 5), (13, whole + 12)]
    assert queries.fact(LARGEST)[0] == ["team/r001", whole, TAGS]
