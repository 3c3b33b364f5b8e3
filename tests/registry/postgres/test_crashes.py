"""Collections and a server that crashes: what may have lost a lease is not collected."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.collection.report import Progress
from registry.sql.errors import DatabaseLostError
from tests.registry.store_kit import DAY, Store

pytestmark = pytest.mark.peer


def crash(store: Store) -> None:
    """Leave the database as a crash of its server does: the unlogged table is empty."""
    store.index.write("", lambda: store.index.writer.execute("DELETE FROM crash_mark"))


def test_a_collection_that_a_crash_overtakes_ends(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.push_blob("a", b"old")
    store.collector().run()
    store.clock.now += 3 * DAY

    def crashes(step: Progress) -> None:
        if step.phase == "uploads":
            crash(store)

    with pytest.raises(DatabaseLostError, match="crashed"):
        store.collector().run(progress=crashes)
    assert store.has("a", digest)
    store.close()


def test_after_a_crash_leases_begin_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.push_blob("a", b"old")
    store.collector().run()
    store.clock.now += 3 * DAY
    crash(store)
    assert store.collector().run().blobs == 0
    assert store.has("a", digest)
    store.clock.now += 3 * DAY
    assert store.collector().run().blobs == 1
    assert not store.has("a", digest)
    store.close()
