"""The policy that looks at the cache after a build."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from builder.pruning import Bounds
from engine.builds.bounds import (
    DEFAULT_LIMIT,
    MAX_USED,
    MIN_FREE,
    PAUSE_SECONDS,
    RECENT_SECONDS,
    RESERVED,
    bounds_of,
    collect_after_build,
)
from engine.options.errors import OptionError
from images.store import ImageStore

GB = 10**9


def test_bounds_come_from_variables() -> None:
    assert bounds_of({}, 100 * GB) == Bounds(20 * GB)
    assert bounds_of({}, 1000 * GB) == Bounds(DEFAULT_LIMIT)
    given = {MAX_USED: "10%", RESERVED: "1k", MIN_FREE: "2k"}
    assert bounds_of(given, 1000) == Bounds(100, 1024, 2048)
    assert bounds_of({MIN_FREE: "1k"}, 1000) == Bounds(None, None, 1024)


@pytest.mark.parametrize("text", ["x", "x%", "101%"])
def test_malformed_bounds(text: str) -> None:
    with pytest.raises(OptionError):
        bounds_of({MAX_USED: text}, 1000)


@pytest.fixture
def store(tmp_path: Path):
    opened = ImageStore.open(tmp_path / "store")
    now = time.time()
    for name, age in (("old", 2 * RECENT_SECONDS), ("new", 0)):
        opened.cache.put(name.encode(), "slot", b"x" * 5000)
        opened.db.execute("UPDATE cache SET used = ? WHERE key = ?", (now - age, name.encode()))
    yield opened
    opened.close()


def keys(store: ImageStore) -> set[bytes]:
    return {row.key for row in store.cache.rows()}


def test_old_entries_go_and_what_was_just_used_stays(store: ImageStore) -> None:
    assert collect_after_build(store, {MAX_USED: "1k"}) == 5000
    assert keys(store) == {b"new"}


def test_within_bounds_nothing_goes(store: ImageStore) -> None:
    assert collect_after_build(store, {MAX_USED: "1g"}) == 0
    assert keys(store) == {b"old", b"new"}


def test_it_looks_once_in_a_while(store: ImageStore) -> None:
    collect_after_build(store, {MAX_USED: "100%"})
    assert collect_after_build(store, {MAX_USED: "1k"}) == 0
    later = time.time() + PAUSE_SECONDS + 1
    assert collect_after_build(store, {MAX_USED: "1k"}, clock=lambda: later) == 5000
    assert os.listdir(store.root / "builder")
