"""A server that is frozen, not dead: nobody is held for long, and it is used again afterwards."""

from __future__ import annotations

import asyncio
from functools import partial

import psycopg
import pytest

from registry.sql.errors import DatabaseLostError
from registry.sql.postgres import link as module
from registry.sql.postgres.index import PostgresIndex
from registry.sql.postgres.patience import Pause
from tests.registry.postgres_kit import PostgresServer
from tests.waiting import eventually

pytestmark = pytest.mark.peer


async def test_a_frozen_server_is_given_up_and_used_again(
    own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read, a write, the barrier and the locks; each would wait for as long as it is frozen."""
    monkeypatch.setattr(module, "LOCK_SECONDS", 1)
    settings = own_server.settings(wait=4.0, timeout=3.0)
    index = await asyncio.to_thread(PostgresIndex, settings)
    assert index.barrier is not None
    tags = partial(index.tags, "a", last="", limit=9)
    write = partial(index.write, "a", partial(index.set_fact, "x", 1))
    await asyncio.to_thread(tags)
    await asyncio.to_thread(write)
    await index.barrier.passed()
    present = await asyncio.to_thread(index.offices.presence)
    assert present
    with own_server.frozen():
        given_up = await asyncio.wait_for(
            asyncio.gather(
                asyncio.to_thread(tags),
                asyncio.to_thread(write),
                index.barrier.passed(),
                return_exceptions=True,
            ),
            timeout=60,
        )
        assert [type(error) for error in given_up] == [DatabaseLostError] * 3
        assert await asyncio.to_thread(index.offices.is_gone, "presence:other") is None

    def works() -> bool:
        try:
            write()
            return index.fact("x") == 1 and index.offices.presence() not in ("", present)
        except DatabaseLostError:
            return False

    await asyncio.to_thread(eventually, works)
    await index.barrier.passed()
    await index.barrier.close()
    await asyncio.to_thread(index.close)
    await asyncio.to_thread(own_server.drop, settings.schema)


def test_what_takes_long_by_itself_is_waited_for(own_server: PostgresServer) -> None:
    """A schema that grows, a collection's query: only requests are in a hurry."""
    settings = own_server.settings(timeout=1.0)
    index = PostgresIndex(settings)
    scratch = index.connect()
    assert scratch.execute("SELECT 7, CAST(pg_sleep(1.5) AS TEXT)").fetchone()[0] == 7
    index.close()
    own_server.drop(settings.schema)


def test_who_waits_behind_a_silent_server_hears_at_once() -> None:
    now = [0.0]
    pause = Pause(clock=lambda: now[0])
    tried: list[float] = []

    def silent() -> None:
        tried.append(now[0])
        raise psycopg.errors.ConnectionTimeout("no answer")

    for moment in (0.0, 1.0, 2.9, 3.0, 4.0):
        now[0] = moment
        with pytest.raises(psycopg.OperationalError):
            pause.connect(silent)
    assert tried == [0.0, 3.0]
    now[0] = 9.0
    assert pause.connect(lambda: 5) == 5
