"""What pages ask, of an index in PostgreSQL; along indexes there as well."""

from __future__ import annotations

import pytest

from images.mediatype import OCI_INDEX
from registry.gate.relations import lists_of, tags_of
from registry.index import SqlIndex
from registry.web.usage import LARGEST
from tests.registry.web.test_queries import (  # noqa: F401 -- run here
    Recorded,
    digest,
    index,
    test_a_search_looks_at_a_window,
    test_a_search_of_names_looks_at_a_window,
    test_tags_by_name_come_once_each,
    test_tags_by_time_come_once_each,
    test_usage_is_noted_when_it_changed,
)

pytestmark = pytest.mark.peer


def test_every_question_is_understood(index: SqlIndex) -> None:  # noqa: F811
    """Those whose answers the tests above do not look at."""
    queries = Recorded(index)
    assert queries.key("team/r001") == 1
    assert queries.repositories(["team/r001", "team/r002"])[1].moved is None
    assert [row.name for row in queries.prefixed_tags(1, "v1", last="", limit=2)] == ["v10", "v11"]
    assert queries.tags_of(1, digest(1), limit=5) == ["v01"]
    assert queries.created(1, digest(1)) == 1
    assert queries.lists_of(1, digest(1), limit=5) == []
    assert queries.sharing(1, [digest(1001)])[digest(1001)].manifests == 0
    assert queries.fact(LARGEST) is None
    assert queries.tag_count(1) == 40


def test_a_gate_finds_tags_and_lists(index: SqlIndex) -> None:  # noqa: F811
    rows = [(digest(2000 + number), OCI_INDEX, number) for number in range(3)]
    sql = (
        "INSERT INTO manifests (repository, digest, media_type, size, created)"
        " VALUES (1, ?, ?, 9, ?)"
    )
    index.write("", lambda: index.writer.executemany(sql, rows))
    sql = "INSERT INTO manifest_references VALUES (1, ?, ?)"
    refer = [(name, digest(1)) for name, _, _ in rows]
    index.write("", lambda: index.writer.executemany(sql, refer))
    index.write("", lambda: index.retag("team/r001", "list", digest(2000)))
    reader = index.reader()
    found = lists_of(reader, "team/r001", digest(1), limit=5)
    assert [row.digest for row in found] == [digest(2000), digest(2002), digest(2001)]
    assert tags_of(reader, "team/r001", digest(1), limit=5) == ["v01"]
