"""What only the index knows (which repository has which manifest under which tags), a second time.

Everything else can be read from the blobs. Each change is one JSON line in ``journal/<n>.log``,
appended with the index's write lock held, just before the commit, so the order of lines is the
order of commits. Lines are not fsynced: the index is the truth, and ``rebuild-index`` reads these
when it is lost. ``<n>.base`` is the whole state at the moment log ``n`` began; older files go then.

A line is an array: ``["manifest", repository, digest, media type, moment]``,
``["unmanifest", repository, digest]``, ``["tag", repository, tag, digest, moment]``,
``["untag", repository, tag]``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson

FACT: Final = "journal"
"""The fact that holds the number of the log that is written."""

_FIRST: Final = 1


class Journal:
    """The journal of one registry root; ``say``, ``flush`` and ``begin`` need the write lock."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._lines: list[bytes] = []
        self._number = 0
        self._descriptor = -1

    def close(self) -> None:
        """Close the log."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    @property
    def pending(self) -> int:
        """How many lines the transaction under way has said."""
        return len(self._lines)

    def say(self, *entry: object) -> None:
        """Add a line to the transaction under way."""
        self._lines.append(orjson.dumps(entry))

    def forget(self, pending: int) -> None:
        """Drop the lines after the first ``pending`` ones."""
        del self._lines[pending:]

    def flush(self, fact: Callable[[str], Any]) -> None:
        """Append what was said; ``fact`` reads the index within its transaction.

        Raises:
            OSError: the disk is full; the log ends with a whole line all the same.
        """
        if not self._lines:
            return
        self._open(fact(FACT) or _FIRST)
        data = b"\n".join(self._lines) + b"\n"
        written = os.write(self._descriptor, data)
        if written < len(data):
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise OSError(errno.ENOSPC, "the journal is cut short")

    def size(self) -> int:
        """Bytes of all logs: what a new base would save."""
        return sum(path.stat().st_size for path in self._folder.glob("*.log"))

    def base_size(self) -> int:
        """Bytes of the latest base."""
        bases = sorted(self._folder.glob("*.base"))
        return bases[-1].stat().st_size if bases else 0

    def next_number(self, fact: Callable[[str], Any]) -> int:
        """The number of the log after the one that is written now."""
        return int(fact(FACT) or _FIRST) + 1

    def write_base(self, number: int, entries: Iterable[tuple[object, ...]]) -> None:
        """Write the state at the beginning of log ``number``; then remove what it replaces."""
        partial = self._folder / f"{number:08}.partial"
        with partial.open("wb") as file:
            file.writelines(orjson.dumps(entry) + b"\n" for entry in entries)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self._folder / f"{number:08}.base")
        for path in self._folder.iterdir():
            if path.suffix in (".base", ".log", ".partial") and int(path.stem) < number:
                with suppress(FileNotFoundError):
                    path.unlink()

    def _open(self, number: int) -> None:
        if number != self._number:
            self.close()
            path = log_path(self._folder, number)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o600)
            self._number = number


def log_path(folder: Path, number: int) -> Path:
    """Where log ``number`` is."""
    return folder / f"{number:08}.log"


def last_number(folder: Path) -> int:
    """The highest number of a log or base; 0 for an empty folder."""
    numbers = (int(path.stem) for path in folder.glob("*") if path.suffix in (".base", ".log"))
    return max(numbers, default=0)


def entries(folder: Path) -> Iterator[list[Any]]:
    """Every line in order, from the latest base on; a damaged line is passed over."""
    bases = sorted(folder.glob("*.base"))
    first = int(bases[-1].stem) if bases else 0
    logs = sorted(path for path in folder.glob("*.log") if int(path.stem) >= first)
    for path in (*bases[-1:], *logs):
        with path.open("rb") as file:
            for line in file:
                with suppress(orjson.JSONDecodeError):
                    entry = orjson.loads(line)
                    if isinstance(entry, list):
                        yield entry
