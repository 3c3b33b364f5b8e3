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
_SMALL: Final = 1 << 20
"""Bytes up to which a blob is stored in one step."""

_DAMAGE: Final = (BlobUnknownError, DigestMismatchError, InternalError, SizeLimitError)
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

    def put(self, data: bytes, digest: Digest) -> None:
        """Store bytes that hash to ``digest``, durably."""
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
            under_way: set[Future[int]] = set()
            names: dict[Future[int], Digest] = {}
            try:
                for item in self._lacking(wanted, tally):
                    if len(under_way) >= 2 * self.jobs:
                        under_way = self._settle(under_way, names, tally)
                    future = pool.submit(self._copy, item)
                    under_way.add(future)
                    names[future] = item.digest
                while under_way:
                    under_way = self._settle(under_way, names, tally)
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

    def _settle(
        self, under_way: set[Future[int]], names: dict[Future[int], Digest], tally: Tally
    ) -> set[Future[int]]:
        while not (settled := wait(under_way, _TELL_SECONDS, FIRST_COMPLETED)).done:
            self.told(tally)
        for future in settled.done:
            digest = names.pop(future)
            tally.blobs += 1
            try:
                tally.bytes += future.result()
                tally.copied += 1
            except _DAMAGE as error:
                tally.missing.append(f"{digest}: {error.what}")
        self.told(tally)
        return settled.not_done

    def _copy(self, item: Wanted) -> int:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._copy_once(item)
            except ObjectStoreError:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _copy_once(self, item: Wanted) -> int:
        if self._stopped.is_set():
            raise CancelledError
        with self.giver.open(item.digest) as file:
            if item.size <= _SMALL:
                data = file.read(item.size + 1)
                self.pace.passed(len(data))
                self.taker.put(data, item.digest)
            else:
                self.taker.take(self._pieces(file), item.digest, item.size)
        return item.size

    def _pieces(self, file: BinaryIO) -> Iterator[bytes]:
        while piece := file.read(PIECE):
            if self._stopped.is_set():
                raise CancelledError
            self.pace.passed(len(piece))
            yield piece
