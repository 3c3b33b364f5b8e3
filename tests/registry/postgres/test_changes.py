"""The barrier in front of answers from memory: what was committed before is known behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from registry.cache import AnswerCache
from registry.sql.errors import DatabaseError
from registry.sql.postgres import changes
from registry.sql.postgres.index import PostgresIndex
from registry.sql.settings import IndexSettings
from tests.registry.postgres_kit import PostgresServer

pytestmark = pytest.mark.peer

BLOB = "sha256:" + "b" * 64


@pytest.fixture
async def here(settings: IndexSettings) -> AsyncIterator[PostgresIndex]:
    """The replica that answers."""
    index = await asyncio.to_thread(PostgresIndex, settings)
    yield index
    await index.barrier.close()
    await asyncio.to_thread(index.close)


@pytest.fixture
async def there(settings: IndexSettings, here: PostgresIndex) -> AsyncIterator[PostgresIndex]:
    """The replica that writes."""
    index = await asyncio.to_thread(PostgresIndex, settings)
    yield index
    await asyncio.to_thread(index.close)


async def write(index: PostgresIndex, name: str) -> None:
    link = partial(index.link_blob, name, BLOB, 1)
    await asyncio.to_thread(index.write, name, link)


async def test_what_another_wrote_is_known_behind_the_barrier(
    here: PostgresIndex, there: PostgresIndex
) -> None:
    await write(there, "a")
    await here.barrier.passed()
    before, apart = here.generations.current("a"), here.generations.current("b")
    await here.barrier.passed()
    assert here.generations.current("a") == before, "nothing changed, so caches stay"
    await write(there, "a")
    await here.barrier.passed()
    assert here.generations.current("a") != before
    assert here.generations.current("b") == apart
    assert here.generations.current("a") % 2 == 0


async def test_no_cached_answer_outlives_a_delete(
    here: PostgresIndex, there: PostgresIndex
) -> None:
    """Many readers at one replica while the other deletes and pushes: none is told the past."""
    cache: AnswerCache[int] = AnswerCache(here.generations, limit=1 << 20)
    done = 0
    stale: list[tuple[int, int]] = []

    async def read() -> None:
        committed = done
        await here.barrier.passed()
        told = cache.get("a", "x")
        if told is None:
            generation = cache.generation("a")
            row = await asyncio.to_thread(here.fact, "x")
            told = 0 if row is None else int(row)
            cache.put("a", "x", told, generation=generation, size=1)
        if told < committed:
            stale.append((told, committed))

    async def reader() -> None:
        while done < 150:
            await read()

    async def writer() -> None:
        nonlocal done
        for number in range(1, 151):
            set_fact = partial(there.set_fact, "x", number)
            await asyncio.to_thread(there.write, "a", set_fact)
            done = number

    await asyncio.gather(writer(), *(reader() for _ in range(8)))
    assert not stale
    await read()


async def test_one_query_serves_all_who_came_before_it(
    here: PostgresIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.barrier.passed()
    passes = 0
    passed = changes.ChangeBarrier._pass

    def counted(self: changes.ChangeBarrier) -> None:
        nonlocal passes
        passes += 1
        passed(self)

    monkeypatch.setattr(changes.ChangeBarrier, "_pass", counted)
    await asyncio.gather(*(here.barrier.passed() for _ in range(100)))
    assert passes <= 2


async def test_who_is_cancelled_holds_up_nobody(here: PostgresIndex) -> None:
    gone = [asyncio.create_task(here.barrier.passed()) for _ in range(3)]
    await asyncio.sleep(0)
    gone[0].cancel()
    await asyncio.wait_for(asyncio.gather(*gone[1:]), 60)
    await asyncio.wait_for(here.barrier.passed(), 60)


async def test_a_server_that_starts_again_is_asked_again(own_server: PostgresServer) -> None:
    index = await asyncio.to_thread(PostgresIndex, own_server.settings(wait=2.0))
    await index.barrier.passed()
    await write(index, "a")
    await index.barrier.passed()
    before = index.generations.current("b")
    await asyncio.to_thread(own_server.crash)
    await asyncio.wait_for(index.barrier.passed(), 60)
    assert index.generations.current("b") != before, "nothing that was cached counts"
    await asyncio.to_thread(own_server.stop)
    with pytest.raises(DatabaseError):
        await asyncio.wait_for(index.barrier.passed(), 60)
    await asyncio.to_thread(own_server.start)
    await asyncio.wait_for(index.barrier.passed(), 60)
    await index.barrier.close()
    with pytest.raises(DatabaseError):
        await index.barrier.passed()
    await asyncio.to_thread(index.close)
