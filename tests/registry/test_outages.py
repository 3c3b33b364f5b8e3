"""What stands around the registry fails: clients hear when to come back, the log is readable."""

from __future__ import annotations

import asyncio
import gc
import logging
import sqlite3
import time
import weakref

import pytest

from registry.errors import ObjectStoreError
from registry.faults import refusal_of
from registry.index import SqliteIndex
from registry.sql.errors import DatabaseLostError
from registry.storage import FileStage
from tests.registry.kit import Client, digest_of


def busy() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return error


@pytest.mark.parametrize(
    "error", [ObjectStoreError("away"), DatabaseLostError("away"), OSError(5, "I/O error"), busy()]
)
def test_every_503_says_when_to_come_back(error: Exception) -> None:
    refusal = refusal_of(error)
    assert refusal is not None
    assert (refusal.status, refusal.headers) == (503, {"Retry-After": "5"})


def lost() -> DatabaseLostError:
    error = DatabaseLostError("the database cannot be reached")
    error.__cause__ = OSError("refused\nby hosts")
    return error


def full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (lost(), 503, "the database cannot be reached: refused"),
        (full(), 507, "database or disk is full"),
        (OSError(28, "No space left on device"), 507, "[Errno 28] No space left on device"),
        (busy(), 503, "database is locked"),
    ],
    ids=["lost", "full index", "full disk", "busy"],
)
async def test_an_outage_is_one_line_of_the_log(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    faults_expected: None,
    error: Exception,
    status: int,
    told: str,
) -> None:
    def away(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(SqliteIndex, "tags", away)
    answer = await client.send("GET", "/v2/a/tags/list")
    assert (answer.status, answer.headers.get("Retry-After")) == (
        status,
        "5" if status == 503 else None,
    )
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    told = f"GET /v2/a/tags/list failed: {told}"
    assert (record.getMessage(), record.exc_info) == (told, None)


class DiskFull(OSError):
    """One that weak references may point to."""


async def test_a_failed_upload_leaves_nothing_in_memory(
    client: Client, monkeypatch: pytest.MonkeyPatch, faults_expected: None
) -> None:
    """On a full disk every upload fails, and each would keep its body until a collection."""
    held: list[weakref.ref[DiskFull]] = []

    def refuse(*_: object) -> None:
        error = DiskFull(28, "No space left on device")
        held.append(weakref.ref(error))
        raise error

    monkeypatch.setattr(FileStage, "append", refuse)
    data = bytes(3 << 20)
    gc.disable()
    try:
        path = f"/v2/a/blobs/uploads/?digest={digest_of(data)}"
        assert (await client.send("POST", path, data=data)).status == 507
        deadline = time.monotonic() + 60
        while any(error() is not None for error in held) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
    finally:
        gc.enable()
    assert [error() for error in held] == [None] * len(held)
    assert held


async def test_a_bug_keeps_its_traceback(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    faults_expected: None,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(SqliteIndex, "tags", broken)
    assert (await client.send("GET", "/v2/a/tags/list")).status == 503
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert record.exc_info is not None
