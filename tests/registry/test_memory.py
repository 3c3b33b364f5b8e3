"""Generations and the cache that obeys them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.cache import AnswerCache
from registry.generation import Generations


@pytest.fixture
def generations(tmp_path: Path) -> Iterator[Generations]:
    generations = Generations(tmp_path / "g")
    yield generations
    generations.close()


def keep(cache: AnswerCache[str], repository: str, name: str, value: str, size: int = 0) -> None:
    cache.put(repository, name, value, generation=cache.generation(repository), size=size)


def test_a_write_ends_an_entry(generations: Generations) -> None:
    cache: AnswerCache[str] = AnswerCache(generations, limit=1 << 20)
    keep(cache, "a", "x", "old")
    keep(cache, "b", "x", "other")
    assert cache.get("a", "x") == "old"
    generations.enter("a")
    assert cache.get("a", "x") is None
    keep(cache, "a", "x", "read during the write")
    assert cache.get("a", "x") is None
    generations.leave("a")
    assert cache.get("a", "x") is None
    assert cache.get("b", "x") == "other"
    keep(cache, "a", "x", "new")
    assert cache.get("a", "x") == "new"


def test_an_answer_read_before_a_write_is_not_kept_after_it(generations: Generations) -> None:
    cache: AnswerCache[str] = AnswerCache(generations, limit=1 << 20)
    generation = cache.generation("a")
    generations.enter("a")
    generations.leave("a")
    cache.put("a", "x", "stale", generation=generation, size=0)
    assert cache.get("a", "x") is None


def test_a_writer_killed_half_way_leaves_nothing_cached(tmp_path: Path) -> None:
    killed, alive = Generations(tmp_path / "g"), Generations(tmp_path / "g")
    cache: AnswerCache[str] = AnswerCache(alive, limit=1 << 20)
    keep(cache, "a", "x", "old")
    killed.enter("a")
    killed.close()
    assert cache.get("a", "x") is None
    keep(cache, "a", "x", "read later")
    assert cache.get("a", "x") is None
    alive.enter("a")
    alive.leave("a")
    keep(cache, "a", "x", "new")
    assert cache.get("a", "x") == "new"
    alive.close()


def test_the_budget_is_kept(generations: Generations) -> None:
    cache: AnswerCache[str] = AnswerCache(generations, limit=100_000)
    keep(cache, "a", "huge", "x", size=50_000)
    assert cache.get("a", "huge") is None, "one entry must not displace everything"
    for number in range(50):
        keep(cache, "a", str(number), "x", size=8_000)
        cache.get("a", "0")
    kept = [n for n in range(50) if cache.get("a", str(n)) is not None]
    assert kept == [0, *range(50 - len(kept) + 1, 50)], "the least recently used left first"
    assert 8 <= len(kept) <= 12


def test_replacing_does_not_leak_budget(generations: Generations) -> None:
    cache: AnswerCache[str] = AnswerCache(generations, limit=100_000)
    for number in range(100):
        keep(cache, "a", "x", str(number), size=10_000)
    keep(cache, "a", "y", "y", size=10_000)
    assert (cache.get("a", "x"), cache.get("a", "y")) == ("99", "y")
