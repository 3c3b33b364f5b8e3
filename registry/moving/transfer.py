"""Blobs from one storage to another: several at once, hashed on their way, none twice.

A blob that the target has under its size is left alone, since nothing gets a name there before it
was verified. So a transfer that was killed goes on where it ended. Memory holds a few pieces for
each blob under way and nothing that grows with the store.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, Final, Protocol

from images.digest import Digest
from images.errors import BlobUnknownError, DigestMismatchError, InternalError, SizeLimitError
from registry.errors import ObjectStoreError

PIECE: Final = 1 << 20
_SMALL: Final = 256 << 10
"""Bytes up to which a blob is stored together with others."""

_TOGETHER: Final = 32

DAMAGE: Final = (BlobUnknownError, DigestMismatchError, InternalError, SizeLimitError)
_ATTEMPTS: Final = 3
_PAGE: Final = 500
_TELL_SECONDS: Final = 0.5


class Giver(Protocol):
    """Where content comes from."""

    def open(self, digest: Digest) -> BinaryIO:
        """Open for reading; raises ``BlobUnknownError``."""
        ...


class Taker(Protocol):
    """Where content goes to."""

    def recorded(self, digests: Sequence[Digest]) -> Mapping[Digest, int]:
        """The sizes of those that it has, as far as that is known without a request."""
        ...

    def put_all(self, blobs: Mapping[Digest, bytes]) -> None:
        """Store small blobs whose bytes hash to their digests, durably."""
        ...

    def take(self, pieces: Iterable[bytes], digest: Digest, size: int) -> None:
        """Store content, durably; raises DigestMismatchError, SizeLimitError."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A blob to bring; ``size`` in bytes."""

    digest: Digest
    size: int


@dataclass(slots=True)
class Tally:
    """What a transfer did so far: blobs seen, those that were copied, their bytes, and faults."""

    blobs: int = 0
    copied: int = 0
    bytes: int = 0
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of a batch."""

    copied: int
    bytes: int
    missing: list[str]


class Pace:
    """Holds threads back so that together they pass ``rate`` bytes a second; None holds nobody."""

    def __init__(
        self,
        rate: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free = clock()

    def passed(self, count: int) -> None:
        """Wait until ``count`` bytes more may have passed."""
        if self._rate is None:
            return
        with self._lock:
            now = self._clock()
            self._free = max(self._free, now) + count / self._rate
            pause = self._free - now
        self._sleep(pause)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Copies blobs from ``giver`` to ``taker``; ``told`` hears the figures after each blob."""

    giver: Giver
    taker: Taker
    jobs: int = 4
    pace: Pace = field(default_factory=lambda: Pace(None))
    told: Callable[[Tally], object] = lambda _: None
    _stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, wanted: Iterable[Wanted], tally: Tally | None = None) -> Tally:
        """Copy what the taker has not; blocks. What is damaged or gone is named and left out.

        Raises:
            OSError, EnvironmentFault: a disk or a store fails; what was copied stays.
        """
        tally = Tally() if tally is None else tally
        with ThreadPoolExecutor(self.jobs) as pool:
            under_way: set[Future[_Done]] = set()
            try:
                for items in _batches(self._lacking(wanted, tally)):
                    if len(under_way) >= 2 * self.jobs:
                        under_way = self._settle(under_way, tally)
                    under_way.add(pool.submit(self._copy, items))
                while under_way:
                    under_way = self._settle(under_way, tally)
            except BaseException:
                self._stopped.set()
                raise
            finally:
                for future in under_way:
                    future.cancel()
        return tally

    def _lacking(self, wanted: Iterable[Wanted], tally: Tally) -> Iterator[Wanted]:
        every = iter(wanted)
        while page := list(islice(every, _PAGE)):
            there = self.taker.recorded([item.digest for item in page])
            for item in page:
                if there.get(item.digest) != item.size:
                    yield item
                else:
                    tally.blobs += 1
            self.told(tally)

    def _settle(self, under_way: set[Future[_Done]], tally: Tally) -> set[Future[_Done]]:
        while not (settled := wait(under_way, _TELL_SECONDS, FIRST_COMPLETED)).done:
            self.told(tally)
        for future in settled.done:
            done = future.result()
            tally.blobs += done.copied + len(done.missing)
            tally.copied += done.copied
            tally.bytes += done.bytes
            tally.missing += done.missing
        self.told(tally)
        return settled.not_done

    def _copy(self, items: Sequence[Wanted]) -> _Done:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._copy_large(items[0]) if len(items) == 1 else self._copy_small(items)
            except ObjectStoreError:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _copy_large(self, item: Wanted) -> _Done:
        try:
            with self.giver.open(item.digest) as file:
                self.taker.take(self._pieces(file), item.digest, item.size)
        except DAMAGE as error:
            return _Done(0, 0, [f"{item.digest}: {error.what}"])
        return _Done(1, item.size, [])

    def _copy_small(self, items: Sequence[Wanted]) -> _Done:
        missing: list[str] = []
        blobs: dict[Digest, bytes] = {}
        for item in items:
            if self._stopped.is_set():
                raise CancelledError
            try:
                blobs[item.digest] = self._read(item)
            except DAMAGE as error:
                missing.append(f"{item.digest}: {error.what}")
        self.taker.put_all(blobs)
        return _Done(len(blobs), sum(map(len, blobs.values())), missing)

    def _read(self, item: Wanted) -> bytes:
        """A small blob, verified; raises one of ``DAMAGE``."""
        with self.giver.open(item.digest) as file:
            data = file.read(item.size + 1)
        self.pace.passed(len(data))
        if Digest.of(data, item.digest.algorithm) != item.digest:
            raise DigestMismatchError("content hashes to something else", where=str(item.digest))
        return data

    def _pieces(self, file: BinaryIO) -> Iterator[bytes]:
        while piece := file.read(PIECE):
            if self._stopped.is_set():
                raise CancelledError
            self.pace.passed(len(piece))
            yield piece


def _batches(items: Iterable[Wanted]) -> Iterator[list[Wanted]]:
    """Small ones together, each of the others alone."""
    small: list[Wanted] = []
    for item in items:
        if item.size > _SMALL:
            yield [item]
            continue
        small.append(item)
        if len(small) == _TOGETHER:
            yield small
            small = []
    if small:
        yield small
