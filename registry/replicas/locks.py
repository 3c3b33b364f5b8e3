"""Locks that end with the process that holds them, kept by PostgreSQL for all replicas.

They are session-level advisory locks on a connection that does nothing else (PostgreSQL manual,
"Advisory Locks"). The server frees them as soon as it knows that the connection is gone: at once
when a process is killed, after ``_SILENCE`` seconds when its machine or the network is. A holder
learns of it when it asks the next time. A lock's number is a hash of the registry's schema and the
lock's name, so registries in one database do not meet.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psycopg

from registry.election import Election

log = logging.getLogger("registry")

Connect = Callable[[], "psycopg.Connection[tuple[object, ...]]"]
"""Opens a connection in autocommit mode, and gives up in seconds."""

_SILENCE: Final = (5, 5, 2)
"""Idle seconds before the server asks a client, seconds between questions, questions in vain."""

_PRESENCE: Final = "presence"


class Locks:
    """The locks of one process. ``scope`` names the registry. Methods block."""

    def __init__(self, connect: Connect, scope: str) -> None:
        self._connect = connect
        self._scope = scope
        self._lock = threading.RLock()
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._held: set[str] = set()
        self._name = ""
        self._era = 0
        self._told = False

    def take(self, name: str) -> int:
        """Take a lock that nobody has, neither here nor elsewhere.

        Returns the era it is held in, 0 when somebody has it or the server cannot be asked.
        """
        with self._lock:
            if name in self._held or not self._alive():
                return 0
            if not self._ask("SELECT pg_try_advisory_lock(%s)", lock_number(self._scope, name)):
                return 0
            self._held.add(name)
            return self._era

    def holds(self, name: str, era: int) -> bool:
        """Whether a lock is held since ``take`` returned ``era``, without a gap."""
        with self._lock:
            return self._alive() and era == self._era and name in self._held

    def give_back(self, name: str, era: int) -> None:
        """Let others have a lock; harmless when it is lost already."""
        with self._lock:
            if era == self._era and name in self._held:
                self._held.discard(name)
                self._ask("SELECT pg_advisory_unlock(%s)", lock_number(self._scope, name))

    def presence(self) -> str:
        """The name of this process: its lock is held for as long as it is there.

        After a lost connection there is another name.
        """
        with self._lock:
            if self._connection is None and not self._alive():
                return ""
            return self._name

    def is_gone(self, presence: str) -> bool | None:
        """Whether the process of that name has ended, or lost its connection."""
        with self._lock:
            if not presence or not self._alive():
                return None
            if presence == self._name:
                return False
            # A lock of this one statement, which many may have at once and the holder prevents.
            sql = "SELECT pg_try_advisory_xact_lock_shared(%s)"
            gone = self._ask(sql, lock_number(self._scope, presence))
            return None if self._connection is None else gone

    def close(self) -> None:
        """Give everything back."""
        with self._lock:
            self._drop()

    def _alive(self) -> bool:
        """Whether the connection stands; made, or made anew, where it does not."""
        if self._ask("SELECT true"):
            return True
        try:
            self._open()
        except psycopg.Error as error:
            if not self._told:
                log.warning("no connection for locks: %s", error)
            self._told = True
            self._drop()
            return False
        self._told = False
        return True

    def _open(self) -> None:
        connection = self._connection = self._connect()
        idle, interval, count = _SILENCE
        connection.execute(f"SET tcp_keepalives_idle = {idle}")
        connection.execute(f"SET tcp_keepalives_interval = {interval}")
        connection.execute(f"SET tcp_keepalives_count = {count}")
        self._era += 1
        self._name = f"{_PRESENCE}:{secrets.token_hex(8)}"
        self._ask("SELECT pg_try_advisory_lock(%s)", lock_number(self._scope, self._name))

    def _ask(self, sql: str, *parameters: object) -> bool:
        """Ask one thing; a connection that does not answer is given up, and its locks with it."""
        connection = self._connection
        if connection is None:
            return False
        try:
            row = connection.execute(sql.encode(), parameters).fetchone()
        except psycopg.Error as error:
            log.warning("the connection that held locks was lost: %s", error)
            self._drop()
            return False
        return row is not None and bool(row[0])

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._held.clear()
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()


class LockOffices:
    """The offices of a registry with replicas (``registry.election.Offices``)."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks

    def stand_for(self, name: str) -> Election:
        """See ``Offices``."""
        return _LockElection(self._locks, f"office:{name}")

    def presence(self) -> str:
        """See ``Offices``; "" while the server cannot be reached."""
        return self._locks.presence()

    def is_gone(self, presence: str) -> bool | None:
        """See ``Offices``."""
        return self._locks.is_gone(presence)


class _LockElection:
    """One office, by one candidate of this process."""

    def __init__(self, locks: Locks, name: str) -> None:
        self._locks = locks
        self._name = name
        self._era = 0

    def holds(self) -> bool:
        """See ``Election``."""
        if self._era:
            if not self._locks.holds(self._name, self._era):
                self._era = 0
            return bool(self._era)
        self._era = self._locks.take(self._name)
        return bool(self._era)

    def close(self) -> None:
        """See ``Election``."""
        era, self._era = self._era, 0
        if era:
            self._locks.give_back(self._name, era)


def lock_number(scope: str, name: str) -> int:
    """The number of an advisory lock, 64 bits with a sign."""
    hashed = hashlib.sha256(f"lading registry\0{scope}\0{name}".encode()).digest()
    return int.from_bytes(hashed[:8], signed=True)
