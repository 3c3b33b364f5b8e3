"""The audit log: one JSON object a line, one write(2) a line, appended by a thread of its own.

The event loop only puts an event on a queue. Processes share the file: O_APPEND keeps lines whole.
A full queue drops events and says afterwards how many, since a slow disk must not stop the
registry; a rotated file is let go of by ``reopen``.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from registry.errors import RegistryStartError

log = logging.getLogger("registry.audit")

_WAITING: Final = 65536
"""Most events on their way to the disk."""


class AuditLog:
    """One file of events; ``write`` may be called from anywhere and never waits."""

    def __init__(
        self, path: Path, *, clock: Callable[[], float] = time.time, limit: int = _WAITING
    ) -> None:
        """Open the file, made with mode 0600.

        Raises:
            RegistryStartError: it cannot be opened for appending.
        """
        self._path = path
        self._clock = clock
        self._queue: queue.Queue[Mapping[str, Any] | None] = queue.Queue(limit)
        self._reopen = threading.Event()
        self._lost = 0
        self._failing = False
        try:
            self._descriptor = self._open()
        except OSError as error:
            raise RegistryStartError(
                f"cannot open the audit log: {error.strerror}",
                where=str(path),
                fix="its folder has to be there and writable to this user",
            ) from error
        self._thread = threading.Thread(target=self._run, name="registry-audit", daemon=True)
        self._thread.start()

    def write(self, event: Mapping[str, Any]) -> None:
        """Have ``event`` written with the time of now; values are JSON."""
        try:
            self._queue.put_nowait({"time": _rfc3339(self._clock()), **event})
        except queue.Full:
            self._lost += 1

    def reopen(self) -> None:
        """Open the path again before the next event: after a rotation."""
        self._reopen.set()

    def close(self) -> None:
        """Write what waits, then close; blocks."""
        self._queue.put(None)
        self._thread.join()
        os.close(self._descriptor)

    def _run(self) -> None:
        while (event := self._queue.get()) is not None:
            try:
                self._append(event)
                self._failing = False
            except OSError as error:
                self._lost += 1
                if not self._failing:
                    log.error("cannot write to the audit log %s: %s", self._path, error)  # noqa: TRY400 -- once, without a trace
                self._failing = True

    def _append(self, event: Mapping[str, Any]) -> None:
        if self._reopen.is_set():
            self._reopen.clear()
            descriptor = self._open()
            os.close(self._descriptor)
            self._descriptor = descriptor
        if self._lost:
            lost, self._lost = self._lost, 0
            try:
                self._line({"time": event["time"], "event": "lost", "count": lost})
            except OSError:
                self._lost += lost
                raise
        self._line(event)

    def _line(self, event: Mapping[str, Any]) -> None:
        line = json.dumps(event, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"
        written = os.write(self._descriptor, line)
        if written < len(line):
            # The disk is full: what follows must not continue this line.
            os.write(self._descriptor, b"\n")

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self._path, flags, 0o600)


def _rfc3339(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
