"""A cache in a directory: whole or as it was, swept, and safe between processes."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path

import pytest

from builder.errors import BuildEnvironmentError
from builder.remote.index import CacheFormatError, CacheIndex
from builder.solver.records import StoredLayer
from engine.builds.remote_cache.in_directory import DirectoryCache
from images.blobs import BlobStore
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import DigestMismatchError, ImagesError
from images.mediatype import OCI_LAYER_GZIP
from tests.builder.remote.kit import record


def content(name: str) -> tuple[bytes, StoredLayer]:
    """A blob and the layer it is said to be."""
    data = name.encode() * 100
    blob = Descriptor(OCI_LAYER_GZIP, Digest.of(data), len(data))
    return data, StoredLayer(Digest.of(b"diff" + data), blob)


def put(cache: DirectoryCache, *names: str, keep: CacheIndex | None = None) -> CacheIndex:
    """Send blobs and publish an index of them."""
    records = []
    for name in names:
        data, layer = content(name)
        cache.send(layer.descriptor, partial(io.BytesIO, data), near=None)
        records.append(record(name, layer))
    index = CacheIndex((*records, *(keep.records if keep is not None else ())))
    cache.publish(lambda _: index)
    return index


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "blobs/sha256").iterdir()}


def test_what_was_published_is_read(tmp_path: Path) -> None:
    cache = DirectoryCache(tmp_path, "latest")
    index = put(cache, "a", "b")
    assert DirectoryCache(tmp_path, "latest").read() == index
    layout = json.loads((tmp_path / "oci-layout").read_text())
    assert layout["imageLayoutVersion"] == "1.0.0"


def test_blobs_that_nothing_names_any_more_go(tmp_path: Path) -> None:
    cache = DirectoryCache(tmp_path, "latest")
    put(cache, "a")
    put(DirectoryCache(tmp_path, "other"), "b")
    put(cache, "c")
    _, layer = content("a")
    assert layer.descriptor.digest.hex not in names(tmp_path)
    assert {content(name)[1].descriptor.digest.hex for name in "bc"} < names(tmp_path)


def test_nobody_sweeps_what_another_one_has_just_sent(tmp_path: Path) -> None:
    slow, quick = DirectoryCache(tmp_path, "slow"), DirectoryCache(tmp_path, "quick")
    data, layer = content("slow")
    slow.send(layer.descriptor, lambda: io.BytesIO(data), near=None)
    put(quick, "quick")
    assert layer.descriptor.digest.hex in names(tmp_path)
    slow.publish(lambda _: CacheIndex((record("slow", layer),)))
    assert layer.descriptor.digest.hex in names(tmp_path)


def test_what_a_killed_process_left_goes_with_the_next(tmp_path: Path) -> None:
    cache = DirectoryCache(tmp_path, "latest")
    put(cache, "a")
    (tmp_path / "blobs/sha256" / ".1234-stage").write_bytes(b"half")
    put(cache, "b")
    assert not any(name.startswith(".") for name in names(tmp_path))


def test_records_without_their_blobs_are_not_kept(tmp_path: Path) -> None:
    cache = DirectoryCache(tmp_path, "latest")
    put(cache, "a", "b")
    (tmp_path / "blobs/sha256" / content("a")[1].descriptor.digest.hex).unlink()
    seen: list[CacheIndex] = []

    def change(old: CacheIndex) -> CacheIndex:
        seen.append(old)
        return old

    cache.publish(change)
    assert [it.description for it in seen[0].records] == ["RUN b"]


def test_damage_is_told(tmp_path: Path) -> None:
    cache = DirectoryCache(tmp_path, "latest")
    with pytest.raises(CacheFormatError, match="no cache under the tag latest"):
        cache.read()
    put(cache, "a")
    data, layer = content("a")
    (tmp_path / "blobs/sha256" / layer.descriptor.digest.hex).write_bytes(b"x" * len(data))
    blobs = BlobStore(tmp_path / "store")
    with pytest.raises(DigestMismatchError):
        cache.fetch(layer.descriptor, blobs)
    with pytest.raises(CacheFormatError, match="has no blob"):
        cache.fetch(content("b")[1].descriptor, blobs)
    for file in (tmp_path / "blobs/sha256").iterdir():
        file.write_bytes(b"{}")
    with pytest.raises(CacheFormatError, match="is damaged"):
        cache.read()
    (tmp_path / "index.json").write_text("[]")
    with pytest.raises(ImagesError):
        cache.read()


def test_a_link_in_place_of_a_blob_is_not_followed(tmp_path: Path) -> None:
    cache = DirectoryCache(tmp_path / "cache", "latest")
    put(cache, "a")
    data, layer = content("a")
    (tmp_path / "elsewhere").write_bytes(data)
    blob = tmp_path / "cache/blobs/sha256" / layer.descriptor.digest.hex
    blob.unlink()
    blob.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheFormatError, match="has no blob"):
        cache.fetch(layer.descriptor, BlobStore(tmp_path / "store"))


def test_a_place_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BuildEnvironmentError, match="cannot write the cache"):
        put(DirectoryCache(tmp_path / "file", "latest"), "a")
