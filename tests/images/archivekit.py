"""Archives by hand, good and bad, for the tests of loading them."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable

import zstandard

from images.config import ImageConfig
from images.digest import Digest
from images.reference import Reference
from tests.images.clientkit import AMD64, SmallStore

REF = Reference.parse("team/app:1")


def tar_of(*members: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    """An archive of plain files, or of headers as they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def member(name: str, kind: bytes, linkname: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


def layer_tar(name: str = "hello", size: int = 100) -> bytes:
    return tar_of((name, os.urandom(size)))


def docker_parts(*layers: bytes, tags: list[str] | None = None) -> dict[str, bytes]:
    """The members of a ``docker save`` archive of before version 25."""
    config = ImageConfig.build(AMD64, [Digest.of(layer) for layer in layers]).raw
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    paths = [f"{index}/layer.tar" for index in range(len(layers))]
    item = {"Config": name, "RepoTags": tags, "Layers": paths}
    parts = {name: config, **dict(zip(paths, layers, strict=True))}
    return {**parts, "manifest.json": json.dumps([item]).encode()}


def docker_tar(*layers: bytes, tags: list[str] | None = None) -> bytes:
    return tar_of(*docker_parts(*layers, tags=tags).items())


def untouched(store: SmallStore) -> bool:
    return store.images == [] and store.tagged == {} and store.everything() == set()


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "two gzip members": lambda d: gzip.compress(d[:5000]) + gzip.compress(d[5000:]),
    "two bzip2 streams": lambda d: bz2.compress(d[:5000]) + bz2.compress(d[5000:]),
    "padded xz": lambda d: lzma.compress(d) + bytes(512),
}
