"""Blobs over a channel: the end that lacks some says so, and gets them in the order it named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from engine.remote.channel import PIECE
from engine.remote.errors import ChannelError

if TYPE_CHECKING:
    from engine.remote.channel import Channel
    from images.digest import Digest
    from images.store import ImageStore


def take_blobs(offered: Iterable[Digest], channel: Channel, store: ImageStore) -> None:
    """Bring in what the store lacks of what the other end has, each verified as it comes.

    The caller holds a lease.

    Raises:
        ChannelError: the other end is gone.
        DigestMismatchError: it sent something else.
    """
    missing = [digest for digest in dict.fromkeys(offered) if not store.blobs.has(digest)]
    channel.send("want", blobs=[str(digest) for digest in missing])
    for digest in missing:
        with store.blobs.writer(expected=digest) as writer:
            for piece in channel.receive_stream():
                writer.write(piece)
            writer.commit()


def send_blobs(
    wanted: Iterable[str], offered: Iterable[Digest], channel: Channel, store: ImageStore
) -> None:
    """Send what the other end lacks.

    Raises:
        ChannelError: it is gone, or asks for what it was not offered.
    """
    known = {str(digest): digest for digest in offered}
    asked = list(wanted)
    if len(set(asked)) < len(asked) or not known.keys() >= set(asked):
        raise ChannelError("the other end asks for what it was not offered")
    for digest in (known[text] for text in asked):
        channel.send_stream(_pieces(digest, store))


def _pieces(digest: Digest, store: ImageStore) -> Iterator[bytes]:
    with store.blobs.open(digest) as file:
        while piece := file.read(PIECE):
            yield piece
