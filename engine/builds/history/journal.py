"""The journal of a build that runs: patches line by line, and what its steps wrote.

The file is locked (flock(2)) as long as the process lives; one that is there and not locked belongs
to a build that was killed. Of each step's output the beginning and the end are kept. When the build
is over the output is compressed into a file of its own and the journal goes.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builder.progress.events import VertexOutput
    from engine.builds.history.document import Document, Mask

SUFFIX: Final = ".journal"
LOG_SUFFIX: Final = ".log.gz"
HEAD_LIMIT: Final = 1 << 20
"""Bytes of a step's output that are kept from its beginning; BuildKit clips at 2 MiB."""
TAIL_LIMIT: Final = 64 << 10
"""Bytes that are kept from its end, where the beginning is full."""
BUILD_LIMIT: Final = 16 << 20
"""Bytes of a build's output that are kept as beginnings; then there are ends alone."""
GZIP: Final = 31
"""zlib's number for a window of 32 KiB in a gzip frame."""
LINE_LIMIT: Final = 64 << 10
"""Bytes that are taken for a line although none has ended."""


class _Output:
    """What one step writes: whole lines go on, the rest waits for its end."""

    def __init__(self) -> None:
        self.partial = b""
        self.kept = 0
        self.dropped = 0
        self.tail: list[tuple[float, int, bytes]] = []
        self.tail_bytes = 0

    def lines(self, data: bytes) -> bytes:
        """Everything up to the last line's end."""
        head, newline, rest = (self.partial + data).rpartition(b"\n")
        if len(rest) > LINE_LIMIT:
            head, newline, rest = head + newline + rest, b"", b""
        self.partial = rest
        return head + newline

    def keep_tail(self, time: float, stream: int, data: bytes) -> None:
        """Remember the end of what there is no room for."""
        data = data[-TAIL_LIMIT:]
        self.tail.append((time, stream, data))
        self.tail_bytes += len(data)
        while self.tail_bytes - len(self.tail[0][2]) >= TAIL_LIMIT:
            self.tail_bytes -= len(self.tail.pop(0)[2])


class Journal:
    """Written by one build; ``stem`` is the path without what tells the files apart."""

    def __init__(self, stem: str, document: Document, mask: Mask) -> None:
        """Raises OSError when it cannot be made."""
        self._stem = stem
        self._mask = mask
        self._outputs: dict[int, _Output] = {}
        self._kept = 0
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(f"{stem}{SUFFIX}", flags, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.patch("document", document)

    def patch(self, kind: str, value: Any) -> None:
        """Write a patch."""
        line = json.dumps([kind, value], separators=(",", ":"))
        os.write(self._file, line.encode() + b"\n")
        if kind == "step" and value.get("ended") is not None:
            self._end(value["number"], value["ended"])

    def output(self, event: VertexOutput) -> None:
        """Write what a step said, as far as there is room for it."""
        output = self._outputs.setdefault(event.vertex, _Output())
        lines = output.lines(event.data)
        if lines:
            self._keep(event.vertex, output, event.time, event.stream, lines)

    def close_log(self) -> dict[str, int]:
        """Compress what was written; returns its bytes, and those that were left out."""
        for vertex in list(self._outputs):
            self._end(vertex, 0.0)
        dropped = sum(output.dropped for output in self._outputs.values())
        written = 0
        if self._outputs:
            rows = list[Any]()
            # `builder prune --all` may have taken the journal away.
            with suppress(FileNotFoundError):
                patches = read_rows(f"{self._stem}{SUFFIX}")
                rows = [value for kind, value in patches if kind == "log"]
            written = sum(len(text) for *_, text in rows)
            write_log(f"{self._stem}{LOG_SUFFIX}", rows)
        return {"bytes": written, "dropped": dropped}

    def discard(self) -> None:
        """The record is written, so the journal may go."""
        with suppress(FileNotFoundError):
            os.unlink(f"{self._stem}{SUFFIX}")
        os.close(self._file)

    def _keep(self, vertex: int, output: _Output, time: float, stream: int, lines: bytes) -> None:
        room = min(HEAD_LIMIT - output.kept, BUILD_LIMIT - self._kept)
        if output.dropped or len(lines) > room:
            output.dropped += len(lines)
            output.keep_tail(time, stream, lines)
            return
        output.kept += len(lines)
        self._kept += len(lines)
        self._write(vertex, time, stream, lines)

    def _write(self, vertex: int, time: float, stream: int, data: bytes) -> None:
        text = self._mask(data.decode("utf-8", "replace"))
        self.patch("log", [vertex, round(time, 3), stream, text])

    def _end(self, vertex: int, time: float) -> None:
        """Write what the step left behind: an unfinished line, the end of a long output."""
        output = self._outputs.get(vertex)
        if output is None:
            return
        rest, output.partial = output.partial, b""
        if rest:
            self._keep(vertex, output, time or _last(output), 1, rest)
        tail, output.tail = output.tail, []
        if tail:
            shown = sum(len(data) for _, _, data in tail)
            if output.dropped > shown:
                note = f"[{output.dropped - shown} bytes are left out here]\n"
                self._write(vertex, tail[0][0], 2, note.encode())
            output.dropped -= shown
            for moment, stream, data in tail:
                self._write(vertex, moment, stream, data)


def write_log(path: str, rows: Sequence[Sequence[Any]]) -> None:
    """Write rows of step, time, stream and text, compressed, in one step."""
    import zlib

    lines = "".join(f"{json.dumps(row, separators=(',', ':'))}\n" for row in rows)
    stage = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(stage, flags, 0o600), "wb") as file:
        file.write(zlib.compress(lines.encode(), 1, wbits=GZIP))
    os.rename(stage, path)


def read_log(path: str) -> Iterator[list[Any]]:
    """What ``write_log`` wrote.

    Raises:
        OSError: it cannot be read.
        zlib.error: it is damaged.
    """
    import zlib

    with open(path, "rb") as file:
        lines = zlib.decompress(file.read(), wbits=GZIP)
    yield from map(json.loads, lines.splitlines())


def _last(output: _Output) -> float:
    return output.tail[-1][0] if output.tail else 0.0


def read_rows(path: str) -> Iterator[tuple[str, Any]]:
    """The patches of a journal; a last line that was cut off by a kill is passed over.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        for line in file:
            try:
                kind, value = json.loads(line)
            except ValueError:
                continue
            yield kind, value


def in_use(path: str) -> bool:
    """Whether the process that writes a journal lives.

    Raises:
        FileNotFoundError: the build has ended meanwhile.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
