"""Netlink messages: encode, send in batches, and turn the kernel's acknowledgements into errors.

netlink(7). Encoding is pure; ``NetlinkSocket`` is the only thing here that talks to the kernel.
Extended acknowledgements are always on, so an error carries the kernel's own sentence.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Self

from records import Record
from runtime.network.errors import NetlinkError

NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_ROOT = 0x100
NLM_F_MATCH = 0x200
NLM_F_DUMP = NLM_F_ROOT | NLM_F_MATCH
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_ACK_CAPPED = 0x100
_ACK_TLVS = 0x200
_EXT_ACK_MESSAGE = 1
_SO_SNDBUFFORCE = 32
_SEND_BYTES = 1 << 16
_RECEIVE_BYTES = 1 << 17
_RECEIVE_TIMEOUT = struct.pack("@ll", 10, 0)
"""The kernel answers in microseconds; a lost answer must not hang a container's start for ever."""


class Message(Record):
    """One request: its type, flags beside NLM_F_REQUEST, body after the header, and a name for
    errors.
    """

    kind: int
    flags: int
    body: bytes
    name: str


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def nested(kind: int, *children: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(children))


def text(kind: int, value: str) -> bytes:
    """A NUL-terminated string attribute."""
    return attribute(kind, value.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    """A 32-bit attribute in host byte order (rtnetlink's)."""
    return attribute(kind, struct.pack("=I", value))


def be32(kind: int, value: int) -> bytes:
    """A 32-bit attribute in network byte order (nfnetlink's)."""
    return attribute(kind, struct.pack(">I", value))


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split a run of attributes into (type without flag bits, payload); a malformed tail ends
    it.
    """
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & NLA_TYPE_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def encode(message: Message, sequence: int) -> bytes:
    """The message as it goes over the socket."""
    length = _HEADER.size + len(message.body)
    flags = message.flags | NLM_F_REQUEST
    return (
        _HEADER.pack(length, message.kind, flags, sequence, 0) + message.body + bytes(-length % 4)
    )


def decode(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Split received bytes into (type, flags, sequence, body)."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, flags, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def acknowledgement(flags: int, body: bytes) -> tuple[int, str]:
    """The positive errno (0: success) and the kernel's sentence in an NLMSG_ERROR body."""
    (code,) = struct.unpack_from("=i", body)
    sentence = ""
    if flags & _ACK_TLVS:
        (length,) = struct.unpack_from("=I", body, 4)
        offset = 4 + (_HEADER.size if flags & _ACK_CAPPED else (length + 3) & ~3)
        for kind, payload in attributes(body[offset:]):
            if kind == _EXT_ACK_MESSAGE:
                sentence = payload.rstrip(b"\0").decode(errors="replace")
    return -code, sentence


class NetlinkSocket:
    """One netlink socket in the network namespace the caller is in when it is opened."""

    def __init__(self, protocol: int) -> None:
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
            )
        except OSError as error:
            raise NetlinkError.from_ack(error.errno or errno.EIO, "", "netlink socket") from error
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _RECEIVE_TIMEOUT)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def execute(self, messages: Sequence[Message]) -> None:
        """Send requests in one write and wait for one acknowledgement of each.

        The kernel goes on after a refused request; the first refusal is raised when all have
        answered.

        Raises:
            NetlinkError: a request was refused; ``where`` is its name.
        """
        names = {}
        packet = bytearray()
        for message in messages:
            self._sequence += 1
            names[self._sequence] = message.name
            acked = Message(message.kind, message.flags | NLM_F_ACK, message.body, message.name)
            packet += encode(acked, self._sequence)
        self._send(packet)
        _raise_first(self.acknowledgements(names))

    def transact(self, opening: Message, messages: Sequence[Message], closing: Message) -> None:
        """Send an nfnetlink batch: all of ``messages`` happen or none does.

        Only the inner messages are acknowledged; a refusal of the batch itself names ``opening``.

        Raises:
            NetlinkError: the first refusal.
        """
        packet = bytearray()
        names = {}
        first = self._sequence + 1
        for message in (opening, *messages, closing):
            self._sequence += 1
            inner = message is not opening and message is not closing
            if inner:
                names[self._sequence] = message.name
            flags = message.flags | (NLM_F_ACK if inner else 0)
            packet += encode(
                Message(message.kind, flags, message.body, message.name), self._sequence
            )
        self._send(packet)
        _raise_first(self.acknowledgements(names, whole=(first, opening.name)))

    def acknowledgements(
        self, names: dict[int, str], whole: tuple[int, str] | None = None
    ) -> list[NetlinkError]:
        """Collect the answers to the requests of these sequence numbers; returns the refusals in
        order.

        ``whole`` is the sequence number and name of a batch that may be refused as such.
        """
        waiting = set(names)
        refused: list[tuple[int, NetlinkError]] = []
        while waiting:
            for kind, flags, sequence, body in decode(self._receive()):
                if kind != _NLMSG_ERROR:
                    continue
                number, sentence = acknowledgement(flags, body)
                if whole is not None and sequence == whole[0] and number:
                    return [NetlinkError.from_ack(number, sentence, whole[1])]
                if sequence in waiting:
                    waiting.discard(sequence)
                    if number:
                        error = NetlinkError.from_ack(number, sentence, names[sequence])
                        refused.append((sequence, error))
        return [error for _, error in sorted(refused, key=lambda pair: pair[0])]

    def query(self, message: Message) -> list[tuple[int, bytes]]:
        """Ask and return the answers as (type, body): several for a dump, one or none otherwise.

        Raises:
            NetlinkError: the kernel refused, for example because the object does not exist (ENOENT,
            ENODEV).
        """
        self._sequence += 1
        wanted = self._sequence
        dump = message.flags & NLM_F_DUMP == NLM_F_DUMP
        sent = (
            message
            if dump
            else Message(message.kind, message.flags | NLM_F_ACK, message.body, message.name)
        )
        self._send(encode(sent, wanted))
        answers: list[tuple[int, bytes]] = []
        while True:
            for kind, flags, sequence, body in decode(self._receive()):
                if sequence != wanted:
                    continue
                if kind == _NLMSG_DONE:
                    return answers
                if kind == _NLMSG_ERROR:
                    number, sentence = acknowledgement(flags, body)
                    if number:
                        raise NetlinkError.from_ack(number, sentence, message.name)
                    return answers
                answers.append((kind, body))

    def _send(self, packet: bytes | bytearray) -> None:
        if len(packet) > _SEND_BYTES:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 2 * len(packet))
        try:
            self._socket.send(packet)
        except OSError as error:
            raise NetlinkError.from_ack(error.errno or errno.EIO, "", "netlink request") from error

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_RECEIVE_BYTES)
        except OSError as error:
            number = errno.ETIMEDOUT if error.errno == errno.EAGAIN else error.errno or errno.EIO
            raise NetlinkError.from_ack(number, "", "netlink answer") from error


def _raise_first(refused: Sequence[NetlinkError]) -> None:
    if refused:
        raise refused[0]
