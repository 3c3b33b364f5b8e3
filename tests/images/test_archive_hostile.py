"""Archives that attack, exceed or contradict themselves leave nothing behind."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from images.archive import load
from images.archive_input import HEADER, IN_MEMORY
from images.config import ImageConfig
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import (
    DigestMismatchError,
    ImagesError,
    InvalidArchiveError,
    InvalidManifestError,
    InvalidReferenceError,
    SizeLimitError,
)
from images.manifest import Manifest
from images.mediatype import OCI_LAYER
from images.reference import Reference
from tests.images.archivekit import (
    COMPRESSIONS,
    REF,
    docker_parts,
    docker_tar,
    layer_tar,
    member,
    tar_of,
    untouched,
)
from tests.images.clientkit import AMD64, ARM64, SmallStore, index_of, sample


@pytest.fixture
def store(tmp_path: Path) -> SmallStore:
    return SmallStore.at(tmp_path / "store")


# -- hostile archives


def header_bomb() -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, HEADER + 1
    return info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)


def sparse() -> bytes:
    info = tarfile.TarInfo("x")
    info.type = tarfile.GNUTYPE_SPARSE
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def negative(pax: bool) -> bytes:
    info = tarfile.TarInfo("x")
    if pax:
        info.pax_headers = {"size": "-5"}
        return info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)
    info.size = -5
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def pax_sparse() -> bytes:
    info = tarfile.TarInfo("x")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    return info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (tar_of(("../escape", b"x")), InvalidArchiveError, "out of the archive"),
        (tar_of(("/etc/passwd", b"x")), InvalidArchiveError, "out of the archive"),
        (tar_of(("a/../../b", b"x")), InvalidArchiveError, "out of the archive"),
        (tar_of(member("l", tarfile.SYMTYPE, "/etc/passwd")), InvalidArchiveError, "link leads"),
        (tar_of(member("a/l", tarfile.SYMTYPE, "../../x")), InvalidArchiveError, "link leads"),
        (tar_of(member("l", tarfile.LNKTYPE, "/etc/shadow")), InvalidArchiveError, "link leads"),
        (tar_of(member("l", tarfile.LNKTYPE, "../x")), InvalidArchiveError, "link leads"),
        (tar_of(member("d", tarfile.CHRTYPE)), InvalidArchiveError, "only files"),
        (tar_of(member("d", tarfile.BLKTYPE)), InvalidArchiveError, "only files"),
        (tar_of(member("p", tarfile.FIFOTYPE)), InvalidArchiveError, "only files"),
        (tar_of(("x", b"1"), ("./x", b"2")), InvalidArchiveError, "two members"),
        (
            tar_of(("x", b"1"), member("x", tarfile.SYMTYPE, "y")),
            InvalidArchiveError,
            "two members",
        ),
        (header_bomb(), SizeLimitError, "header of"),
        (sparse(), InvalidArchiveError, "sparse"),
        (pax_sparse(), InvalidArchiveError, "sparse"),
        (negative(pax=False), InvalidArchiveError, "size is negative"),
        (negative(pax=True), InvalidArchiveError, "negative|readable tar"),
        (gzip.compress(bytes(100 << 20)), InvalidArchiveError, "neither"),
    ],
)
def test_hostile_archives(
    data: bytes, error: type[ImagesError], words: str, store: SmallStore
) -> None:
    with pytest.raises(error, match=words):
        load(io.BytesIO(data), store)
    assert untouched(store)


def test_links_in_a_circle(store: SmallStore) -> None:
    data = tar_of(
        member("manifest.json", tarfile.SYMTYPE, "b"), member("b", tarfile.SYMTYPE, "manifest.json")
    )
    with pytest.raises(InvalidArchiveError):
        load(io.BytesIO(data), store)


def test_a_layout_blob_that_is_a_link_to_a_recompressed_file(store: SmallStore) -> None:
    layer = layer_tar(size=IN_MEMORY * 2)
    config = ImageConfig.build(AMD64, [Digest.of(layer)])
    layers = [Descriptor(OCI_LAYER, Digest.of(layer), len(layer))]
    document = Manifest.build(config.descriptor(), layers)
    index = json.dumps({"schemaVersion": 2, "manifests": [document.descriptor.to_json()]})
    data = tar_of(
        ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        ("index.json", index.encode()),
        (f"blobs/sha256/{document.digest.hex}", document.raw),
        (f"blobs/sha256/{config.digest.hex}", config.raw),
        ("elsewhere.tar", layer),
        member(f"blobs/sha256/{Digest.of(layer).hex}", tarfile.SYMTYPE, "../../elsewhere.tar"),
    )
    with pytest.raises(InvalidArchiveError, match="must be a file"):
        load(io.BytesIO(data), store)
    assert store.images == []


# -- bounds


def test_more_large_layers_than_may_be_open_at_once(
    store: SmallStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("images.archive_input.OPEN_STAGES", 2)
    layers = [layer_tar(size=IN_MEMORY + n) for n in range(5)]
    (loaded,) = load(io.BytesIO(docker_tar(*layers, tags=["team/app:1"])), store)
    document = Manifest.parse(store.blobs.read(loaded.descriptor.digest))
    assert [
        gzip.decompress(store.blobs.path(layer.digest).read_bytes()) for layer in document.layers
    ] == layers


def test_small_members_beyond_the_memory_budget_are_staged(
    store: SmallStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("images.archive_input.MEMORY", 100)
    load(io.BytesIO(docker_tar(layer_tar(), tags=["team/app:1"])), store)
    assert set(store.tagged) == {REF}


def test_too_many_members(store: SmallStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("images.archive_input.MEMBERS", 3)
    with pytest.raises(SizeLimitError, match="more than 3 members"):
        load(io.BytesIO(docker_tar(layer_tar(), layer_tar())), store)
    assert untouched(store)


def test_a_manifest_beyond_its_limit_is_not_parsed(store: SmallStore) -> None:
    data = tar_of(("manifest.json", b" " * ((4 << 20) + 1)))
    with pytest.raises(SizeLimitError, match="over the limit"):
        load(io.BytesIO(data), store)
    assert untouched(store)


def test_a_large_member_cut_off_leaves_nothing(store: SmallStore) -> None:
    data = docker_tar(layer_tar(size=4 * IN_MEMORY))
    for length in (IN_MEMORY, 3 * IN_MEMORY):
        with pytest.raises(InvalidArchiveError):
            load(io.BytesIO(data[:length]), store)
    assert untouched(store)


def test_layers_that_are_hard_links(store: SmallStore) -> None:
    layer = layer_tar()
    parts = docker_parts(layer, layer)
    del parts["1/layer.tar"]
    data = tar_of(*parts.items(), member("1/layer.tar", tarfile.LNKTYPE, "0/layer.tar"))
    load(io.BytesIO(data), store)
    assert len(store.images) == 1


@pytest.mark.parametrize("name", ["bzip2", "xz"])
def test_damage_inside_a_compressed_archive(name: str, store: SmallStore) -> None:
    data = bytearray(COMPRESSIONS[name](docker_tar(layer_tar(size=20_000))))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(InvalidArchiveError, match="damaged"):
        load(io.BytesIO(bytes(data)), store)
    assert untouched(store)


# -- OCI layouts


def layout(*entries: dict[str, Any], **files: bytes) -> bytes:
    index = json.dumps({"schemaVersion": 2, "manifests": list(entries)}).encode()
    return tar_of(
        ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index), *files.items()
    )


def layout_of(image: Any, name: str | None, key: str) -> bytes:
    entry = image.descriptor.to_json()
    if name is not None:
        entry["annotations"] = {key: name}
    blobs = {f"blobs/sha256/{Digest.of(d).hex}": d for d in (*image.blobs, image.manifest.raw)}
    return layout(entry, **blobs)


@pytest.mark.parametrize(
    ("key", "name", "expected"),
    [
        ("io.containerd.image.name", "docker.io/team/app:1", REF),
        ("org.opencontainers.image.ref.name", "team/app:1", REF),
        ("org.opencontainers.image.ref.name", "latest", None),
        ("org.opencontainers.image.ref.name", None, None),
    ],
)
def test_how_layouts_name_images(
    key: str, name: str | None, expected: Reference | None, store: SmallStore
) -> None:
    image = sample()
    (loaded,) = load(io.BytesIO(layout_of(image, name, key)), store)
    assert loaded.descriptor == image.descriptor
    assert loaded.references == (() if expected is None else (expected,))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"mediaType": "text/plain"}, InvalidArchiveError, "not an image"),
        ({"size": 1}, DigestMismatchError, "promised"),
        ({"digest": "sha256:" + "0" * 64}, InvalidArchiveError, "lacks"),
        ({"digest": "sha256:../../x"}, ImagesError, "invalid digest"),
        ({"annotations": {"io.containerd.image.name": "UP"}}, InvalidReferenceError, "lowercase"),
        (
            {"mediaType": "application/vnd.oci.image.index.v1+json"},
            InvalidManifestError,
            "says it is|fit",
        ),
    ],
)
def test_layouts_that_do_not_hold_together(
    change: dict[str, Any], error: type[ImagesError], words: str, store: SmallStore
) -> None:
    image = sample()
    blobs = {f"blobs/sha256/{Digest.of(d).hex}": d for d in (*image.blobs, image.manifest.raw)}
    data = layout({**image.descriptor.to_json(), **change}, **blobs)
    with pytest.raises(error, match=words):
        load(io.BytesIO(data), store)
    assert store.images == []


def test_an_index_without_any_of_its_platforms(store: SmallStore) -> None:
    index = index_of(sample(), sample(platform=ARM64))
    data = layout(index.descriptor.to_json(), **{f"blobs/sha256/{index.digest.hex}": index.raw})
    with pytest.raises(InvalidArchiveError, match="every platform"):
        load(io.BytesIO(data), store)
