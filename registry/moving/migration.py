"""A store moved to other drivers while it serves: see ``docs/registry-migrate.md``.

Passes copy blobs and rows while the old store takes writes, each of them what the ones before it
have not, until little is left. Then the old store rests (``registry.moving.state``): reads go on,
writes are told to try again. What is left is copied, both indexes are counted and summed up, the
old store is closed and the new one opened, in this order. Nothing is remembered of how far a pass
came: blobs that are there are not copied again, rows are compared. So a move that was killed is run
again, and goes on.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from images.errors import ImagesError
from registry.collection.collector import OFFICE
from registry.collection.journal_base import rebase
from registry.config import RegistryConfig
from registry.database import NO_REPOSITORY
from registry.errors import MigrationError, StoreMovingError
from registry.index import SqlIndex
from registry.journal import Journal
from registry.moving.content import needed, totals
from registry.moving.membership import Membership
from registry.moving.rooms import copy_rooms
from registry.moving.state import ARRIVING, BOOT, MOVE, Move, Phase
from registry.moving.transfer import Pace, Tally, Transfer
from registry.protocols import Storage
from registry.service import open_index, open_storage
from registry.sql.errors import DATABASE_ERRORS, STORE_ERRORS

_REST_SECONDS: Final = 30.0
"""How long the old store rests after who moves it was killed, besides ``state.GRACE``."""

_RENEWED: Final = 5.0
_LOOK_SECONDS: Final = 0.5
_SMALL_BYTES: Final = 64 << 20
_SMALL_SECONDS: Final = 5.0
_PASSES: Final = 8
"""Passes after which the rest is tried, however much is pushed meanwhile."""

_TRIES: Final = 5
_OFFICE: Final = "migration"


@dataclass(slots=True)
class Progress:
    """How far a move is; ``rows`` were read in this pass, sizes in bytes."""

    phase: str = "opening"
    passes: int = 0
    blobs: int = 0
    blobs_total: int = 0
    bytes: int = 0
    bytes_total: int = 0
    rows: int = 0
    rows_total: int = 0


@dataclass(slots=True)
class MoveReport:
    """What a move did; ``rested`` is how long writes were refused, in seconds."""

    to: str
    blobs: int = 0
    bytes: int = 0
    rows: int = 0
    passes: int = 0
    rested: float = 0.0
    checksums: dict[str, tuple[int, str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Options:
    """How to move: blobs at once, most bytes a second, longest rest in seconds."""

    jobs: int = 4
    rate: int | None = None
    rest: float = 60.0
    leave_damaged: bool = False


class _TooSlowError(Exception):
    """The store would have to rest for longer than was allowed."""


@dataclass(frozen=True, slots=True)
class Side:
    """A store as it is configured, opened for a move."""

    config: RegistryConfig
    storage: Storage
    index: SqlIndex

    @property
    def name(self) -> str:
        """Index and blobs, as people are told."""
        return (
            f"{self.index.where} with blobs in {self.storage.place or self.config.root / 'blobs'}"
        )

    def write(self, operation: Callable[[], None], *, durable: bool = False) -> None:
        """Write to the index."""
        self.index.write(NO_REPOSITORY, operation, durable=durable)

    def close(self) -> None:
        """Release the index."""
        self.index.close()


@contextmanager
def opened(config: RegistryConfig) -> Iterator[Side]:
    """A store, complete or not.

    Raises:
        RegistryStartError, IndexFormatError: it cannot be used. STORE_ERRORS: a disk or a database
        fails.
    """
    storage = open_storage(config)
    side = Side(config, storage, open_index(config, storage, mover=""))
    try:
        yield side
    finally:
        side.close()


@contextmanager
def alone(old: Side) -> Iterator[None]:
    """Be the only one who moves this store; raises MigrationError."""
    election = old.index.offices.stand_for(_OFFICE)
    try:
        if not election.holds():
            raise MigrationError("another move of this store is under way", where=old.index.where)
        yield
    finally:
        election.close()


class Migration:
    """One move, from ``old`` to ``new``; ``told`` hears how far it is. Blocks."""

    def __init__(
        self,
        old: Side,
        new: Side,
        options: Options,
        *,
        told: Callable[[Progress], object] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._old = old
        self._new = new
        self._options = options
        self._told = told
        self._clock = clock
        self._stays = same_place(old, new)
        self._pace = Pace(options.rate)
        self._progress = Progress()
        self._report = MoveReport(new.name)
        self._rows = Membership(old.index, new.index, content_stays=self._stays)
        self._token = ""

    def run(self) -> MoveReport:
        """Move.

        Raises:
            MigrationError: it cannot be moved like this; the old store serves as before.
            STORE_ERRORS, EnvironmentFault: a store fails; run it again.
        """
        move = self._begin()
        if move.phase is Phase.MOVED:
            self._open_new()
            return self._report
        for attempt in range(1, _TRIES + 1):
            self._catch_up()
            try:
                self._cut_over()
            except _TooSlowError as error:
                if attempt == _TRIES:
                    raise MigrationError(
                        f"the rest takes longer than {self._options.rest:g} s",
                        where=self._old.index.where,
                        fix="allow more with --rest, or try when less is pushed",
                    ) from error
            else:
                break
        return self._report

    # Before

    def _begin(self) -> Move:
        """Say in both indexes that this is under way, or find that it was before."""
        move = Move.of_fact(self._old.index.fact(MOVE))
        arriving = self._new.index.fact(ARRIVING)
        if move is not None and move.to != self._new.name:
            raise MigrationError(
                f"this store is moved to {move.to} already",
                where=self._old.index.where,
                fix="go on with that, or take it back with --abort",
            )
        if move is not None and move.phase is Phase.MOVED and arriving is None:
            raise MigrationError(f"this store was moved to {move.to}", where=self._old.index.where)
        if arriving is not None and (move is None or arriving["token"] != move.token):
            raise MigrationError(
                f"another move, from {arriving['source']}, fills it",
                where=self._new.index.where,
                fix="name another place, or remove what is there",
            )
        if arriving is None:
            self._require_empty()
        self._token = secrets.token_hex(16) if move is None else move.token
        self._old.index.mover = self._new.index.mover = self._token
        fact = {"token": self._token, "source": self._old.name}
        if move is None or move.phase is not Phase.MOVED:
            self._new.write(partial(self._new.index.set_fact, ARRIVING, fact), durable=True)
            move = Move(Phase.COPYING, self._token, self._new.name)
            self._reopen(move)
        return move

    def _require_empty(self) -> None:
        held_rows = "SELECT 1 FROM repositories LIMIT 1"
        if self._new.index.reader().execute(held_rows).fetchone() is not None:
            where = self._new.index.where
        elif not self._stays and not self._new.storage.is_empty():
            where = self._new.storage.place or str(self._new.config.root)
        else:
            return
        raise MigrationError(
            "there is something already", where=where, fix="name a place that is empty"
        )

    # While the old store takes writes

    def _catch_up(self) -> None:
        """Copy until little is left."""
        last = float("inf")
        for number in range(_PASSES):
            self._progress.passes += 1
            began, before = time.monotonic(), self._report.bytes
            self._copy_content()
            self._copy_changing_rows()
            spent = time.monotonic() - began
            if number and self._report.bytes - before <= _SMALL_BYTES and spent <= _SMALL_SECONDS:
                break
            if number and (self._report.bytes == before or spent > last):
                break  # nothing came, or more than was copied meanwhile
            last = spent
        self._report.passes = self._progress.passes

    def _copy_content(self, deadline: Callable[[], None] = lambda: None) -> Tally:
        tally = Tally()
        if self._stays:
            return tally
        progress = self._progress
        progress.phase = "blobs"
        progress.blobs_total, progress.bytes_total = totals(self._old.index)

        def tell(now: Tally) -> None:
            deadline()
            progress.blobs, progress.bytes = now.blobs, self._report.bytes + now.bytes
            self._told(progress)

        options = self._options
        transfer = Transfer(
            self._old.storage, self._new.storage, options.jobs, pace=self._pace, told=tell
        )
        transfer.run(needed(self._old.index), tally)
        self._report.blobs += tally.copied
        self._report.bytes += tally.bytes
        return tally

    def _copy_rows(
        self, deadline: Callable[[], None] = lambda: None, *, whole: bool = False
    ) -> None:
        progress = self._progress
        progress.phase, progress.rows, progress.rows_total = "rows", 0, self._rows.count()

        def tell(read: int) -> None:
            deadline()
            progress.rows += read
            self._told(progress)

        self._report.rows += self._rows.equalize(tell, whole=whole)

    def _copy_changing_rows(self) -> None:
        """Copy rows that others write meanwhile: two pages may not fit together, but later will."""
        for attempt in range(1, _TRIES + 1):
            try:
                return self._copy_rows()
            except DATABASE_ERRORS:
                if attempt == _TRIES:
                    raise
        raise AssertionError("unreachable")

    # While it rests

    def _cut_over(self) -> None:
        """Rest, copy the rest, compare, close the old store, open the new one."""
        # Bytes that a collection takes away would seem to be missing.
        with self._without_collections(), ExitStack() as stack:
            began = time.monotonic()
            limit = began + self._options.rest

            def deadline() -> None:
                if time.monotonic() > limit:
                    raise _TooSlowError

            rest = _Rest(self._old, self._token, self._new.name, clock=self._clock)
            stack.callback(self._reopen, Move(Phase.COPYING, self._token, self._new.name))
            stack.enter_context(rest)
            self._require_whole(self._copy_content(deadline))
            self._copy_rows(deadline, whole=True)
            self._progress.phase = "comparing"
            self._told(self._progress)
            self._report.checksums = self._rows.compare(deadline)
            copy_rooms(self._old.config, self._old.index, self._new.config)
            self._prepare_new()
            deadline()
            rest.close_for_good()
            stack.pop_all()
        self._report.rested = round(time.monotonic() - began, 3)
        self._open_new()

    @contextmanager
    def _without_collections(self) -> Iterator[None]:
        """Wait for a collection to end, and admit none."""
        election = self._old.index.offices.stand_for(OFFICE)
        try:
            while not election.holds():
                self._progress.phase = "waiting for a collection"
                self._told(self._progress)
                time.sleep(_LOOK_SECONDS)
            yield
        finally:
            election.close()

    def _require_whole(self, tally: Tally) -> None:
        self._report.missing = sorted(tally.missing)
        if tally.missing and not self._options.leave_damaged:
            raise MigrationError(
                f"{len(tally.missing)} blobs are missing or damaged here: {tally.missing[0]}",
                where=self._old.name,
                fix="mend them (lading registry check, scrub), or leave them with --leave-damaged",
            )

    def _prepare_new(self) -> None:
        """What a new index has that no row of the old one says."""
        index = self._new.index
        # Whatever a client was told lately is not in the leases of all rows: they begin anew.
        boot = {"id": "moved", "moment": int(self._clock())}
        self._new.write(partial(index.set_fact, BOOT, boot), durable=True)
        if isinstance(index.journal, Journal):
            connection = index.connect()
            try:
                rebase(index, connection, always=True)
            finally:
                index.disconnect(connection)

    def _open_new(self) -> None:
        self._new.write(partial(self._new.index.set_fact, ARRIVING, None), durable=True)

    def _reopen(self, move: Move) -> None:
        """Let the old store take writes; it may have rested, so leases begin anew."""
        reopen(self._old, move)


class _Rest:
    """The old store rests while the block runs, and as long as this process lives."""

    def __init__(self, old: Side, token: str, to: str, *, clock: Callable[[], float]) -> None:
        self._old = old
        self._token = token
        self._to = to
        self._clock = clock
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> None:
        self._rest()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Put the end of the rest off no more."""
        self._over.set()
        self._thread.join()

    def close_for_good(self) -> None:
        """The store is another's from now on, if it really rested until now.

        Raises:
            MigrationError: it did not; somebody may have written.
        """
        self._over.set()
        self._old.write(self._close, durable=True)

    def _close(self) -> None:
        found = self._old.index.writer.execute(_FIND, (MOVE,)).fetchone()
        move = Move.of_fact(None if found is None else _parsed(found[0]))
        resting = move is not None and move.phase is Phase.MOVING and move.token == self._token
        if move is None or not resting or self._clock() >= move.until:
            raise MigrationError(
                "the old store did not rest for as long as was needed",
                where=self._old.index.where,
                fix="run it again",
            )
        self._set(Phase.MOVED)

    def _rest(self) -> None:
        self._old.write(partial(self._set, Phase.MOVING), durable=True)

    def _keep(self) -> None:
        while not self._over.wait(_RENEWED):
            try:
                self._old.write(self._put_off)
            except (*STORE_ERRORS, ImagesError):
                # It ends by itself then, and that is found out before it is closed.
                return

    def _put_off(self) -> None:
        found = self._old.index.writer.execute(_FIND, (MOVE,)).fetchone()
        move = Move.of_fact(None if found is None else _parsed(found[0]))
        if move is None or move.token != self._token or move.phase is not Phase.MOVING:
            raise StoreMovingError("the store does not rest any more")
        if self._clock() < move.until:
            self._set(Phase.MOVING)

    def _set(self, phase: Phase) -> None:
        move = Move(phase, self._token, self._to, self._clock() + _REST_SECONDS)
        self._old.index.set_fact(MOVE, move.as_fact())


_FIND: Final = "SELECT value FROM facts WHERE name = ?"


def _parsed(text: str) -> Any:
    import orjson

    return orjson.loads(text)


def same_place(old: Side, new: Side) -> bool:
    """Whether the bytes stay where they are."""
    if old.storage.place is None or new.storage.place is None:
        return old.storage.place == new.storage.place and _same(old.config.root, new.config.root)
    return (
        old.storage.place == new.storage.place
        and old.config.storage.endpoint == new.config.storage.endpoint
    )


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def reopen(old: Side, move: Move | None) -> None:
    """Let the old store take writes, under this fact; leases begin anew."""

    def write() -> None:
        old.index.set_fact(MOVE, None if move is None else move.as_fact())
        old.index.set_fact(BOOT, {"id": "", "moment": int(time.time())})

    old.write(write, durable=True)


def abort(old: Side, new: Side | None) -> None:
    """Take a move back that is not complete.

    Raises:
        MigrationError: there is none, or the new store is open already.
    """
    move = Move.of_fact(old.index.fact(MOVE))
    if move is None:
        raise MigrationError("this store is not being moved", where=old.index.where)
    old.index.mover = move.token
    if move.phase is Phase.MOVED:
        if new is None:
            raise MigrationError(
                f"this store was moved to {move.to}",
                where=old.index.where,
                fix="name the new configuration with --to, to see whether it is open",
            )
        arriving = new.index.fact(ARRIVING)
        if new.name != move.to or arriving is None or arriving["token"] != move.token:
            raise MigrationError(
                f"this store was moved to {move.to}, which is open and may have been written to",
                where=old.index.where,
                fix="move it back: lading registry migrate with the configurations swapped",
            )
    reopen(old, None)
