"""Events on their way, as they are kept: ``events.db``, one for all processes of a store.

``append`` puts a batch of the outbox into the queue and moves the position in one transaction: an
event is queued once, whatever dies when. What is delivered is forgotten after the receiver's
answer, so it may be sent again after a crash and is never lost. Each webhook and repository is a
lane: its oldest event is the only one that may be under way, and ``due`` says from when on.

A webhook keeps ``limit`` events. Beyond it the oldest dead ones are dropped, then the oldest that
wait, and counted. Methods block and may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from registry.errors import RegistryError, RegistryStartError
from registry.events.records import Delivery, NewDelivery, Standing
from registry.sql.connection import Connection
from registry.sql.errors import DATABASE_ERRORS
from registry.sql.stores import SqliteStores, Stores

FILE: Final = "events.db"
_ERROR_LENGTH: Final = 500

STEPS: Final = (
    """
CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook TEXT NOT NULL,
    repository TEXT NOT NULL,
    event TEXT NOT NULL,
    body BLOB NOT NULL,
    since REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    dead REAL,
    UNIQUE (webhook, event)
);
CREATE INDEX deliveries_by_age ON deliveries (webhook, dead, number);
CREATE INDEX deliveries_by_lane ON deliveries (webhook, repository, number) WHERE dead IS NULL;
CREATE TABLE lanes (
    webhook TEXT NOT NULL,
    repository TEXT NOT NULL,
    due REAL NOT NULL,
    PRIMARY KEY (webhook, repository)
) WITHOUT ROWID;
CREATE INDEX lanes_by_due ON lanes (webhook, due);
CREATE TABLE webhooks (
    name TEXT PRIMARY KEY,
    delivered INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    died INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,
    gone REAL,
    error TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL);
""",
    """
-- How often a command changed something, which whoever delivers has to know.
CREATE TABLE commands (one INTEGER PRIMARY KEY CHECK (one = 1), count INTEGER NOT NULL);
INSERT INTO commands (one, count) VALUES (1, 0);
""",
)


_NEW_LANE: Final = (
    "INSERT INTO lanes (webhook, repository, due) VALUES (?, ?, ?)"
    " ON CONFLICT (webhook, repository) DO NOTHING"
)
_COMMAND: Final = "UPDATE commands SET count = count + 1"
_COLUMNS: Final = "number, webhook, repository, event, body, since, attempts, error, dead"


class EventQueue:
    """The queue of one registry root."""

    def __init__(self, root: Path, stores: Stores | None = None) -> None:
        """Open it, made when it is missing.

        Raises:
            RegistryStartError: it is damaged or cannot be used, or a newer release wrote it.
        """
        path = root / FILE
        try:
            self._store = (stores or SqliteStores()).open(path, STEPS)
        except DATABASE_ERRORS as error:
            raise RegistryStartError(
                f"cannot open the queue of events: {error}",
                where=str(path),
                fix="if it is damaged, move it away: the events in it are lost, nothing else",
            ) from error
        except RegistryError as error:
            raise RegistryStartError(
                f"the queue of events: {error.what}", where=error.where, fix=error.fix
            ) from error

    def close(self) -> None:
        """Release it."""
        self._store.close()

    # From the outbox

    def position(self) -> int | None:
        """The last event of the outbox that was taken; None before ``begin``."""
        rows = self._all("SELECT position FROM state")
        return int(rows[0][0]) if rows else None

    def begin(self, position: int) -> None:
        """Take what comes after ``position``, if nothing was ever taken."""
        with self._store.transaction(durable=False) as run:
            run.execute("INSERT INTO state VALUES (1, ?) ON CONFLICT (one) DO NOTHING", (position,))

    def rewind(self) -> None:
        """Take the outbox from its beginning: it is another one, whose numbers began anew."""
        with self._store.transaction(durable=False) as run:
            run.execute("UPDATE state SET position = 0")

    def append(
        self,
        deliveries: Sequence[NewDelivery],
        *,
        after: int,
        position: int,
        now: float,
        limits: Mapping[str, int],
    ) -> bool:
        """Queue what came after the event ``after`` up to ``position``; durable once it returns.

        ``limits`` says how many events each webhook may keep. False: another process did it.
        """
        with self._store.transaction() as run:
            sql = "UPDATE state SET position = ? WHERE position = ?"
            if run.execute(sql, (position, after)).rowcount == 0:
                return False
            run.executemany(
                "INSERT INTO deliveries (webhook, repository, event, body, since)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (webhook, event) DO NOTHING",
                ((it.webhook, it.repository, it.event, it.body, now) for it in deliveries),
            )
            run.executemany(
                _NEW_LANE,
                {(it.webhook, it.repository, now) for it in deliveries},
            )
            for name in {it.webhook for it in deliveries}:
                self._trim(run, name, limits[name])
        return True

    # To the receivers

    def due(self, webhook: str, *, now: float, busy: Collection[str], limit: int) -> list[Delivery]:
        """Up to ``limit`` events that may be sent now, none of a repository in ``busy``."""
        sql = (
            "SELECT repository FROM lanes WHERE webhook = ? AND due <= ?"
            " ORDER BY due, repository LIMIT ?"
        )
        lanes = self._all(sql, webhook, now, limit + len(busy))
        free = [repository for (repository,) in lanes if repository not in busy]
        found = [self._head(webhook, repository) for repository in free[:limit]]
        return [delivery for delivery in found if delivery is not None]

    def next_due(self, webhook: str, *, busy: Collection[str]) -> float | None:
        """When the next event may be sent, of repositories that are not in ``busy``."""
        sql = "SELECT repository, due FROM lanes WHERE webhook = ? ORDER BY due LIMIT ?"
        rows = self._all(sql, webhook, len(busy) + 1)
        return next((due for repository, due in rows if repository not in busy), None)

    def delivered(self, delivery: Delivery, *, now: float) -> None:
        """The receiver has it."""
        with self._store.transaction(durable=False) as run:
            run.execute("DELETE FROM deliveries WHERE number = ?", (delivery.number,))
            _go_on(run, delivery.webhook, delivery.repository, now)
            _count(run, delivery.webhook, "delivered = delivered + 1, error = ''")

    def failed(self, delivery: Delivery, error: str, *, due: float) -> None:
        """An attempt failed; its repository waits until ``due``."""
        said = error[:_ERROR_LENGTH]
        with self._store.transaction(durable=False) as run:
            sql = "UPDATE deliveries SET attempts = attempts + 1, error = ? WHERE number = ?"
            run.execute(sql, (said, delivery.number))
            sql = "UPDATE lanes SET due = ? WHERE webhook = ? AND repository = ?"
            run.execute(sql, (due, delivery.webhook, delivery.repository))
            _count(run, delivery.webhook, "failed = failed + 1, error = ?", said)

    def bury(self, delivery: Delivery, error: str, *, now: float) -> None:
        """The last attempt failed: it is dead, and the next event of its repository is due."""
        said = error[:_ERROR_LENGTH]
        with self._store.transaction(durable=False) as run:
            sql = (
                "UPDATE deliveries SET attempts = attempts + 1, error = ?, dead = ?"
                " WHERE number = ?"
            )
            run.execute(sql, (said, now, delivery.number))
            _go_on(run, delivery.webhook, delivery.repository, now)
            _count(run, delivery.webhook, "failed = failed + 1, died = died + 1, error = ?", said)

    def set_gone(self, webhook: str, *, now: float, error: str) -> None:
        """The receiver wants nothing more: its events wait until ``revive``."""
        with self._store.transaction(durable=False) as run:
            _count(run, webhook, "gone = ?, error = ?, failed = failed + 1", now, error)

    def revive(self) -> None:
        """Let every webhook be tried again."""
        with self._store.transaction(durable=False) as run:
            run.execute("UPDATE webhooks SET gone = NULL")

    # For people

    def standings(self) -> list[Standing]:
        """How each webhook is doing that ever had an event, by name."""
        pending = dict(
            self._all("SELECT webhook, COUNT(*) FROM deliveries WHERE dead IS NULL GROUP BY 1")
        )
        dead = dict(
            self._all("SELECT webhook, COUNT(*) FROM deliveries WHERE dead IS NOT NULL GROUP BY 1")
        )
        sql = "SELECT name, delivered, failed, died, dropped, gone, error FROM webhooks"
        counted = {row[0]: row[1:] for row in self._all(sql)}
        return [
            Standing(
                name,
                pending.get(name, 0),
                dead.get(name, 0),
                self._oldest(name),
                *counted.get(name, ()),
            )
            for name in sorted({*pending, *dead, *counted})
        ]

    def listed(self, *, dead: bool, webhook: str | None, limit: int) -> list[Delivery]:
        """Events that wait, or dead ones; the oldest first."""
        chosen = "" if webhook is None else " AND webhook = ?"
        sql = (
            f"SELECT {_COLUMNS} FROM deliveries WHERE dead IS {'NOT ' if dead else ''}NULL"
            f"{chosen} ORDER BY number LIMIT ?"
        )
        names = () if webhook is None else (webhook,)
        return [Delivery(*row) for row in self._all(sql, *names, limit)]

    def retry(self, numbers: Sequence[int] | None, *, webhook: str | None, now: float) -> int:
        """Let dead events wait again, as if new: these, or all; returns how many."""
        where, values = _chosen(numbers, webhook, "dead IS NOT NULL")
        with self._store.transaction() as run:
            sql = f"SELECT DISTINCT webhook, repository, ? FROM deliveries WHERE {where}"
            lanes = run.execute(sql, (now, *values)).fetchall()
            run.executemany(_NEW_LANE, lanes)
            run.execute(_COMMAND)
            sql = f"UPDATE deliveries SET dead = NULL, attempts = 0, since = ? WHERE {where}"
            return run.execute(sql, (now, *values)).rowcount

    def drop(self, numbers: Sequence[int] | None, *, webhook: str | None, dead: bool) -> int:
        """Forget dead events, or events that wait: these, or all; returns how many."""
        where, values = _chosen(numbers, webhook, f"dead IS {'NOT ' if dead else ''}NULL")
        with self._store.transaction() as run:
            run.execute(_COMMAND)
            return run.execute(f"DELETE FROM deliveries WHERE {where}", values).rowcount

    def changes(self) -> int:
        """A number that changes whenever a command changed something (``retry``, ``drop``)."""
        return int(self._all("SELECT count FROM commands")[0][0])

    # Inside

    def _all(self, sql: str, *values: object) -> list[Any]:
        return self._store.reader().execute(sql, values).fetchall()

    def _head(self, webhook: str, repository: str) -> Delivery | None:
        """The oldest event of a lane; a lane without one is removed."""
        sql = (
            f"SELECT {_COLUMNS} FROM deliveries WHERE webhook = ? AND repository = ?"
            " AND dead IS NULL ORDER BY number LIMIT 1"
        )
        rows = self._all(sql, webhook, repository)
        if rows:
            return Delivery(*rows[0])
        with self._store.transaction(durable=False) as run:
            _go_on(run, webhook, repository, 0)
        return None

    def _oldest(self, webhook: str) -> float | None:
        sql = (
            "SELECT since FROM deliveries WHERE webhook = ? AND dead IS NULL"
            " ORDER BY number LIMIT 1"
        )
        rows = self._all(sql, webhook)
        return float(rows[0][0]) if rows else None

    def _trim(self, run: Connection, webhook: str, limit: int) -> None:
        sql = "SELECT COUNT(*) FROM deliveries WHERE webhook = ?"
        (kept,) = run.execute(sql, (webhook,)).fetchone()
        if kept > limit:
            run.execute(
                "DELETE FROM deliveries WHERE number IN (SELECT number FROM deliveries"
                " WHERE webhook = ? ORDER BY dead IS NULL, number LIMIT ?)",
                (webhook, kept - limit),
            )
            _count(run, webhook, "dropped = dropped + ?", kept - limit)


def _go_on(run: Connection, webhook: str, repository: str, now: float) -> None:
    """The next event of a lane is due; a lane without one is removed."""
    lane = (webhook, repository)
    sql = "SELECT 1 FROM deliveries WHERE webhook = ? AND repository = ? AND dead IS NULL LIMIT 1"
    if run.execute(sql, lane).fetchone() is None:
        run.execute("DELETE FROM lanes WHERE webhook = ? AND repository = ?", lane)
    else:
        sql = "UPDATE lanes SET due = ? WHERE webhook = ? AND repository = ?"
        run.execute(sql, (now, *lane))


def _count(run: Connection, webhook: str, change: str, *values: object) -> None:
    run.execute("INSERT INTO webhooks (name) VALUES (?) ON CONFLICT (name) DO NOTHING", (webhook,))
    run.execute(f"UPDATE webhooks SET {change} WHERE name = ?", (*values, webhook))


def _chosen(
    numbers: Sequence[int] | None, webhook: str | None, condition: str
) -> tuple[str, list[object]]:
    """The WHERE of deliveries that somebody chose."""
    conditions, values = [condition], list[object]()
    if numbers is not None:
        conditions.append(f"number IN ({', '.join('?' * len(numbers))})")
        values += numbers
    if webhook is not None:
        conditions.append("webhook = ?")
        values.append(webhook)
    return " AND ".join(conditions), values
