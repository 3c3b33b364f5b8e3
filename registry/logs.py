"""Log lines on stderr: text for people or one JSON object each, written by a thread of its own.

A request's line costs the event loop a put into a queue; formatting and the pipe are the thread's
matter. When nobody reads stderr the queue fills to its bound and further lines are dropped,
counted, and reported once there is room.
"""

from __future__ import annotations

import datetime
import json
import logging
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO

from registry.settings import LogFormat, LogSettings

_FIELDS: Final = ("request_id", "user", "client", "method", "path", "status", "seconds", "bytes")
"""What a record of a request carries beside its message."""

_QUEUED: Final = 20_000
_TOGETHER: Final = 256


class TextFormatter(logging.Formatter):
    """``moment LEVEL logger message request_id=... user=...``."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as lines; a traceback follows its message."""
        line = super().format(record)
        head, newline, rest = line.partition("\n")
        for name in ("request_id", "user"):
            value = getattr(record, name, "")
            if value:
                head += f" {name}={value}"
        return head + newline + rest


class JsonFormatter(logging.Formatter):
    """One JSON object, on one line whatever the message holds."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as JSON text."""
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        entry: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        for name in _FIELDS:
            value = getattr(record, name, None)
            if value is not None and value != "":
                entry[name] = value
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class LineHandler(logging.Handler):
    """Writes records to a stream: at once, or by a thread between ``start`` and ``stop``."""

    def __init__(self, stream: TextIO, *, limit: int = _QUEUED) -> None:
        super().__init__()
        self._stream = stream
        self._queue: queue.Queue[logging.LogRecord | None] = queue.Queue(limit)
        self._thread: threading.Thread | None = None
        self._dropped = 0

    def start(self, dropped: Callable[[int], object]) -> None:
        """Begin to write by a thread; ``dropped`` is told how many lines were lost."""
        self._thread = threading.Thread(
            target=self._run, args=(dropped,), name="registry-log", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Write what is queued, unless the stream is stuck, and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                self._queue.put(None, timeout=1)
            except queue.Full:
                return
            thread.join(timeout=1)

    def emit(self, record: logging.LogRecord) -> None:
        """Write or queue one record; never waits for the stream while a thread writes."""
        if self._thread is None:
            self._write([record])
            return
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._dropped += 1

    def _run(self, dropped: Callable[[int], object]) -> None:
        while True:
            records = [self._queue.get()]
            while records[-1] is not None and len(records) < _TOGETHER:
                try:
                    records.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            self._write([record for record in records if record is not None])
            if self._dropped:
                lost, self._dropped = self._dropped, 0
                dropped(lost)
            if records[-1] is None:
                return

    def _write(self, records: list[logging.LogRecord]) -> None:
        try:
            lines = [f"{self.format(record)}\n" for record in records]
            self._stream.write("".join(lines))
            self._stream.flush()
        except (OSError, ValueError):
            # Nobody reads our log any more; serving goes on.
            return


def configure(settings: LogSettings, stream: TextIO = sys.stderr) -> None:
    """Send what the registry logs to ``stream``, as the settings say."""
    handler = LineHandler(stream)
    if settings.format is LogFormat.JSON:
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, LineHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    adjust(settings)


def adjust(settings: LogSettings) -> None:
    """Apply levels; handlers stay as they are."""
    logging.getLogger().setLevel(settings.level.value.upper())
    access = logging.getLogger("registry.access")
    access.setLevel(logging.NOTSET if settings.access else logging.WARNING)


@contextmanager
def in_background(dropped: Callable[[int], object]) -> Iterator[None]:
    """While the block runs, the handlers that ``configure`` made write by a thread."""
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, LineHandler)]
    for handler in handlers:
        handler.start(dropped)
    try:
        yield
    finally:
        for handler in handlers:
            handler.stop()
