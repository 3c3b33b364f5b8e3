"""Locks in PostgreSQL: one holder, free when its process or connection ends, noticed when lost."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg
import pytest

from registry.election import while_elected
from registry.replicas.locks import LockOffices, Locks
from tests.registry.postgres_kit import PostgresServer
from tests.registry.running import PROJECT
from tests.registry.test_election import Work
from tests.waiting import eventually, eventually_async

pytestmark = pytest.mark.peer

HOLD = """
import sys, psycopg
from registry.replicas.locks import LockOffices, Locks
connect = lambda: psycopg.connect(sys.argv[1], autocommit=True)
office = LockOffices(Locks(connect, sys.argv[2])).stand_for("office")
print(office.holds(), flush=True)
sys.stdin.read()
"""

Process = Callable[..., Locks]


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.url


@pytest.fixture
def process(url: str) -> Iterator[Process]:
    """Makes what a process of the registry has of locks."""
    made: list[Locks] = []

    mine = secrets.token_hex(4)

    def make(scope: str = mine) -> Locks:
        made.append(Locks(partial(psycopg.connect, url, autocommit=True), scope))
        return made[-1]

    yield make
    for locks in made:
        locks.close()


def cut_all(url: str) -> None:
    """End every other connection, as a server does that restarts or fails over.

    The timeout makes it wait for their ends: they are not over when they were told so.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )


def test_an_office_has_one_holder_among_all_processes(process: Process) -> None:
    mine = process()
    first, rival = (LockOffices(mine).stand_for("office") for _ in range(2))
    elsewhere = LockOffices(process()).stand_for("office")
    assert first.holds()
    assert first.holds()
    assert not rival.holds(), "of one process, and one connection"
    assert not elsewhere.holds()
    assert LockOffices(mine).stand_for("another").holds()
    assert LockOffices(process("other-schema")).stand_for("office").holds()
    first.close()
    first.close()
    assert elsewhere.holds()


def test_an_office_falls_free_with_a_killed_process(process: Process, url: str) -> None:
    command = [sys.executable, "-c", HOLD, url, "shared"]
    with subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        office = LockOffices(process("shared")).stand_for("office")
        assert not office.holds()
        holder.kill()
        eventually(office.holds)
        office.close()


def test_a_holder_learns_of_a_lost_connection_and_stands_again(process: Process, url: str) -> None:
    locks = process()
    office = LockOffices(locks).stand_for("office")
    assert office.holds()
    named = locks.presence()
    cut_all(url)
    assert not office.holds(), "even if nobody else had it meanwhile"
    assert office.holds()
    assert locks.presence() not in ("", named)


def test_an_office_that_another_took_meanwhile(process: Process, url: str) -> None:
    former, later = (LockOffices(process()).stand_for("office") for _ in range(2))
    assert former.holds()
    cut_all(url)
    assert later.holds()
    assert not former.holds()
    assert not former.holds()
    former.close()
    assert later.holds(), "what was lost is not given back in another's place"


def test_who_is_there_is_known_by_a_lock(process: Process, url: str) -> None:
    mine, other = (LockOffices(process()) for _ in range(2))
    name, theirs = mine.presence(), other.presence()
    assert name == mine.presence() != theirs
    assert mine.is_gone(name) is False
    assert mine.is_gone(theirs) is False
    assert other.is_gone(name) is False
    assert mine.is_gone("presence:nobody") is True
    assert mine.is_gone("") is None
    cut_all(url)
    assert mine.is_gone(theirs) is True, "a lost connection is an end"
    assert mine.presence() != name


def test_nobody_to_ask() -> None:
    def refuse() -> psycopg.Connection[Any]:
        raise psycopg.OperationalError("nobody listens")

    locks = Locks(refuse, "lading")
    assert not LockOffices(locks).stand_for("office").holds()
    assert locks.presence() == ""
    assert locks.is_gone("presence:somebody") is None
    locks.close()


async def test_work_goes_over_to_another_process(process: Process, url: str) -> None:
    works, tasks = [Work(), Work()], []
    for work in works:
        offices = LockOffices(process())
        stand = partial(offices.stand_for, "office")
        tasks.append(asyncio.create_task(while_elected(stand, work, look_seconds=0.02)))
        await eventually_async(lambda: works[0].begun)
    await asyncio.to_thread(cut_all, url)
    await eventually_async(lambda: works[0].ended)
    await eventually_async(lambda: sum(work.begun - work.ended for work in works) == 1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
