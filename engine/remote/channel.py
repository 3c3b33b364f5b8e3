"""A two-way channel of messages and streams over any pair of byte streams: ssh's, or TLS.

A frame is its length as four bytes, big-endian, one byte of kind, and that many bytes: ``m``, a
message (a JSON object), ``d``, a piece of a stream, ``e``, the end of a stream (empty). A stream
follows the message that announces it. Messages may be sent by several threads, streams by one.
"""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterable, Iterator
from io import RawIOBase
from typing import Any, BinaryIO, Final

from engine.remote.errors import ChannelError, PeerGoneError
from engine.remote.message import Message

FRAME_LIMIT: Final = 64 << 20
"""Bytes of one frame: the list of files of the largest context is one."""
PIECE: Final = 1 << 20
"""Bytes of a piece of a stream."""

_HEAD: Final = struct.Struct(">Ic")
_MESSAGE, _DATA, _END = b"m", b"d", b"e"


class Channel:
    """One end. Closing the streams is for who opened them."""

    def __init__(self, reader: RawIOBase, writer: BinaryIO, *, peer: str) -> None:
        """``peer`` is where errors say that they are from.

        ``reader`` has no buffer: a thread that waits in one keeps a process from ending.
        """
        self._reader = reader
        self._writer = writer
        self._peer = peer
        self._lock = threading.Lock()

    def send(self, kind: str, **fields: Any) -> None:
        """Send one message.

        Raises:
            PeerGoneError: the other end is gone.
        """
        self._write(_MESSAGE, json.dumps({"kind": kind, **fields}).encode())

    def send_stream(self, pieces: Iterable[bytes]) -> None:
        """Send a stream; raises as ``send``."""
        for piece in pieces:
            for start in range(0, len(piece), PIECE):
                self._write(_DATA, piece[start : start + PIECE])
        self._write(_END, b"")

    def receive(self, *expected: str) -> Message:
        """The next message, of a kind that is ``expected``, or of any where none is named.

        Raises:
            PeerGoneError: the other end is gone.
            ChannelError: it says what makes no sense here.
        """
        kind, body = self._read()
        try:
            message = json.loads(body) if kind == _MESSAGE else None
        except (ValueError, RecursionError) as error:
            raise ChannelError("the other end sent no JSON", where=self._peer) from error
        if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
            raise ChannelError("the other end sent no message", where=self._peer)
        if expected and message["kind"] not in expected:
            raise ChannelError(
                f"the other end sent {message['kind'][:40]!r}, not {' or '.join(expected)}",
                where=self._peer,
                fix="use the same release of lading on both sides",
            )
        return Message(message)

    def receive_stream(self) -> Iterator[bytes]:
        """The pieces of a stream, to be taken to its end; raises as ``receive``."""
        while True:
            kind, body = self._read()
            if kind == _END and not body:
                return
            if kind != _DATA:
                raise ChannelError("the other end broke off a stream", where=self._peer)
            yield body

    def _write(self, kind: bytes, body: bytes) -> None:
        try:
            with self._lock:
                self._writer.write(_HEAD.pack(len(body), kind) + body)
                self._writer.flush()
        except (OSError, ValueError) as error:
            raise self._gone() from error

    def _read(self) -> tuple[bytes, bytes]:
        size, kind = _HEAD.unpack(self._exactly(_HEAD.size))
        if size > FRAME_LIMIT:
            raise ChannelError(
                f"the other end sent a frame of {size} bytes",
                where=self._peer,
                fix="see that lading answers there, and that nothing else writes to its output",
            )
        return kind, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        pieces, left = [], size
        while left:
            try:
                piece = self._reader.read(left)
            except (OSError, ValueError) as error:
                raise self._gone() from error
            if not piece:
                raise self._gone()
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _gone(self) -> PeerGoneError:
        return PeerGoneError(
            "the connection ended",
            where=self._peer,
            fix="see that lading is installed there and that the machine is reachable",
        )
