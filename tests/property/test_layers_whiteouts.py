"""The algebra of layers: what a diff says, applied, gives the tree it was taken of."""

import ctypes
import io
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from images.layers.entry import Entry, opaque, whiteout
from images.layers.merged import MergedTree, entry_of
from images.layers.overlay_diff import scan_tree, scan_upper
from images.layers.tar_write import write_tar
from images.layers.unpack import unpack, unpack_entries
from tests.property.layers_strategies import discard, make, owned, picture, trees

SLOW = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def diff(old: list[Entry], new: list[Entry]) -> list[Entry]:
    """The layer that turns one tree into the other, by comparing them (not by overlayfs)."""
    before, after = {e.path: e for e in old}, {e.path: e for e in new}
    layer: list[Entry] = []
    for path, entry in before.items():
        parent = path.rpartition("/")[0]
        parent_stays = not parent or (parent in after and after[parent].kind == "d")
        if path not in after and parent_stays and entry.kind:
            layer.append(whiteout(path))
    for path, entry in after.items():
        layer.append(entry)
        if entry.kind == "d" and path in before and before[path].kind != "d":
            layer.append(opaque(path))
    return layer


def merged(layers: list[Path]) -> dict[str, tuple]:
    return picture([entry_of(node) for node in MergedTree(layers).walk()])


def through_tar(entries, target: Path) -> Path:
    out = io.BytesIO()
    write_tar(entries, out.write)
    out.seek(0)
    make(target, [])
    unpack(out, target)
    return target


@given(trees(size=8), trees(size=8))
@SLOW
def test_diff_then_apply_is_identity(tmp_path: Path, old, new):
    old, new = owned(old), owned(new)
    lower = through_tar(old, tmp_path / "lower")
    upper = through_tar(diff(old, new), tmp_path / "upper")
    assert merged([upper, lower]) == picture(new)


@given(trees(size=8))
@SLOW
def test_an_opaque_root_leaves_only_the_layer(tmp_path: Path, new):
    lower = through_tar(
        owned([Entry("old", "p"), Entry("a", "d"), Entry("a/x", "p")]), tmp_path / "lower"
    )
    upper = through_tar([opaque(""), *owned(new)], tmp_path / "upper")
    assert merged([upper, lower]) == picture(new)


@given(trees(size=8), trees(size=8))
@SLOW
def test_what_a_layer_unpacks_to_packs_to_the_same_layer(tmp_path: Path, old, new):
    """Whiteouts and opaque markers survive both ways, so a pulled layer can be pushed again."""
    layer = through_tar(diff(owned(old), owned(new)), tmp_path / "layer")
    first, second = io.BytesIO(), io.BytesIO()
    write_tar(scan_upper(layer), first.write)
    first.seek(0)
    again = make(tmp_path / "again", [])
    unpack(first, again)
    write_tar(scan_upper(again), second.write)
    assert second.getvalue() == first.getvalue()


@contextmanager
def overlay(lower: Path, upper: Path, work: Path, target: Path):
    for path in (upper, work, target):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    upper.chmod(0o755)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work},redirect_dir=off,metacopy=off"
    if libc.mount(b"overlay", os.fsencode(target), b"overlay", 0, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        yield target
    finally:
        libc.umount2(os.fsencode(target), 2)


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(
            ["remove", "write", "append", "mkdir", "chmod", "rename", "link", "replace"]
        ),
        st.integers(0, 30),
        st.integers(0, 30),
    ),
    max_size=12,
)


def change(root: Path, changes) -> None:
    """Do to a mounted tree what a RUN step would."""
    for number, (what, one, two) in enumerate(changes):
        paths = sorted(root.rglob("*"))
        folders = [root, *(p for p in paths if p.is_dir() and not p.is_symlink())]
        files = [p for p in paths if p.is_file() and not p.is_symlink()]
        target = paths[one % len(paths)] if paths else None
        folder = folders[two % len(folders)]
        new = folder / f"new{number}"
        if what == "mkdir":
            new.mkdir()
        elif what == "write":
            new.write_bytes(b"%d" % number)
        elif target is None:
            continue
        elif what == "remove":
            _remove(target)
        elif what == "append" and files:
            with files[one % len(files)].open("ab") as file:
                file.write(b"more")
        elif what == "chmod" and not target.is_symlink():
            target.chmod(0o700)
        elif what == "rename" and not target.is_dir():
            target.rename(new)
        elif what == "link" and files:
            os.link(files[one % len(files)], new)
        elif what == "replace" and target.is_dir() and not target.is_symlink():
            _remove(target)
            target.mkdir()
            (target / "inside").write_text("new")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@pytest.mark.root
@given(trees(size=10), CHANGES)
@SLOW
def test_a_real_overlay_diffed_and_applied_shows_the_same(tmp_path: Path, entries, changes):
    lower = make(tmp_path / "lower", entries)
    upper = tmp_path / "upper"
    with overlay(lower, upper, tmp_path / "work", tmp_path / "mount") as mount:
        change(mount, changes)
        wanted = picture(scan_tree(mount))
    applied = through_tar(scan_upper(upper), tmp_path / "applied")
    assert _seconds(merged([applied, lower])) == _seconds(wanted)
    assert _seconds(merged([upper, lower])) == _seconds(wanted)
    with overlay(
        Path(f"{applied}:{lower}"), tmp_path / "u2", tmp_path / "w2", tmp_path / "m2"
    ) as again:
        assert _seconds(picture(scan_tree(again))) == _seconds(wanted)
    discard(upper)


def _seconds(shown: dict[str, tuple]) -> dict[str, tuple]:
    """Times in whole seconds, as tar keeps them."""
    return {p: (k, m, t // 10**9, *rest) for p, (k, m, t, *rest) in shown.items()}


def test_unpacking_entries_and_unpacking_their_tar_are_the_same(tmp_path: Path):
    entries = owned(
        [Entry("d", "d", 0o711), Entry("d/f", "f", size=1, source=b"x"), whiteout("g"), opaque("d")]
    )
    direct = make(tmp_path / "direct", [])
    unpack_entries(entries, direct)
    assert list(scan_upper(direct)) == list(scan_upper(through_tar(entries, tmp_path / "tar")))
