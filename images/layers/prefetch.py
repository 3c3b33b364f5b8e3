"""Reading ahead in a thread, so that decompression and hashing overlap with parsing and writing."""

from __future__ import annotations

import threading
from queue import Queue
from typing import TYPE_CHECKING, Final, Protocol, Self

if TYPE_CHECKING:
    from types import TracebackType

_DEPTH: Final = 8
_PIECE: Final = 1 << 20


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes | memoryview: ...


class Prefetch:
    """The same bytes as ``stream``, fetched up to 8 MiB ahead by a thread.

    Use it in a ``with`` block, and let nobody else touch ``stream`` inside. Errors of ``stream``
    come out of ``read`` where the bytes would have.
    """

    def __init__(self, stream: _Readable) -> None:
        self._stream = stream
        self._queue: Queue[memoryview | BaseException] = Queue(_DEPTH)
        self._pending = memoryview(b"")
        self._done = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)

    def read(self, size: int) -> memoryview:
        """At most ``size`` bytes; empty only at the end."""
        if not self._pending and not self._done:
            item = self._queue.get()
            if isinstance(item, BaseException):
                self._done = True
                raise item
            self._pending = item
            self._done = not item
        piece, self._pending = self._pending[:size], self._pending[size:]
        return piece

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                piece = memoryview(self._stream.read(_PIECE))
                self._queue.put(piece)
                if not piece:
                    return
        except BaseException as error:  # noqa: BLE001  (handed to the reader, whose error it is)
            self._queue.put(error)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        while self._thread.is_alive():
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(0.005)
