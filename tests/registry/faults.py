"""Faults at the n-th disk call of a server: it is killed there, or the call fails.

``install`` wraps what Python code calls of os, and the index's COMMIT; ``arm`` begins to count.
Each call is two points, before and after it. A fault is written ``kill:7``, ``ENOSPC:3`` or
``EIO:3``; errors happen only before a call, and a write that fails has written a part first.
"""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITES = ("pwritev", "pwrite", "write")
CALLS = (*WRITES, "fsync", "rename", "link", "unlink", "ftruncate", "utime")
COUNT_FILE = "points"
"""Beside the root: how many points were passed, as text."""


class _Plan:
    """What is to happen at which point."""

    def __init__(self, fault: str, root: Path) -> None:
        kind, _, number = fault.partition(":")
        self.kind = kind
        self.number = int(number)
        self.armed = False
        self.passed = 0
        self._log = os.open(root.with_suffix("." + COUNT_FILE), os.O_WRONLY | os.O_CREAT, 0o644)
        self._pwrite = os.pwrite

    def point(self) -> bool:
        """Count one; whether the fault is due now."""
        if not self.armed:
            return False
        self.passed += 1
        self._pwrite(self._log, str(self.passed).encode(), 0)
        return self.passed == self.number

    def kill_when_due(self) -> None:
        """A point where only a kill can happen."""
        if self.kind == "kill" and self.point():
            os.killpg(0, signal.SIGKILL)

    def fails(self) -> bool:
        """A point where a call may fail."""
        if self.kind == "kill":
            self.kill_when_due()
            return False
        return self.point()


_plans: list[_Plan] = []


def install(fault: str, root: Path) -> None:
    """Wrap the calls of this process and of those it forks."""
    plan = _Plan(fault, root)
    _plans.append(plan)
    for name in CALLS:
        setattr(os, name, _wrapped(plan, name, getattr(os, name)))
    connect = sqlite3.connect

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql != "COMMIT":
                return super().execute(sql, *parameters)
            if plan.fails():
                error = sqlite3.OperationalError("database or disk is full")
                full = plan.kind == "ENOSPC"
                error.sqlite_errorcode = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR
                raise error
            done = super().execute(sql, *parameters)
            plan.kill_when_due()
            return done

    def connect_faulty(*args: Any, **more: Any) -> sqlite3.Connection:
        return connect(*args, **more, factory=Connection)

    sqlite3.connect = connect_faulty  # type: ignore[assignment]


def arm() -> None:
    """Begin to count."""
    _plans[0].armed = True


def _wrapped(plan: _Plan, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **more: Any) -> Any:
        if plan.fails():
            if name in WRITES:
                _write_a_part(call, name, args)
            number = getattr(errno, plan.kind)
            raise OSError(number, os.strerror(number))
        done = call(*args, **more)
        plan.kill_when_due()
        return done

    return wrapped


def _write_a_part(call: Callable[..., Any], name: str, args: tuple[Any, ...]) -> None:
    descriptor, data, *rest = args
    whole = b"".join(data) if name == "pwritev" else bytes(data)
    half = whole[: len(whole) // 2]
    call(descriptor, [half] if name == "pwritev" else half, *rest)
