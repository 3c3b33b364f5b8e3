"""Merged layers do to what is below what the layers did one by one."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from images.layers.entry import Entry, opaque, whiteout
from images.layers.merge import LayerMerge
from images.layers.merged import MergedTree, entry_of
from images.layers.overlay_diff import scan_tree, scan_upper
from images.layers.tar_body import with_bodies
from images.layers.tar_read import read_tar
from images.layers.tar_write import write_tar
from images.layers.unpack import unpack
from tests.property.layers_strategies import SECOND, make, owned, picture, trees
from tests.property.test_layers_whiteouts import CHANGES, change, overlay

SLOW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tar_of(entries: list[Entry]) -> io.BytesIO:
    out = io.BytesIO()
    write_tar(entries, out.write)
    out.seek(0)
    return out


def merge(layers: list[list[Entry]], *, flat: bool = False) -> list[Entry]:
    """The sum of layers that come as tar streams, with its content in memory."""
    with tempfile.TemporaryFile() as scratch:
        merged = LayerMerge(scratch.fileno())
        for layer in layers:
            merged.apply(with_bodies(read_tar(tar_of(layer))))
        again = tar_of(list(merged.entries(flat=flat)))
    return [e.read_from(b.read()) if e.kind == "f" else e for e, b in read_tar_held(again)]


def read_tar_held(stream: io.BytesIO):
    for entry, body in read_tar(stream):
        yield entry, io.BytesIO(body.read())


def unpacked(path: Path, entries: list[Entry]) -> Path:
    make(path, [])
    unpack(tar_of(entries), path)
    return path


def seen(directories: list[Path]) -> dict[str, tuple]:
    """What an overlay of directories, topmost first, shows; times of directories left out."""
    return picture([entry_of(node) for node in MergedTree(directories).walk()])


def step(old: list[Entry], new: list[Entry], keep: frozenset[int]) -> list[Entry]:
    """A layer that turns one tree into another, and may leave out files that did not change."""
    before, after = {e.path: e for e in old}, {e.path: e for e in new}
    links = {e.linkname for e in new if e.kind == "h"}
    layer = [
        whiteout(path)
        for path in before
        if path not in after
        and (not (parent := path.rpartition("/")[0]) or after.get(parent, before[path]).kind == "d")
        and (not parent or parent in after)
    ]
    for number, (path, entry) in enumerate(after.items()):
        same = before.get(path) == entry and entry.kind in "flp" and path not in links
        if same and number in keep and before[path].open_source().read() == content(entry):
            continue
        layer.append(entry)
        if entry.kind == "d" and path in before and before[path].kind != "d":
            layer.append(opaque(path))
    return layer


def content(entry: Entry) -> bytes:
    with entry.open_source() as file:
        return file.read()


KEPT = st.frozensets(st.integers(0, 12))


@given(trees(size=8), trees(size=8), trees(size=8), trees(size=8), KEPT)
@SLOW
def test_the_sum_of_layers_on_a_base_is_the_layers_on_it(
    tmp_path: Path, base, one, two, three, keep
):
    base, one, two, three = map(owned, (base, one, two, three))
    layers = [step(base, one, keep), step(one, two, keep), step(two, three, keep)]
    below = unpacked(tmp_path / "base", base)
    stacked = [unpacked(tmp_path / str(n), layer) for n, layer in enumerate(layers)]
    merged = unpacked(tmp_path / "merged", merge(layers))
    assert seen([merged, below]) == seen([*reversed(stacked), below]) == picture(three)


@given(trees(size=10), trees(size=10), KEPT)
@SLOW
def test_all_layers_of_an_image_are_its_files(tmp_path: Path, one, two, keep):
    one, two = owned(one), owned(two)
    flat = merge([one, step(one, two, keep)], flat=True)
    assert not any(entry.is_whiteout for entry in flat)
    assert picture(flat) == picture(two)
    paths = [entry.path for entry in flat]
    assert all(entry.parent in ("", *paths[:at]) for at, entry in enumerate(flat))


@given(trees(size=8), trees(size=8), trees(size=8), KEPT)
@SLOW
def test_merging_in_parts_is_merging_at_once(one, two, three, keep):
    layers = [one, step(one, two, keep), step(two, three, keep)]
    at_once = tar_of(merge(layers)).getvalue()
    assert tar_of(merge([merge(layers[:2]), layers[2]])).getvalue() == at_once
    assert tar_of(merge([layers[0], merge(layers[1:])])).getvalue() == at_once


def in_seconds(entries: Iterable[Entry]) -> list[Entry]:
    """With times as archives have them."""
    return [entry._replace(mtime=entry.mtime // SECOND * SECOND) for entry in entries]


@pytest.mark.root
@given(trees(size=8), CHANGES, CHANGES, CHANGES)
@settings(SLOW, max_examples=25)
def test_the_sum_of_what_steps_did_is_what_the_kernel_shows(
    tmp_path: Path, old, one, two, three
) -> None:
    lower = make(tmp_path / "lower", old)
    below, uppers = str(lower), []
    for number, changes in enumerate((one, two, three)):
        upper, work = tmp_path / f"upper{number}", tmp_path / f"work{number}"
        with overlay(Path(below), upper, work, tmp_path / "mounted") as mounted:
            # Numbers name what is made, and a round must not meet the names of another.
            change(mounted, [("nothing", 0, 0)] * 20 * number + changes)
            shown = picture(in_seconds(scan_tree(mounted)))
        uppers.append(upper)
        below = f"{upper}:{below}"
    merged = merge([list(scan_upper(upper)) for upper in uppers])
    both = [unpacked(tmp_path / "merged", merged), lower]
    assert picture(in_seconds(entry_of(node) for node in MergedTree(both).walk())) == shown
