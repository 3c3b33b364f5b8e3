from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from images.arriving import Arrival
from images.blobs import BlobStore
from images.digest import Digest
from images.errors import BlobUnknownError, DigestMismatchError
from images.layers.pack import PackedLayer, pack_layer
from images.snapshots import Snapshots
from tests.images.layers.archives import directory, file

DATA = b"first half, second half"


@contextmanager
def in_thread(reader: BinaryIO) -> Iterator[list[bytes | Exception]]:
    """What somebody gets who reads to the end, meanwhile."""
    found: list[bytes | Exception] = []

    def read() -> None:
        try:
            found.append(reader.read())
        except BlobUnknownError as error:
            found.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    yield found
    thread.join(60)
    assert not thread.is_alive()
    reader.close()


def test_what_is_there_can_be_read_before_the_rest_and_the_end_is_the_commit(
    tmp_path: Path,
) -> None:
    arrival, digest = Arrival(tmp_path), Digest.of(DATA)
    with arrival.writer(expected=digest, size=len(DATA)) as writer:
        writer.write(DATA[:10])
        early = arrival.follow()
        assert early is not None
        assert early.readable()
        assert (early.read(4), early.read(100)) == (DATA[:4], DATA[4:10])
        assert not arrival.has(digest)
        with in_thread(early) as found:
            writer.write(DATA[10:])
            assert not found
            assert writer.commit() == digest
    assert found == [DATA[10:]]
    assert arrival.has(digest)
    assert arrival.follow() is None


@pytest.mark.parametrize("lies", [True, False])
def test_what_is_not_kept_has_no_end(tmp_path: Path, *, lies: bool) -> None:
    arrival = Arrival(tmp_path)
    with arrival.writer(expected=Digest.of(DATA)) as writer:
        writer.write(b"lie" if lies else DATA[:3])
        early = arrival.follow()
        assert early is not None
        with in_thread(early) as found:
            if lies:
                with pytest.raises(DigestMismatchError):
                    writer.commit()
            else:
                writer.discard()
    assert isinstance(found[0], BlobUnknownError)
    assert list(arrival.stages()) == []


def test_nobody_waits_for_what_never_begins(tmp_path: Path) -> None:
    arrival = Arrival(tmp_path)
    found: list[BinaryIO | None] = []
    thread = threading.Thread(target=lambda: found.append(arrival.follow()))
    thread.start()
    arrival.finish()
    thread.join(60)
    assert found == [None]


class Offered(BlobStore):
    """A store that has something early."""

    def __init__(self, root: Path, early: BinaryIO) -> None:
        super().__init__(root)
        self.early = early

    def open_early(self, digest: Digest) -> BinaryIO | None:
        return self.early


class Breaking(io.BytesIO):
    """Ends with a failure."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            raise BlobUnknownError("it broke off")
        return data


def packed(blobs: BlobStore, content: bytes) -> PackedLayer:
    return pack_layer([directory("etc"), file("etc/x", content)], blobs)


@pytest.mark.parametrize("early", ["right", "broken", "other", "garbage"])
def test_a_layer_is_what_its_diff_id_says_whatever_came_early(tmp_path: Path, early: str) -> None:
    blobs = BlobStore(tmp_path)
    layer, other = packed(blobs, b"right"), packed(blobs, b"wrong and longer")
    right = blobs.read(layer.descriptor.digest)
    come: dict[str, BinaryIO] = {
        "right": io.BytesIO(right),
        "broken": Breaking(right[:-10]),
        "other": io.BytesIO(blobs.read(other.descriptor.digest)),
        "garbage": io.BytesIO(b"\x1f\x8bgarbage"),
    }
    store = Offered(tmp_path, come[early])
    (path,) = Snapshots(tmp_path).ensure([(layer.diff_id, layer.descriptor)], store)
    assert (path / "etc/x").read_bytes() == b"right"
    assert [entry.name for entry in path.rglob("*")] == ["etc", "x"]
    assert store.early.closed


def test_what_came_early_and_is_wrong_in_the_store_too_is_refused(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    layer = packed(blobs, b"right")
    store = Offered(tmp_path, io.BytesIO(b"garbage"))
    with pytest.raises(DigestMismatchError):
        Snapshots(tmp_path).ensure([(Digest.of(b"other"), layer.descriptor)], store)
    assert list((tmp_path / "snapshots/.staging").iterdir()) == []
