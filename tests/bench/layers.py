"""Layers in and out: pack (tar, two digests, gzip) and unpack, beside Python's tarfile and GNU tar.

``python -m tests.bench.layers [--quick] [--json FILE]``

``large`` is 400 MB of the machine's own /usr, ``small`` 20,000 files of 4 KB. Peers do less: they
hash nothing. Unpacking always goes into a fresh folder, because ext4 is slow to reuse inodes it has
just freed.
"""

from __future__ import annotations

import gzip
import itertools
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from images.blobs import BlobStore
from images.layers.entry import Entry
from images.layers.overlay_diff import scan_upper
from images.layers.pack import PackedLayer, pack_layer
from images.snapshots import unpack_layer
from tests.bench.harness import Case, main

MEGABYTE = 1 << 20
LARGE = 400 * MEGABYTE
QUICK_LARGE = 60 * MEGABYTE


def copy_of_usr(target: Path, size: int) -> Path:
    """About ``size`` bytes of /usr, so that every contestant sees the same warm files."""
    left = size
    for folder, _, names in os.walk("/usr"):
        for name in names:
            source = Path(folder, name)
            if source.is_symlink() or not source.is_file() or source.stat().st_size > left:
                continue
            destination = target / source.relative_to("/usr")
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, destination)
            left -= source.stat().st_size
            if left < MEGABYTE:
                return target
    return target


def small_files(target: Path, count: int) -> Path:
    """Many small files of text in folders of a hundred."""
    text = b"".join(b"line %d of a small source file\n" % n for n in range(140))
    for number in range(count):
        folder = target / f"package{number // 100}"
        if number % 100 == 0:
            folder.mkdir(parents=True)
        (folder / f"module{number}.py").write_bytes(b"# %d\n" % number + text)
    return target


class Bench:
    """One tree, packed once by us, and the contestants over it."""

    def __init__(self, work: Path, tree: Path) -> None:
        self.work = work
        self.tree = tree
        self.blobs = BlobStore(work / "store")
        self.entries: list[Entry] = list(scan_upper(tree))
        self.layer: PackedLayer = pack_layer(self.entries, self.blobs)
        self._numbers = itertools.count()

    def fresh(self) -> Path:
        target = self.work / f"out{next(self._numbers)}"
        target.mkdir()
        return target

    def forget(self) -> None:
        for digest in list(self.blobs.digests()):
            self.blobs.delete(digest)

    def pack(self, compression: str = "gzip") -> Callable[[], object]:
        return lambda: pack_layer(scan_upper(self.tree), self.blobs, compression=compression)

    def python_pack(self) -> None:
        with tarfile.open(self.fresh() / "a.tar.gz", "w:gz", compresslevel=6) as out:
            out.add(self.tree, arcname=".")

    def gnu_pack(self) -> None:
        target = self.fresh() / "a.tar.gz"
        subprocess.run(["tar", "-C", self.tree, "-czf", target, "."], check=True)

    def unpack(self) -> None:
        unpack_layer(self.layer.diff_id, self.layer.descriptor, self.blobs, self.fresh())

    def python_unpack(self) -> None:
        path = self.blobs.path(self.layer.descriptor.digest)
        with gzip.open(path) as plain, tarfile.open(fileobj=plain, mode="r|") as archive:
            archive.extractall(self.fresh(), filter="fully_trusted")

    def gnu_unpack(self) -> None:
        path = self.blobs.path(self.layer.descriptor.digest)
        subprocess.run(["tar", "-C", self.fresh(), "-xzf", path], check=True)

    def cases(self, name: str, runs: int) -> Iterator[Case]:
        size = self.layer.uncompressed_size / MEGABYTE
        label = f"{name}: {len(self.entries)} files, {size:.0f} MB"
        yield Case(
            f"unpack {label}",
            {"lading": self.unpack, "GNU tar": self.gnu_unpack, "tarfile": self.python_unpack},
            runs=runs,
        )
        yield Case(
            f"pack {label}",
            {
                "lading gzip": self.pack(),
                "lading zstd": self.pack("zstd"),
                "GNU tar": self.gnu_pack,
                "tarfile": self.python_pack,
            },
            prepare={"lading gzip": self.forget, "lading zstd": self.forget},
            runs=runs,
        )


def build(work: Path, *, quick: bool) -> Sequence[Case]:
    large = copy_of_usr(work / "large", QUICK_LARGE if quick else LARGE)
    small = small_files(work / "small", 2_000 if quick else 20_000)
    runs = 3
    found: list[Case] = []
    for name, tree in (("large", large), ("small", small)):
        folder = work / f"{name}-work"
        folder.mkdir()
        found.extend(Bench(folder, tree).cases(name, runs))
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="lading-bench-") as folder:
        main(lambda quick: build(Path(folder), quick=quick), __doc__ or "")
