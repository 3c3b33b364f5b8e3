"""Events on their way, on disk: ``events.db``, SQLite, one file for all processes of a store.

``append`` puts a batch of the outbox into the queue and moves the position in one transaction: an
event is queued once, whatever dies when. What is delivered is forgotten after the receiver's
answer, so it may be sent again after a crash and is never lost. Each webhook and repository is a
lane: its oldest event is the only one that may be under way, and ``due`` says from when on.

A webhook keeps ``limit`` events. Beyond it the oldest dead ones are dropped, then the oldest that
wait, and counted. Methods block and may be called from any thread.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from registry.errors import RegistryStartError
from registry.events.records import Delivery, NewDelivery, Standing

FILE: Final = "events.db"
FORMAT: Final = 1
_ERROR_LENGTH: Final = 500

_SCHEMA: Final = """
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
"""


_COLUMNS: Final = "number, webhook, repository, event, body, since, attempts, error, dead"


class EventQueue:
    """The queue of one registry root."""

    def __init__(self, root: Path) -> None:
        """Open the file, made when it is missing.

        Raises:
            RegistryStartError: it is damaged or cannot be used, or a newer release wrote it.
        """
        self._path = root / FILE
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            raise self._unusable(error) from error
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._connection.close()

    # From the outbox

    def position(self) -> int | None:
        """The last event of the outbox that was taken; None before ``begin``."""
        rows = self._all("SELECT position FROM state")
        return int(rows[0][0]) if rows else None

    def begin(self, position: int) -> None:
        """Take what comes after ``position``, if nothing was ever taken."""
        with self._transaction() as run:
            run.execute("INSERT OR IGNORE INTO state VALUES (1, ?)", (position,))

    def rewind(self) -> None:
        """Take the outbox from its beginning: it is another one, whose numbers began anew."""
        with self._transaction() as run:
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
        with self._transaction(durable=True) as run:
            sql = "UPDATE state SET position = ? WHERE position = ?"
            if run.execute(sql, (position, after)).rowcount == 0:
                return False
            run.executemany(
                "INSERT OR IGNORE INTO deliveries (webhook, repository, event, body, since)"
                " VALUES (?, ?, ?, ?, ?)",
                ((it.webhook, it.repository, it.event, it.body, now) for it in deliveries),
            )
            run.executemany(
                "INSERT OR IGNORE INTO lanes VALUES (?, ?, ?)",
                {(it.webhook, it.repository, now) for it in deliveries},
            )
            for name in {it.webhook for it in deliveries}:
                self._trim(run, name, limits[name])
        return True

    # To the receivers

    def due(self, webhook: str, *, now: float, busy: Collection[str], limit: int) -> list[Delivery]:
        """Up to ``limit`` events that may be sent now, none of a repository in ``busy``."""
        sql = "SELECT repository FROM lanes WHERE webhook = ? AND due <= ? ORDER BY due LIMIT ?"
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
        with self._transaction() as run:
            run.execute("DELETE FROM deliveries WHERE number = ?", (delivery.number,))
            _go_on(run, delivery.webhook, delivery.repository, now)
            _count(run, delivery.webhook, "delivered = delivered + 1, error = ''")

    def failed(self, delivery: Delivery, error: str, *, due: float) -> None:
        """An attempt failed; its repository waits until ``due``."""
        said = error[:_ERROR_LENGTH]
        with self._transaction() as run:
            sql = "UPDATE deliveries SET attempts = attempts + 1, error = ? WHERE number = ?"
            run.execute(sql, (said, delivery.number))
            sql = "UPDATE lanes SET due = ? WHERE webhook = ? AND repository = ?"
            run.execute(sql, (due, delivery.webhook, delivery.repository))
            _count(run, delivery.webhook, "failed = failed + 1, error = ?", said)

    def bury(self, delivery: Delivery, error: str, *, now: float) -> None:
        """The last attempt failed: it is dead, and the next event of its repository is due."""
        said = error[:_ERROR_LENGTH]
        with self._transaction() as run:
            sql = (
                "UPDATE deliveries SET attempts = attempts + 1, error = ?, dead = ?"
                " WHERE number = ?"
            )
            run.execute(sql, (said, now, delivery.number))
            _go_on(run, delivery.webhook, delivery.repository, now)
            _count(run, delivery.webhook, "failed = failed + 1, died = died + 1, error = ?", said)

    def set_gone(self, webhook: str, *, now: float, error: str) -> None:
        """The receiver wants nothing more: its events wait until ``revive``."""
        with self._transaction() as run:
            _count(run, webhook, "gone = ?, error = ?, failed = failed + 1", now, error)

    def revive(self) -> None:
        """Let every webhook be tried again."""
        with self._transaction() as run:
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
        with self._transaction(durable=True) as run:
            sql = f"SELECT DISTINCT webhook, repository, ? FROM deliveries WHERE {where}"
            lanes = run.execute(sql, (now, *values)).fetchall()
            run.executemany("INSERT OR IGNORE INTO lanes VALUES (?, ?, ?)", lanes)
            sql = f"UPDATE deliveries SET dead = NULL, attempts = 0, since = ? WHERE {where}"
            return run.execute(sql, (now, *values)).rowcount

    def drop(self, numbers: Sequence[int] | None, *, webhook: str | None, dead: bool) -> int:
        """Forget dead events, or events that wait: these, or all; returns how many."""
        where, values = _chosen(numbers, webhook, f"dead IS {'NOT ' if dead else ''}NULL")
        with self._transaction(durable=True) as run:
            return run.execute(f"DELETE FROM deliveries WHERE {where}", values).rowcount

    def changes(self) -> int:
        """A number that changes whenever another connection wrote (SQLite's ``data_version``)."""
        return int(self._all("PRAGMA data_version")[0][0])

    # Inside

    def _prepare(self) -> None:
        run = self._connection
        run.execute("PRAGMA busy_timeout = 30000")
        run.execute("PRAGMA journal_mode = WAL")
        if self._version() == FORMAT:
            return
        with self._transaction(durable=True):
            # Read again under the lock: another process may have made it meanwhile.
            version = self._version()
            if version > FORMAT:
                raise RegistryStartError(
                    f"the queue of events has format {version}, this registry reads {FORMAT}",
                    where=str(self._path),
                    fix="start the newer release that wrote it",
                )
            if version < FORMAT:
                for statement in _SCHEMA.split(";"):
                    run.execute(statement)
                run.execute(f"PRAGMA user_version = {FORMAT}")

    def _unusable(self, error: sqlite3.Error) -> RegistryStartError:
        return RegistryStartError(
            f"cannot open the queue of events: {error}",
            where=str(self._path),
            fix="if it is damaged, move it away: the events in it are lost, nothing else",
        )

    def _version(self) -> int:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        return int(version)

    def _all(self, sql: str, *values: object) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def _head(self, webhook: str, repository: str) -> Delivery | None:
        """The oldest event of a lane; a lane without one is removed."""
        sql = (
            f"SELECT {_COLUMNS} FROM deliveries WHERE webhook = ? AND repository = ?"
            " AND dead IS NULL ORDER BY number LIMIT 1"
        )
        rows = self._all(sql, webhook, repository)
        if rows:
            return Delivery(*rows[0])
        with self._transaction() as run:
            _go_on(run, webhook, repository, 0)
        return None

    def _oldest(self, webhook: str) -> float | None:
        sql = (
            "SELECT since FROM deliveries WHERE webhook = ? AND dead IS NULL"
            " ORDER BY number LIMIT 1"
        )
        rows = self._all(sql, webhook)
        return float(rows[0][0]) if rows else None

    def _trim(self, run: sqlite3.Connection, webhook: str, limit: int) -> None:
        sql = "SELECT COUNT(*) FROM deliveries WHERE webhook = ?"
        (kept,) = run.execute(sql, (webhook,)).fetchone()
        if kept > limit:
            run.execute(
                "DELETE FROM deliveries WHERE number IN (SELECT number FROM deliveries"
                " WHERE webhook = ? ORDER BY dead IS NULL, number LIMIT ?)",
                (webhook, kept - limit),
            )
            _count(run, webhook, "dropped = dropped + ?", kept - limit)

    @contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """Write; a durable commit waits for the disk, another is lost at worst to a power cut."""
        with self._lock:
            run = self._connection
            run.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            run.execute("BEGIN IMMEDIATE")
            try:
                yield run
                run.execute("COMMIT")
            finally:
                if run.in_transaction:
                    run.execute("ROLLBACK")


def _go_on(run: sqlite3.Connection, webhook: str, repository: str, now: float) -> None:
    """The next event of a lane is due; a lane without one is removed."""
    lane = (webhook, repository)
    sql = "SELECT 1 FROM deliveries WHERE webhook = ? AND repository = ? AND dead IS NULL LIMIT 1"
    if run.execute(sql, lane).fetchone() is None:
        run.execute("DELETE FROM lanes WHERE webhook = ? AND repository = ?", lane)
    else:
        sql = "UPDATE lanes SET due = ? WHERE webhook = ? AND repository = ?"
        run.execute(sql, (now, *lane))


def _count(run: sqlite3.Connection, webhook: str, change: str, *values: object) -> None:
    run.execute("INSERT OR IGNORE INTO webhooks (name) VALUES (?)", (webhook,))
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
