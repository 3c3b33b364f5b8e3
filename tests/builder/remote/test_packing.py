"""Cache mounts as layers: the same bytes for the same content, and back."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

import pytest

from builder.errors import BuildInputError
from builder.remote.packing import check_layer, pack_mount, unpack_mount
from builder.solver.mounts import cache_directory
from builder.solver.records import StoredLayer
from images.blobs import BlobStore
from images.digest import Digest
from images.errors import DigestMismatchError


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


def mount(state: Path, name: str = "/cache") -> Path:
    """A cache mount with all that can be in one."""
    root = cache_directory(state, name)
    content = root / "fs"
    (content / "sub").mkdir(parents=True)
    (root / "lock").touch()
    (content / "sub" / "file").write_text("text")
    (content / "again").hardlink_to(content / "sub" / "file")
    (content / "link").symlink_to("/nowhere")
    (content / "sub" / "file").chmod(0o640)
    os.mkfifo(content / "fifo")
    (content / ".wh.name").write_text("not a whiteout")
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(content, os.O_PATH)
        listener.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
    for path in (content / "sub" / "file", content / "sub"):
        os.utime(path, (1, 1))
    return content


def test_what_a_mount_holds_comes_back(tmp_path: Path, blobs: BlobStore) -> None:
    mount(tmp_path / "state")
    layer = pack_mount(tmp_path / "state", "/cache", blobs)
    assert layer is not None
    target = tmp_path / "target"
    target.mkdir()
    unpack_mount(layer, blobs, target)
    assert sorted(os.listdir(target)) == ["again", "fifo", "link", "sub"]
    assert (target / "sub" / "file").read_text() == "text"
    assert (target / "sub" / "file").stat().st_mode & 0o777 == 0o640
    assert (target / "again").samefile(target / "sub" / "file")
    assert (target / "link").readlink() == Path("/nowhere")


def test_equal_content_has_equal_digests(tmp_path: Path, blobs: BlobStore) -> None:
    first = mount(tmp_path / "one")
    second = mount(tmp_path / "two")
    for path in first.iterdir():
        times = (path.lstat().st_atime_ns, path.lstat().st_mtime_ns)
        os.utime(second / path.name, ns=times, follow_symlinks=False)
    layers = [pack_mount(tmp_path / name, "/cache", blobs) for name in ("one", "two")]
    assert layers[0] == layers[1]


def test_a_mount_that_is_not_there_is_nothing(tmp_path: Path, blobs: BlobStore) -> None:
    assert pack_mount(tmp_path, "/cache", blobs) is None
    root = cache_directory(tmp_path, "/cache")
    root.mkdir(parents=True)
    (root / "lock").touch()
    assert pack_mount(tmp_path, "/cache", blobs) is None


def test_a_mount_that_is_in_use_has_no_state(tmp_path: Path, blobs: BlobStore) -> None:
    content = mount(tmp_path)
    with (content.parent / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        with pytest.raises(BuildInputError, match="is in use"):
            pack_mount(tmp_path, "/cache", blobs)


def test_a_layer_that_lies_about_its_content_is_not_unpacked(
    tmp_path: Path, blobs: BlobStore
) -> None:
    mount(tmp_path)
    layer = pack_mount(tmp_path, "/cache", blobs)
    assert layer is not None
    check_layer(layer, blobs)
    lie = StoredLayer(Digest.of(b"other"), layer.descriptor)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(DigestMismatchError, match="its record says"):
        unpack_mount(lie, blobs, target)
    assert os.listdir(target) == []
