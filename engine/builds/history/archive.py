"""Reading, finding and removing the records of builds.

One build is up to three files whose names begin alike, with its start in milliseconds and its
reference, so a sorted listing is in the order of time. A record that cannot be read is passed over:
history is for people, and never in the way.
"""

from __future__ import annotations

import json
import os
import re
import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from builder.errors import BuildInputError
from engine.builds.history.document import FORMAT, INTERRUPTED, RUNNING, fold
from engine.builds.history.journal import LOG_SUFFIX, SUFFIX, in_use, read_log, read_rows
from engine.builds.history.recorder import FOLDER
from records import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from engine.builds.history.document import Document

RECORD_SUFFIX: Final = ".json"
ATTACHED_SUFFIX: Final = ".attached.gz"
"""Documents of a build that was imported; those of one that was done here are in the store."""
ATTACHED: Final = ("type", "digest", "platform", "text")
"""What is kept of each: its media type or predicate type, all as text."""
DEFAULT_SPACE: Final = 200 << 20
"""Bytes that all records together may take; the oldest go first."""
STALE_SECONDS: Final = 3600.0
"""Half-written files older than this belong to nobody."""
_NAME = re.compile(r"(\d{13,})-([0-9a-z]{25})(\.json|\.journal|\.log\.gz|\.attached\.gz)\Z")
_BACK = re.compile(r"\^(\d+)\Z")


class BuildUnknownError(BuildInputError):
    """No record, or several, for what was asked."""

    code = "build-unknown"


class LogLine(Record):
    """Text that a step wrote, whole lines mostly; ``time`` in seconds since the epoch."""

    step: int
    time: float
    stream: int
    text: str


class Entry(Record):
    """One build's files: their common path, and what can be told without opening them."""

    stem: str
    ref: str
    started_ms: int
    suffixes: frozenset[str]

    @property
    def journaled(self) -> bool:
        """Whether there is no record yet, but the journal of a build that runs or was killed."""
        return RECORD_SUFFIX not in self.suffixes

    def document(self) -> Document | None:
        """What was written down; None when it cannot be read."""
        try:
            return self._from_journal() if self.journaled else self._from_record()
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _from_record(self) -> Document | None:
        with open(self.stem + RECORD_SUFFIX, "rb") as file:
            document: Document = json.load(file)
        return document if document["format"] == FORMAT else None

    def _from_journal(self) -> Document | None:
        path = self.stem + SUFFIX
        lives = in_use(path)
        rows = read_rows(path)
        document: Document = next(rows)[1]
        if document["format"] != FORMAT:
            return None
        for kind, value in rows:
            if kind != "log":
                fold(document, kind, value)
        if not lives:
            _interrupt(document, os.stat(path).st_mtime)
        return document

    def log(self) -> Iterator[LogLine]:
        """What the steps wrote, in the order of time."""
        for step, moment, stream, text in self._log_rows():
            yield LogLine(step, moment, stream, text)

    def _log_rows(self) -> Iterator[list[Any]]:
        if self.journaled:
            with suppress(OSError):
                yield from (value for kind, value in read_rows(self.stem + SUFFIX) if kind == "log")
            return
        if LOG_SUFFIX in self.suffixes:
            with suppress(OSError, ValueError, zlib.error):
                yield from read_log(self.stem + LOG_SUFFIX)

    def attached(self) -> list[dict[str, str]]:
        """Documents that came with an imported record, with the fields of ``ATTACHED``."""
        if ATTACHED_SUFFIX not in self.suffixes:
            return []
        with suppress(OSError, ValueError, TypeError, zlib.error):
            return [dict(row) for row in read_log(self.stem + ATTACHED_SUFFIX)]
        return []

    def size(self) -> int:
        """Bytes on disk."""
        total = 0
        for suffix in self.suffixes:
            with suppress(FileNotFoundError):
                total += os.stat(self.stem + suffix).st_size
        return total

    def remove(self) -> bool:
        """Forget the build; False when it runs."""
        if self.journaled:
            with suppress(FileNotFoundError):
                if in_use(self.stem + SUFFIX):
                    return False
        for suffix in self.suffixes:
            with suppress(FileNotFoundError):
                os.unlink(self.stem + suffix)
        return True


def entries(root: str) -> list[Entry]:
    """The builds below a store's directory, latest first."""
    return _entries(folder_of(root))


def find(root: str, ref: str) -> Entry:
    """A build by reference, by an unambiguous beginning of one, or ``^N``: the Nth before the last.

    Raises:
        BuildUnknownError: none, or several.
    """
    known = entries(root)
    back = _BACK.match(ref)
    if back:
        number = int(back[1])
        if number < len(known):
            return known[number]
        raise BuildUnknownError(
            f"there are only {len(known)} builds on record", where=ref, fix="see them: ls"
        )
    found = [entry for entry in known if ref and entry.ref.startswith(ref)]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(entry.ref[: len(ref) + 6] for entry in found[:5])
        raise BuildUnknownError(
            f"{len(found)} builds begin with {ref}", where=ref, fix=f"write more of it: {listed}"
        )
    raise BuildUnknownError(
        "no such build", where=ref or "build", fix="see `lading history builds ls`"
    )


def document_log(root: str, ref: str) -> list[LogLine]:
    """What the steps of a build wrote; empty where there is no record of it."""
    return [line for entry in entries(root) if entry.ref == ref for line in entry.log()]


def prune(
    folder: str,
    *,
    builds: int,
    space: int = DEFAULT_SPACE,
    before: float | None = None,
    now: float | None = None,
) -> tuple[int, int]:
    """Remove the oldest records until ``builds`` and ``space`` bytes remain; what runs stays.

    ``before`` (seconds since the epoch) removes everything older as well. Returns how many went,
    and their bytes.
    """
    removed = freed = kept = used = 0
    for entry in _entries(folder):
        size = entry.size()
        too_old = before is not None and entry.started_ms < before * 1000
        if (kept >= builds or used + size > space or too_old) and entry.remove():
            removed, freed = removed + 1, freed + size
        else:
            kept, used = kept + 1, used + size
    _sweep(folder, time.time() if now is None else now)
    return removed, freed


def folder_of(root: str) -> str:
    """Where the records of a store are."""
    return os.path.join(root, FOLDER)


def _entries(folder: str) -> list[Entry]:
    found: dict[str, tuple[int, str, set[str]]] = {}
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            match = _NAME.match(name)
            if match:
                stem = os.path.join(folder, name.removesuffix(match[3]))
                found.setdefault(stem, (int(match[1]), match[2], set()))[2].add(match[3])
    listed = [
        Entry(stem, ref, started, frozenset(suffixes))
        for stem, (started, ref, suffixes) in found.items()
        if not suffixes.isdisjoint((RECORD_SUFFIX, SUFFIX))
    ]
    return sorted(listed, key=lambda entry: (entry.started_ms, entry.ref), reverse=True)


def _interrupt(document: Document, when: float) -> None:
    document.update(status=INTERRUPTED, ended=when)
    for step in document["steps"].values():
        if step.get("outcome") == RUNNING:
            step.update(outcome=INTERRUPTED, ended=when)


def _sweep(folder: str, now: float) -> None:
    """Take away what writers that were killed have left."""
    with suppress(OSError), os.scandir(folder) as found:
        for file in found:
            half = file.name.endswith(".new")
            beside = [it for it in (LOG_SUFFIX, ATTACHED_SUFFIX) if file.name.endswith(it)]
            alone = beside and not any(
                os.path.exists(file.path.removesuffix(beside[0]) + suffix)
                for suffix in (RECORD_SUFFIX, SUFFIX)
            )
            if (half or alone) and now - file.stat().st_mtime > STALE_SECONDS:
                os.unlink(file.path)
