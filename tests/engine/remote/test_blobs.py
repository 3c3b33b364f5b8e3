"""Blobs over a channel: only what is lacked, only what was offered, and verified."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from engine.remote.blobs import send_blobs, take_blobs
from engine.remote.channel import Channel
from engine.remote.errors import ChannelError
from images.digest import Digest
from images.errors import DigestMismatchError
from images.store import ImageStore


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    with ExitStack() as stack:
        made = []
        for end in socket.socketpair():
            end.settimeout(60)
            stack.enter_context(end)
            reader = stack.enter_context(end.makefile("rb", buffering=0))
            made.append(
                Channel(reader, stack.enter_context(end.makefile("wb")), peer="the other end")
            )
        yield made[0], made[1]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[ImageStore, ImageStore]]:
    one, two = ImageStore.open(tmp_path / "one"), ImageStore.open(tmp_path / "two")
    yield one, two
    one.close()
    two.close()


def test_what_is_lacked_is_brought(
    ends: tuple[Channel, Channel], stores: tuple[ImageStore, ImageStore]
) -> None:
    has, lacks = stores
    offered = [has.blobs.put(text) for text in (b"one", b"two", b"three")]
    lacks.blobs.put(b"two")
    names = [str(digest) for digest in offered]
    taker = threading.Thread(target=take_blobs, args=(offered, ends[1], lacks))
    taker.start()
    wanted = ends[0].receive("want")["blobs"]
    send_blobs(wanted, offered, ends[0], has)
    taker.join(60)
    assert wanted == [names[0], names[2]]
    assert [lacks.blobs.read(digest) for digest in offered] == [b"one", b"two", b"three"]


def test_only_what_was_offered_is_sent(
    ends: tuple[Channel, Channel], stores: tuple[ImageStore, ImageStore]
) -> None:
    store = stores[0]
    offered, other = store.blobs.put(b"offered"), store.blobs.put(b"other")
    for wish in ([offered, other], [offered, offered]):
        with pytest.raises(ChannelError, match="not offered"):
            send_blobs([str(digest) for digest in wish], [offered], ends[0], store)


def test_other_bytes_are_refused(
    ends: tuple[Channel, Channel], stores: tuple[ImageStore, ImageStore]
) -> None:
    digest = Digest.of(b"asked for")
    ends[0].send_stream([b"something else"])
    with pytest.raises(DigestMismatchError):
        take_blobs([digest], ends[1], stores[0])
    assert not stores[0].blobs.has(digest)
