"""What was brought in stays while somebody reads it, is listed, and goes with the cache."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder.errors import BuildCancelledError, BuildEnvironmentError
from builder.pruning import prune
from builder.sources.shelf import REPOSITORIES, TREES, Shelf, remove_item
from builder.storage import state_directory
from builder.usage import entries
from images.store import ImageStore

ROUNDS = 10


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    made = ImageStore.open(tmp_path / "store")
    yield made
    made.close()


def fill(path: Path) -> None:
    (path / "file").write_text("content")


def test_an_item_is_made_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    made: list[Path] = []

    def count(path: Path) -> None:
        made.append(path)
        fill(path)

    for _ in range(2):
        with shelf.item("key", "title", count) as path:
            assert (path / "file").read_text() == "content"
    with shelf.item("other", "title", count) as other:
        assert other != path
    assert len(made) == 2


def test_threads_that_want_the_same_wait_for_one(tmp_path: Path) -> None:
    shelf, made, begun = Shelf(tmp_path / "shelf"), [], threading.Event()
    seen: list[str] = []

    def slowly(path: Path) -> None:
        made.append(path)
        begun.wait(10)
        fill(path)

    def read() -> None:
        with shelf.item("key", "title", slowly) as path:
            seen.append((path / "file").read_text())

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.set()
    for thread in threads:
        thread.join()
    assert (len(made), seen) == (1, ["content"] * 3)


def test_what_failed_is_thrown_away(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")

    def half(path: Path) -> None:
        fill(path)
        raise OSError(28, "No space left on device")

    with pytest.raises(BuildEnvironmentError, match="No space left"), shelf.item("k", "t", half):
        pass
    with shelf.item("k", "t", lambda _: None) as path:
        assert list(path.iterdir()) == []


def test_waiting_ends_with_the_build(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    with (
        shelf.changing("key", "title", fill),
        pytest.raises(BuildCancelledError),
        Shelf(tmp_path / "shelf", lambda: True).item("key", "title", fill),
    ):
        pass


def test_it_is_listed_and_pruned_when_nobody_reads(store: ImageStore) -> None:
    state = state_directory(store)
    trees, repositories = Shelf(state / TREES), Shelf(state / REPOSITORIES)
    with repositories.changing("r", "https://example.com/a.git", fill):
        pass
    with trees.item("t", "https://example.com/a.git 0123", fill):
        listed = {entry.type: entry for entry in entries(store)}
        assert set(listed) == {"source.git", "source.local"}
        assert listed["source.local"].in_use
        assert listed["source.git"].description == "https://example.com/a.git"
        prune(store)
    assert [entry.type for entry in entries(store)] == ["source.local"]
    prune(store)
    assert entries(store) == []
    with trees.item("t", "again", fill) as path:
        assert (path / "file").exists()


def test_what_a_killed_build_left_goes_too(store: ImageStore) -> None:
    shelf = Shelf(state_directory(store) / TREES)
    with shelf.item("t", "title", fill) as path:
        root = path.parent
    (root / "fs").rename(root / "stage-1-1")
    assert [entry.description for entry in entries(store)] == ["title"]
    prune(store)
    assert not root.exists()


def test_removing_and_reading_at_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    with shelf.item("key", "title", fill) as path:
        root = path.parent

    def read() -> int:
        seen = 0
        while removed < ROUNDS:
            with shelf.item("key", "title", fill) as path:
                seen += (path / "file").read_text() == "content"
            time.sleep(0.001)
        return seen

    removed = 0
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        while removed < ROUNDS and not reader.done():
            removed += root.exists() and remove_item(root)
            time.sleep(0.0001)
        assert reader.result()
