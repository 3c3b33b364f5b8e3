"""load, save and import: what goes in comes out, and what is hostile stays out."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from images.archive import RootfsImport, import_rootfs, load, save
from images.archive_input import IN_MEMORY
from images.config import ImageConfig
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import (
    BlobUnknownError,
    DigestMismatchError,
    ImagesError,
    InputError,
    InvalidArchiveError,
    InvalidManifestError,
    InvalidReferenceError,
)
from images.layers.compress import Decompressed
from images.manifest import Manifest
from images.mediatype import OCI_LAYER_GZIP
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
from tests.images.clientkit import ARM64, SmallStore, index_of, keep, sample


@pytest.fixture
def store(tmp_path: Path) -> SmallStore:
    return SmallStore.at(tmp_path / "store")


def saved(store: SmallStore, *images: tuple[Descriptor, list[Reference]]) -> bytes:
    out = io.BytesIO()
    save(images, store, out.write)
    return out.getvalue()


# -- save and load again


def test_round_trip_keeps_digests_and_names(store: SmallStore, tmp_path: Path) -> None:
    one, two = sample(), sample(os.urandom(IN_MEMORY + 1))
    for image in (one, two):
        keep(store, image)
    other = Reference.parse("localhost:5000/x:2")
    data = saved(store, (one.descriptor, [REF, other]), (two.descriptor, []))
    fresh = SmallStore.at(tmp_path / "fresh")
    loaded = load(io.BytesIO(data), fresh)
    assert [image.descriptor for image in loaded] == [one.descriptor, two.descriptor]
    assert [image.image_id for image in loaded] == [Digest.of(one.config), Digest.of(two.config)]
    assert fresh.tagged == {REF: one.descriptor, other: one.descriptor}
    assert fresh.everything() == store.everything()
    assert fresh.leases[-1] == "released"


def test_save_is_deterministic_and_describes_itself(store: SmallStore, tmp_path: Path) -> None:
    image = sample()
    keep(store, image)
    again = SmallStore.at(tmp_path / "again")
    keep(again, image)
    data = saved(store, (image.descriptor, [REF]))
    assert data == saved(again, (image.descriptor, [REF]))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        names = archive.getnames()
        assert names == sorted(names)
        assert {(m.mtime, m.uid, m.gid, m.uname) for m in archive} == {(0, 0, 0, "")}
        (item,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert item["RepoTags"] == ["team/app:1"]
        for name in (item["Config"], *item["Layers"]):
            blob = archive.extractfile(name)
            assert blob is not None
            assert hashlib.sha256(blob.read()).hexdigest() == name.rpartition("/")[2]


def test_an_index_keeps_its_digest_with_the_platforms_that_are_there(
    store: SmallStore, tmp_path: Path
) -> None:
    amd, arm = sample(), sample(platform=ARM64)
    index = index_of(amd, arm)
    keep(store, arm)
    store.blobs.put(index.raw)
    data = saved(store, (index.descriptor, [REF]))
    fresh = SmallStore.at(tmp_path / "fresh")
    (loaded,) = load(io.BytesIO(data), fresh)
    assert loaded.descriptor == index.descriptor
    assert loaded.image_id == Digest.of(arm.config)
    assert fresh.blobs.has(arm.descriptor.digest)


def test_saving_nothing_or_something_incomplete_is_an_error(store: SmallStore) -> None:
    with pytest.raises(InputError):
        saved(store)
    image = sample()
    keep(store, image)
    store.blobs.delete(Digest.of(image.layers[0]))
    with pytest.raises(BlobUnknownError):
        saved(store, (image.descriptor, [REF]))


# -- docker's own archives


def test_a_docker_archive_of_before_oci(store: SmallStore) -> None:
    small, large = layer_tar(), layer_tar(size=IN_MEMORY + 1)
    data = docker_tar(small, large, tags=["team/app:1", "debian:latest"])
    (loaded,) = load(io.BytesIO(data), store)
    assert set(store.tagged) == {REF, Reference.parse("debian")}
    document = Manifest.parse(store.blobs.read(loaded.descriptor.digest))
    config = ImageConfig.parse(store.blobs.read(document.config.digest))
    assert loaded.image_id == config.digest
    assert config.diff_ids == (Digest.of(small), Digest.of(large))
    first, second = document.layers
    assert store.blobs.read(first.digest) == small
    # A large plain layer is compressed on its way in; its plain bytes are the same.
    assert second.media_type == OCI_LAYER_GZIP
    assert gzip.decompress(store.blobs.path(second.digest).read_bytes()) == large
    assert [layer.size for layer in document.layers] == [
        store.blobs.size(first.digest),
        store.blobs.size(second.digest),
    ]


def test_layers_that_are_links_to_a_sibling(store: SmallStore) -> None:
    """Docker wrote a repeated layer once, with links to it from the other folders."""
    layer = layer_tar()
    parts = docker_parts(layer, layer)
    del parts["1/layer.tar"]
    data = tar_of(*parts.items(), member("1/layer.tar", tarfile.SYMTYPE, "../0/layer.tar"))
    (loaded,) = load(io.BytesIO(data), store)
    document = Manifest.parse(store.blobs.read(loaded.descriptor.digest))
    assert [item.digest for item in document.layers] == [Digest.of(layer)] * 2


def test_compressed_layers_are_checked_against_the_config(store: SmallStore) -> None:
    layer = layer_tar()
    parts = docker_parts(layer)
    parts["0/layer.tar"] = gzip.compress(layer)
    (loaded,) = load(io.BytesIO(tar_of(*parts.items())), store)
    (kept,) = Manifest.parse(store.blobs.read(loaded.descriptor.digest)).layers
    assert (kept.media_type, kept.digest) == (OCI_LAYER_GZIP, Digest.of(parts["0/layer.tar"]))
    parts["0/layer.tar"] = gzip.compress(layer_tar())
    with pytest.raises(DigestMismatchError):
        load(io.BytesIO(tar_of(*parts.items())), store)


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_every_compression(name: str, store: SmallStore) -> None:
    data = COMPRESSIONS[name](docker_tar(layer_tar(size=20_000), tags=["team/app:1"]))
    load(io.BytesIO(data), store)
    assert set(store.tagged) == {REF}


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])
def test_cut_off_anywhere_nothing_is_loaded(name: str, store: SmallStore) -> None:
    data = COMPRESSIONS[name](docker_tar(layer_tar(size=20_000), tags=["team/app:1"]))
    for length in (3, 8, len(data) // 2, len(data) - 4000):
        with pytest.raises(InvalidArchiveError):
            load(io.BytesIO(data[:length]), store)
    assert untouched(store)


def test_a_stream_that_cannot_seek(store: SmallStore) -> None:
    data = docker_tar(layer_tar(size=IN_MEMORY * 2), tags=["team/app:1"])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(data)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        load(pipe, store)
    os.waitpid(child, 0)
    assert set(store.tagged) == {REF}


# -- what does not hold together


def broken(change: Callable[[dict[str, Any]], object]) -> bytes:
    parts = docker_parts(layer_tar(), tags=["team/app:1"])
    (item,) = json.loads(parts["manifest.json"])
    change(item)
    parts["manifest.json"] = json.dumps([item]).encode()
    return tar_of(*parts.items())


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", InvalidArchiveError, "not a readable tar"),
        (b"hello world" * 100, InvalidArchiveError, "not a readable tar"),
        (tar_of(("etc/passwd", b"x")), InvalidArchiveError, "neither manifest.json"),
        (tar_of(("manifest.json", b"{")), InvalidArchiveError, "not JSON"),
        (tar_of(("manifest.json", b"{}")), InvalidArchiveError, "not a list"),
        (tar_of(("manifest.json", b"[]")), InvalidArchiveError, "0 images"),
        (tar_of(("manifest.json", b"[[]]")), InvalidArchiveError, "not a list"),
        (tar_of(("manifest.json", b"[" * 5000)), InvalidArchiveError, "not JSON"),
        (broken(lambda i: i.pop("Config")), InvalidArchiveError, "without Config"),
        (broken(lambda i: i.update(Config="../x")), InvalidArchiveError, "lacks"),
        (broken(lambda i: i.update(Layers=[])), InvalidArchiveError, "0 layers are listed"),
        (broken(lambda i: i.update(Layers=["nope"])), InvalidArchiveError, "lacks 'nope'"),
        (broken(lambda i: i.update(Layers="abc")), InvalidArchiveError, "not a list of strings"),
        (broken(lambda i: i.update(RepoTags=["UPPER:1"])), InvalidReferenceError, "lowercase"),
        (broken(lambda i: i.update(Layers=["manifest.json"])), DigestMismatchError, "hashes to"),
        (tar_of(("oci-layout", b"{}"), ("index.json", b"{}")), InvalidArchiveError, "version"),
    ],
)
def test_malformed_archives(
    data: bytes, error: type[ImagesError], words: str, store: SmallStore
) -> None:
    with pytest.raises(error, match=words):
        load(io.BytesIO(data), store)
    assert store.images == []
    assert store.tagged == {}
    store.everything()


def test_one_bad_image_spoils_all(store: SmallStore, tmp_path: Path) -> None:
    good, bad = sample(), sample()
    for image in (good, bad):
        keep(store, image)
    data = saved(store, (good.descriptor, [REF]), (bad.descriptor, []))
    layer = bad.layers[1]
    assert data.count(layer) == 1
    fresh = SmallStore.at(tmp_path / "fresh")
    with pytest.raises(DigestMismatchError):
        load(io.BytesIO(data.replace(layer, bytes(len(layer)))), fresh)
    assert untouched(fresh)


def test_an_oci_config_with_another_number_of_layers(store: SmallStore, tmp_path: Path) -> None:
    image = sample()
    keep(store, image)
    fewer = Manifest.build(image.manifest.config, image.manifest.layers[:1])
    store.blobs.put(fewer.raw)
    data = saved(store, (fewer.descriptor, [REF]))
    with pytest.raises(InvalidManifestError, match="lists 2 layers"):
        load(io.BytesIO(data), SmallStore.at(tmp_path / "fresh"))


# -- import


def rootfs() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, mode in ((".", b"5", 0o755), ("./bin", b"5", 0o755)):
            info = member(name, kind)
            info.mode = mode
            archive.addfile(info)
        su = tarfile.TarInfo("./bin/su")
        su.mode, su.uid, su.gid, su.size, su.mtime = 0o4755, 0, 42, 5, 1234567890
        su.pax_headers = {"SCHILY.xattr.user.note": "yes"}
        archive.addfile(su, io.BytesIO(b"#!su\n"))
        hard = member("./bin/su2", tarfile.LNKTYPE, "./bin/su")
        archive.addfile(hard)
        archive.addfile(member("./sh", tarfile.SYMTYPE, "/bin/su"))
        null = member("./null", tarfile.CHRTYPE)
        null.devmajor, null.devminor, null.mode = 1, 3, 0o666
        archive.addfile(null)
        big = tarfile.TarInfo("./big")
        big.size = 3_000_000
        archive.addfile(big, io.BytesIO(b"b" * big.size))
    return buffer.getvalue()


@pytest.mark.parametrize("compression", ["none", "gzip", "xz", "zstd"])
def test_an_imported_root_filesystem_keeps_its_content(compression: str, store: SmallStore) -> None:
    request = RootfsImport(
        REF,
        platform=ARM64,
        config={"Cmd": ["/bin/su"]},
        message="from a test",
        created="2024-01-02T03:04:05Z",
    )
    imported = import_rootfs(io.BytesIO(COMPRESSIONS[compression](rootfs())), store, request)
    assert store.tagged == {REF: imported.descriptor}
    document = Manifest.parse(store.blobs.read(imported.descriptor.digest))
    config = ImageConfig.parse(store.blobs.read(document.config.digest))
    assert imported.image_id == config.digest
    assert config.platform == ARM64
    assert config.config == {"Cmd": ["/bin/su"]}
    assert config.created == "2024-01-02T03:04:05Z"
    assert [entry.comment for entry in config.history] == ["from a test"]
    (layer,) = document.layers
    with store.blobs.open(layer.digest) as file:
        plain, stream = b"", Decompressed(file, "gzip")
        while piece := stream.read():
            plain += piece
    assert config.diff_ids == (Digest.of(plain),)
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        found = {os.path.normpath(m.name): m for m in archive}
        su = found["bin/su"]
        assert (su.mode, su.uid, su.gid, su.mtime) == (0o4755, 0, 42, 1234567890)
        assert su.pax_headers["SCHILY.xattr.user.note"] == "yes"
        assert archive.extractfile(su).read() == b"#!su\n"  # type: ignore[union-attr]
        assert found["bin/su2"].linkname == "bin/su"
        assert found["sh"].linkname == "/bin/su"
        assert (found["null"].devmajor, found["null"].devminor) == (1, 3)
        assert archive.extractfile("big").read() == b"b" * 3_000_000  # type: ignore[union-attr]


def test_importing_twice_gives_the_same_image(store: SmallStore) -> None:
    first = import_rootfs(io.BytesIO(rootfs()), store)
    assert import_rootfs(io.BytesIO(gzip.compress(rootfs())), store) == first
    assert first.references == ()


@pytest.mark.parametrize(
    "data",
    [
        tar_of(("etc/.wh.passwd", b"")),
        tar_of(("../etc/passwd", b"x")),
        rootfs()[:5000],
        gzip.compress(rootfs())[:200],
    ],
)
def test_root_filesystems_that_cannot_become_layers(data: bytes, store: SmallStore) -> None:
    with pytest.raises(InputError):
        import_rootfs(io.BytesIO(data), store, RootfsImport(REF))
    assert untouched(store)
