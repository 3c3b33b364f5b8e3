import os
import shutil
import stat
import threading
from pathlib import Path

import pytest

from images import blobs as blobs_module
from images import snapshots as module
from images.blobs import BlobStore
from images.config import chain_ids
from images.digest import Digest
from images.errors import (
    BlobUnknownError,
    DigestMismatchError,
    EnvironmentFault,
    InputError,
    InvalidArchiveError,
)
from images.layers.entry import Entry, opaque, whiteout
from images.layers.merged import is_whiteout
from images.layers.pack import PackedLayer, pack_layer
from images.snapshots import Snapshots, clear_workspace
from tests.images.layers.archives import directory, file, hardlink, symlink


@pytest.fixture
def blobs(tmp_path):
    return BlobStore(tmp_path)


@pytest.fixture
def snapshots(tmp_path):
    return Snapshots(tmp_path)


def pairs(*layers: PackedLayer):
    return [(layer.diff_id, layer.descriptor) for layer in layers]


@pytest.fixture
def layer(blobs):
    def make(*entries: Entry, compression="gzip") -> PackedLayer:
        return pack_layer(entries, blobs, compression=compression)

    return make


def staging(tmp_path: Path) -> list[str]:
    return os.listdir(tmp_path / "snapshots/.staging")


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_unpacked_under_its_diff_id(snapshots, blobs, layer, tmp_path, compression):
    one = layer(directory("etc"), file("etc/x", b"1"), compression=compression)
    (path,) = snapshots.ensure(pairs(one), blobs)
    assert path == tmp_path / "snapshots" / one.diff_id.hex / "fs"
    assert (path / "etc/x").read_bytes() == b"1"
    assert snapshots.path(one.diff_id) == path
    assert staging(tmp_path) == []
    assert list(snapshots.ids()) == [one.diff_id.hex]


def test_topmost_first(snapshots, blobs, layer):
    layers = [layer(file(f"f{n}")) for n in range(4)]
    paths = snapshots.ensure(pairs(*layers), blobs)
    assert [os.listdir(path) for path in paths] == [["f3"], ["f2"], ["f1"], ["f0"]]


def test_unpacked_once(snapshots, blobs, layer, tmp_path):
    one = layer(file("x"))
    (path,) = snapshots.ensure(pairs(one), blobs)
    inode = (path / "x").stat().st_ino
    blobs.delete(one.descriptor.digest)
    (again,) = Snapshots(tmp_path).ensure(pairs(one), blobs)
    assert (again / "x").stat().st_ino == inode


def test_nobody_else_may_look_in(snapshots, blobs, layer):
    """A setuid program in a layer must not be for the machine's users (CVE-2021-41091)."""
    (path,) = snapshots.ensure(pairs(layer(file("su", mode=0o4755))), blobs)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_large_layers_go_through_a_thread(snapshots, blobs, layer):
    data = os.urandom(3 << 20)
    (path,) = snapshots.ensure(pairs(layer(file("big", data), file("small"))), blobs)
    assert (path / "big").read_bytes() == data


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_a_layer_that_is_not_what_the_config_says(snapshots, blobs, layer, tmp_path, size):
    one = layer(file("x", os.urandom(size)))
    with pytest.raises(DigestMismatchError, match="image config says") as caught:
        snapshots.ensure([(Digest.of(b"lie"), one.descriptor)], blobs)
    assert caught.value.where == str(one.descriptor.digest)
    assert list(snapshots.ids()) == []
    assert staging(tmp_path) == []


def test_bytes_behind_the_archive_count(snapshots, blobs):
    """The diff id is over all of the stream, not over what a reader cared for."""
    import gzip

    from images.descriptor import Descriptor
    from images.mediatype import OCI_LAYER_GZIP
    from tests.images.layers.archives import archive

    tar = archive(file("x")).getvalue()
    digest = blobs.put(gzip.compress(tar + bytes(10_000) + b"tail"))
    descriptor = Descriptor(OCI_LAYER_GZIP, digest, 1)
    with pytest.raises(DigestMismatchError):
        snapshots.ensure([(Digest.of(tar), descriptor)], blobs)
    snapshots.ensure([(Digest.of(tar + bytes(10_000) + b"tail"), descriptor)], blobs)


def test_a_missing_blob_leaves_the_other_layers(snapshots, blobs, layer, tmp_path):
    one, two = layer(file("1")), layer(file("2"))
    blobs.delete(two.descriptor.digest)
    with pytest.raises(BlobUnknownError):
        snapshots.ensure(pairs(one, two), blobs)
    assert list(snapshots.ids()) == [one.diff_id.hex]
    assert staging(tmp_path) == []


def test_an_error_of_one_layer_discards_those_that_wait_for_it(snapshots, blobs, layer, tmp_path):
    one, two = layer(file("1")), layer(file("implied/2"))
    blobs.delete(one.descriptor.digest)
    with pytest.raises(BlobUnknownError):
        snapshots.ensure(pairs(one, two), blobs)
    assert list(snapshots.ids()) == []
    assert staging(tmp_path) == []


def test_content_that_is_not_a_layer(snapshots, blobs, layer):
    from dataclasses import replace

    one = layer(file("x"))
    with pytest.raises(InputError, match="cannot unpack content of type"):
        snapshots.ensure([(one.diff_id, replace(one.descriptor, media_type="text/x"))], blobs)


def test_a_hidden_root(snapshots, blobs, layer):
    layers = [layer(file("old")), layer(opaque(""), file("new")), layer(file("newer"))]
    paths = snapshots.ensure(pairs(*layers), blobs)
    assert [os.listdir(path) for path in paths] == [["newer"], ["new"]]


class TestLayersThatNeedTheOnesBelow:
    """Archives that leave out parents, or link into earlier layers; other builders make such."""

    def test_directories_not_described(self, snapshots, blobs, layer):
        base = layer(directory("srv", 0o750, mtime=5 * 10**9), directory("srv/www", 0o2711))
        top = layer(file("srv/www/index"), file("elsewhere/new"))
        paths = snapshots.ensure(pairs(base, top), blobs)
        chain = chain_ids([base.diff_id, top.diff_id])
        assert paths[0].parent.name == chain[1].hex
        assert stat.S_IMODE((paths[0] / "srv").stat().st_mode) == 0o750
        assert (paths[0] / "srv").stat().st_mtime_ns == 5 * 10**9
        assert stat.S_IMODE((paths[0] / "srv/www").stat().st_mode) == 0o2711
        assert stat.S_IMODE((paths[0] / "elsewhere").stat().st_mode) == 0o755

    def test_each_base_gets_its_own(self, snapshots, blobs, layer):
        bases = [layer(directory("d", mode)) for mode in (0o700, 0o711)]
        top = layer(file("d/f"))
        modes = [
            stat.S_IMODE((snapshots.ensure(pairs(base, top), blobs)[0] / "d").stat().st_mode)
            for base in bases
        ]
        assert modes == [0o700, 0o711]

    def test_through_a_symbolic_link_of_the_base(self, snapshots, blobs, layer):
        """usr-merge: a layer with lib/x on a base where lib is a link."""
        base = layer(directory("usr/lib", 0o711), symlink("lib", "usr/lib"))
        top = layer(file("lib/mod/x"), hardlink("lib/mod/y", "lib/mod/x"))
        paths = snapshots.ensure(pairs(base, top), blobs)
        assert (paths[0] / "usr/lib/mod/y").read_bytes() == b"data"
        assert not (paths[0] / "lib").exists()
        assert stat.S_IMODE((paths[0] / "usr/lib").stat().st_mode) == 0o711

    def test_a_file_of_the_base_gives_way(self, snapshots, blobs, layer):
        paths = snapshots.ensure(pairs(layer(file("d")), layer(file("d/f"))), blobs)
        assert (paths[0] / "d/f").exists()

    def test_hard_links_into_the_base(self, snapshots, blobs, layer):
        base = layer(directory("bin"), file("bin/gzip", b"program", mode=0o4755))
        top = layer(directory("bin"), hardlink("bin/gunzip", "bin/gzip"))
        paths = snapshots.ensure(pairs(base, top), blobs)
        assert (paths[0] / "bin/gunzip").read_bytes() == b"program"
        assert stat.S_IMODE((paths[0] / "bin/gunzip").stat().st_mode) == 0o4755

    def test_hard_links_to_nothing(self, snapshots, blobs, layer, tmp_path):
        with pytest.raises(InvalidArchiveError, match="which no layer has"):
            snapshots.ensure(pairs(layer(file("a")), layer(hardlink("h", "none"))), blobs)
        assert staging(tmp_path) == []

    def test_a_whiteout_of_the_base_in_between(self, snapshots, blobs, layer):
        layers = (layer(directory("d", 0o700)), layer(whiteout("d")), layer(file("d/f")))
        paths = snapshots.ensure(pairs(*layers), blobs)
        assert stat.S_IMODE((paths[0] / "d").stat().st_mode) == 0o755
        assert is_whiteout((paths[1] / "d").lstat())


class TestPowerCut:
    """A snapshot that no disk was asked about is believed only in the boot that wrote it."""

    def test_the_next_boot_unpacks_again(self, tmp_path, blobs, layer):
        one = layer(file("x", b"whole"))
        (path,) = Snapshots(tmp_path, boot_id="one").ensure(pairs(one), blobs)
        (path / "x").write_bytes(b"")  # what a power cut may leave of a written file
        after = Snapshots(tmp_path, boot_id="two")
        assert after.path(one.diff_id) is None
        assert not after.is_valid(one.diff_id.hex)
        (path,) = after.ensure(pairs(one), blobs)
        assert (path / "x").read_bytes() == b"whole"
        assert after.path(one.diff_id) == path
        assert staging(tmp_path) == []

    def test_unless_it_was_synced(self, tmp_path, blobs, layer):
        one = layer(file("x"))
        before = Snapshots(tmp_path, boot_id="one")
        (path,) = before.ensure(pairs(one), blobs)
        assert before.sync() == 1
        assert before.sync() == 0
        assert Snapshots(tmp_path, boot_id="two").path(one.diff_id) == path

    def test_sync_does_not_vouch_for_an_earlier_boot(self, tmp_path, blobs, layer):
        one = layer(file("x"))
        Snapshots(tmp_path, boot_id="one").ensure(pairs(one), blobs)
        after = Snapshots(tmp_path, boot_id="two")
        assert after.sync() == 0
        assert after.path(one.diff_id) is None


class TestAdopt:
    def upper(self, workspace) -> Path:
        (workspace.upper / "made").write_text("x")
        return workspace.upper

    def test_moved_not_copied(self, snapshots, tmp_path):
        digest = Digest.of(b"diff")
        with snapshots.new_workspace() as workspace:
            inode = self.upper(workspace).stat().st_ino
            path = snapshots.adopt(workspace.upper, digest)
        assert path == snapshots.path(digest)
        assert path.stat().st_ino == inode
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert staging(tmp_path) == []

    def test_a_cleared_workspace_becomes_the_snapshot(self, snapshots, tmp_path):
        for turn in range(2):  # the second one finds the snapshot there
            with snapshots.new_workspace() as workspace:
                (workspace.work / "work/incompat").mkdir(parents=True)
                upper = self.upper(workspace)
                clear_workspace(workspace)
                assert sorted(os.listdir(workspace.path)) == ["lock", "upper"]
                inode = workspace.path.stat().st_ino
                path = snapshots.adopt(upper, Digest.of(b"diff"))
            assert (path / "made").read_text() == "x"
            assert (path.parent.stat().st_ino == inode) == (turn == 0)
            assert sorted(os.listdir(path.parent)) == ["fs", "state"]
            assert staging(tmp_path) == []

    def test_a_stage_is_locked_until_it_is_in_place(self, snapshots, monkeypatch):
        seen: list[bool] = []
        rename = Path.rename

        def spy(self: Path, target: Path) -> Path:
            if self.parent.name == ".staging":
                seen.append(module.is_held(self / "lock"))
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", spy)
        with snapshots.new_workspace() as workspace:
            clear_workspace(workspace)
            snapshots.adopt(workspace.upper, Digest.of(b"diff"))
        assert seen == [True]

    def test_the_first_stays(self, snapshots):
        digest = Digest.of(b"diff")
        paths = []
        for _ in range(2):
            with snapshots.new_workspace() as workspace:
                paths.append(snapshots.adopt(self.upper(workspace), digest))
                assert not workspace.upper.exists()
        assert paths[0] == paths[1]

    def test_durable(self, tmp_path, monkeypatch):
        synced: list[Path] = []
        monkeypatch.setattr(module, "_syncfs", synced.append)
        snapshots = Snapshots(tmp_path, boot_id="one")
        with snapshots.new_workspace() as workspace:
            snapshots.adopt(self.upper(workspace), Digest.of(b"d"), durable=True)
        assert len(synced) == 1
        assert Snapshots(tmp_path, boot_id="two").path(Digest.of(b"d"))

    @pytest.mark.root
    def test_another_file_system(self, snapshots, tmp_path):
        upper = Path("/dev/shm") / f"lading-{os.getpid()}"
        upper.mkdir()
        try:
            with pytest.raises(EnvironmentFault, match="cross-device") as caught:
                snapshots.adopt(upper, Digest.of(b"d"))
            assert "new_workspace" in (caught.value.fix or "")
            assert staging(tmp_path) == []
        finally:
            shutil.rmtree(upper)


class TestWorkspace:
    def test_removed_at_the_end(self, snapshots, tmp_path):
        with snapshots.new_workspace() as workspace:
            assert workspace.upper.is_dir()
            assert workspace.work.is_dir()
            assert stat.S_IMODE(workspace.upper.stat().st_mode) == 0o755
            assert stat.S_IMODE(workspace.path.stat().st_mode) == 0o700
        assert staging(tmp_path) == []

    def test_the_upper_looks_like_the_root_below(self, snapshots, blobs, layer):
        lowers = snapshots.ensure(pairs(layer(directory("", 0o1751), file("x"))), blobs)
        with snapshots.new_workspace(lowers) as workspace:
            assert stat.S_IMODE(workspace.upper.stat().st_mode) == 0o1751

    def test_of_a_killed_process(self, snapshots, tmp_path, monkeypatch):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            with snapshots.new_workspace() as workspace:
                (workspace.upper / "x").write_text("x")
                os.write(write, b"x")
                os.kill(os.getpid(), 9)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)
        assert list(snapshots.leftovers()) == []  # too fresh to judge
        monkeypatch.setattr(blobs_module, "STAGE_GRACE", -1.0)
        monkeypatch.setattr(blobs_module, "DEAD_GRACE", -1.0)
        with snapshots.new_workspace():
            assert len(list(snapshots.leftovers())) == 1
            assert snapshots.sweep_leftovers() == 1
            assert len(staging(tmp_path)) == 1


class TestRemove:
    def test_remove(self, snapshots, blobs, layer, tmp_path):
        one = layer(file("x", b"12345"))
        snapshots.ensure(pairs(one), blobs)
        assert snapshots.size(one.diff_id.hex) == 5
        assert snapshots.remove(one.diff_id.hex)
        assert not snapshots.remove(one.diff_id.hex)
        assert snapshots.path(one.diff_id) is None
        assert snapshots.size(one.diff_id.hex) == 0
        assert staging(tmp_path) == []

    def test_what_was_just_asked_for_is_spared(self, snapshots, blobs, layer):
        one = layer(file("x"))
        (path,) = snapshots.ensure(pairs(one), blobs)
        os.utime(path.parent, (1000, 1000))
        snapshots.path(one.diff_id)
        assert not snapshots.remove(one.diff_id.hex, unless_younger_than=2000)
        os.utime(path.parent, (1000, 1000))
        assert snapshots.remove(one.diff_id.hex, unless_younger_than=2000)


def test_threads_that_need_the_same(tmp_path, blobs, layer):
    layers = pairs(*(layer(file(f"f{n}", os.urandom(50_000))) for n in range(3)))
    barrier = threading.Barrier(6)
    results: list[list[Path]] = []

    def work():
        barrier.wait()
        results.append(Snapshots(tmp_path).ensure(layers, blobs))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all(result == results[0] for result in results)
    assert staging(tmp_path) == []
    assert sorted(os.listdir(results[0][0].parent)) == ["fs", "state"]
