"""Messages and streams over a pair of sockets, and what may come instead of them."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.progress.events import VertexOutput, VertexStarted
from builder.request import BuildRequest, Change
from builder.runner import Resources, Ulimit
from builder.secrets import Secret
from engine.remote.channel import FRAME_LIMIT, Channel
from engine.remote.errors import ChannelError
from engine.remote.values import TYPES, decode, encode, hints_of
from images.platform import Platform
from images.reference import Reference


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """A channel, and the raw other end."""
    near, far = socket.socketpair()
    far.settimeout(60)
    with near, far, near.makefile("rb", buffering=0) as reader, near.makefile("wb") as writer:
        yield Channel(reader, writer, peer="the peer"), far


def frame(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">Ic", len(body), kind) + body


def test_what_is_sent_arrives(ends: tuple[Channel, socket.socket]) -> None:
    channel, far = ends
    with far.makefile("rb", buffering=0) as reader, far.makefile("wb") as writer:
        other = Channel(reader, writer, peer="near")
        other.send("news", number=1)
        other.send_stream([b"ab", b"", b"c" * 3])
        assert channel.receive("news") == {"kind": "news", "number": 1}
        assert b"".join(channel.receive_stream()) == b"abccc"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "ended"),
        (frame(b"m", b"{}")[:3], "ended"),
        (frame(b"m", b'{"kind": "other"}'), "sent 'other', not news"),
        (frame(b"m", b"{}"), "no message"),
        (frame(b"m", b"["), "no JSON"),
        (frame(b"d", b"x"), "no message"),
        (struct.pack(">Ic", FRAME_LIMIT + 1, b"m"), "a frame of"),
        (b"Welcome to this machine!\n", "a frame of"),
    ],
)
def test_what_is_no_message(ends: tuple[Channel, socket.socket], data: bytes, says: str) -> None:
    channel, far = ends
    far.sendall(data)
    far.shutdown(socket.SHUT_WR)
    with pytest.raises(ChannelError, match=says):
        channel.receive("news")


def test_a_peer_that_is_gone_is_told(ends: tuple[Channel, socket.socket]) -> None:
    channel, far = ends
    far.close()
    with pytest.raises(ChannelError, match="the peer: the connection ended"):
        channel.send_stream([bytes(1 << 20)] * 9)


VALUES = [
    BuildRequest(
        context="context",
        dockerfile=b"FROM a\n",
        tags=(Reference.parse("a:b"),),
        build_args={"a": "\u20ac"},
        platform=Platform.parse("linux/arm64"),
        secrets=(Secret("s", b"\0\xff"),),
        resources=Resources(ulimits=(Ulimit("nofile", 1, 2),)),
    ),
    VertexStarted(1, "RUN x", 2.5, changes=(Change("file", "a"),)),
    VertexOutput(1, 2, b"\xff\x00", 0.0),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_travel(value: object) -> None:
    assert decode(json.loads(json.dumps(encode(value))), type(value)) == value


def test_types_that_do_not_travel() -> None:
    with pytest.raises(TypeError, match="Path does not travel"):
        encode(type("Path", (), {})())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_is_read_is_a_value_or_refused(value: Any) -> None:
    with suppress(ChannelError):
        decode(value, object)


@pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
def test_every_field_has_a_type_that_is_known(kind: type) -> None:
    """A type that a new field has must be one that travels, or no build does."""
    assert hints_of(kind)
