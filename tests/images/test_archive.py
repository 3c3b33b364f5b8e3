"""load, save and import: what goes in comes out, and what is hostile stays out."""

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
from pathlib import Path
from typing import Any

import pytest
import zstandard

from images.archive import RootfsImport, import_rootfs, load, save
from images.archive_input import HEADER, IN_MEMORY
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
    SizeLimitError,
)
from images.layers.compress import Decompressed
from images.manifest import Manifest
from images.mediatype import OCI_LAYER, OCI_LAYER_GZIP
from images.reference import Reference
from tests.images.clientkit import AMD64, ARM64, SmallStore, index_of, keep, sample

REF = Reference.parse("team/app:1")


@pytest.fixture
def store(tmp_path: Path) -> SmallStore:
    return SmallStore.at(tmp_path / "store")


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


def saved(store: SmallStore, *images: tuple[Descriptor, list[Reference]]) -> bytes:
    out = io.BytesIO()
    save(images, store, out.write)
    return out.getvalue()


def untouched(store: SmallStore) -> bool:
    return store.images == [] and store.tagged == {} and store.everything() == set()


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
    if os.fork() == 0:
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(data)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        load(pipe, store)
    os.wait()
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
