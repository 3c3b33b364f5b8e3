"""Clocks that disagree: told when it is seconds, refused when it is minutes."""

from __future__ import annotations

import logging
import time
from functools import partial

import psycopg
import pytest

from registry.errors import RegistryStartError
from registry.sql.postgres import database
from registry.sql.postgres.clock import check_clock
from registry.sql.postgres.index import PostgresIndex
from registry.sql.settings import IndexSettings

pytestmark = pytest.mark.peer


def shifted(seconds: float) -> float:
    return time.time() + seconds


@pytest.mark.parametrize(("seconds", "how"), [(3600, "ahead of"), (-3600, "behind")])
def test_hours_are_refused_before_anything_is_written(
    settings: IndexSettings, seconds: float, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = partial(check_clock, clock=partial(shifted, seconds))
    monkeypatch.setattr(database, "check_clock", check)
    with pytest.raises(RegistryStartError, match=rf"clock is 3\d\d\d s {how} the database's") as e:
        PostgresIndex(settings)
    assert "NTP" in str(e.value.fix)
    sql = "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = %s"
    with psycopg.connect(settings.url) as connection:
        assert connection.execute(sql, (settings.schema,)).fetchone() == (0,)


@pytest.mark.parametrize(("seconds", "told"), [(120, True), (-120, True), (2, False), (-2, False)])
def test_minutes_are_told_and_seconds_are_not(
    settings: IndexSettings, seconds: float, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    index = PostgresIndex(settings)
    with caplog.at_level(logging.WARNING, "registry"):
        check_clock(index.reader(), "here", clock=partial(shifted, seconds))
    index.close()
    assert bool(caplog.records) == told
    assert all("replicas need clocks that agree" in line.message for line in caplog.records)
