"""What stands around the registry fails: clients hear when to come back, the log is readable."""

from __future__ import annotations

import logging
import sqlite3

import pytest

from registry.errors import ObjectStoreError
from registry.faults import refusal_of
from registry.index import SqliteIndex
from registry.sql.errors import DatabaseLostError
from tests.registry.kit import Client


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


async def test_an_outage_is_one_line_of_the_log(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    faults_expected: None,
) -> None:
    def away(*_: object, **__: object) -> None:
        raise DatabaseLostError("the database cannot be reached") from OSError("refused\nby hosts")

    monkeypatch.setattr(SqliteIndex, "tags", away)
    answer = await client.send("GET", "/v2/a/tags/list")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    told = "GET /v2/a/tags/list failed: the database cannot be reached: refused"
    assert (record.getMessage(), record.exc_info) == (told, None)
