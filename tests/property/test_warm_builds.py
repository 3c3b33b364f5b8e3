"""A build after an edit gives what a first build on an empty machine gives, byte for byte."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from builder.api import build
from builder.bases import StoreResolver
from builder.progress.tracker import Tracker
from builder.request import BuildRequest
from images.layers.compress import BLOCK
from images.store import ImageStore
from tests.builder.fakes import FakeRunner, RecordingProgress

DOCKERFILE = b"FROM scratch\nCOPY . /app\n"
SIZES = (0, 1, 511, 512, 4000, BLOCK // 3, BLOCK // 2, BLOCK + 700)


def _files(context: Path) -> list[Path]:
    return sorted(path for path in context.rglob("*") if path.is_file() and not path.is_symlink())


def _add(context: Path, source: Random) -> None:
    folder = context / source.choice(("", "a", "b", "b/c", "ü"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{source.choice('klmnop')}{source.randrange(9)}"
    if not path.is_dir():
        path.write_bytes(source.randbytes(source.choice(SIZES)))


def _remove(context: Path, source: Random) -> None:
    if files := _files(context):
        source.choice(files).unlink()


def _rename(context: Path, source: Random) -> None:
    if files := _files(context):
        path = source.choice(files)
        path.rename(path.with_name(f"r{source.randrange(9)}"))


def _move_directory(context: Path, source: Random) -> None:
    if (context / "b").is_dir() and not (context / "z").exists():
        (context / "b").rename(context / "z")


def _chmod(context: Path, source: Random) -> None:
    if files := _files(context):
        source.choice(files).chmod(source.choice((0o600, 0o644, 0o755, 0o4711)))


def _touch(context: Path, source: Random) -> None:
    if files := _files(context):
        time = source.randrange(2**31)
        os.utime(source.choice(files), (time, time))


def _rewrite(context: Path, source: Random) -> None:
    if files := _files(context):
        path = source.choice(files)
        path.write_bytes(source.randbytes(path.stat().st_size))


def _rewrite_unseen(context: Path, source: Random) -> None:
    """Of the same size, and with the time put back."""
    if files := _files(context):
        path = source.choice(files)
        before = path.stat()
        path.write_bytes(source.randbytes(before.st_size))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _resize(context: Path, source: Random) -> None:
    if files := _files(context):
        source.choice(files).write_bytes(source.randbytes(source.choice(SIZES)))


def _link(context: Path, source: Random) -> None:
    path = context / f"s{source.randrange(3)}"
    path.unlink(missing_ok=True)
    path.symlink_to(source.choice(("a", "nowhere", "b/c")))


def _hard_link(context: Path, source: Random) -> None:
    path = context / f"h{source.randrange(3)}"
    if (files := _files(context)) and not path.exists():
        path.hardlink_to(source.choice(files))


EDITS: tuple[Callable[[Path, Random], None], ...] = (
    _add,
    _remove,
    _rename,
    _move_directory,
    _chmod,
    _touch,
    _rewrite,
    _rewrite_unseen,
    _resize,
    _link,
    _hard_link,
)


def _layers(context: Path, root: Path) -> tuple[list[str], list[str]]:
    """What a build in the store at ``root`` makes: blobs and diff ids."""
    with closing(ImageStore.open(root)) as store:
        result = build(
            BuildRequest(context, DOCKERFILE),
            store=store,
            resolver=StoreResolver(store),
            runner=FakeRunner(),
            tracker=Tracker(RecordingProgress()),
        )
        image = store.image(result.descriptor)
        return (
            [str(layer.digest) for layer in image.manifest.layers],
            [str(diff_id) for diff_id in image.config.diff_ids],
        )


@given(st.integers(0, 2**32), st.lists(st.sampled_from(EDITS), min_size=1, max_size=4))
@settings(max_examples=15, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_a_warm_build_gives_what_a_cold_one_does(
    seed: int, edits: list[Callable[[Path, Random], None]]
) -> None:
    source = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        context, warm = Path(folder, "context"), Path(folder, "warm")
        for _ in range(12):
            _add(context, source)
        (context / "always").write_text("here")
        _layers(context, warm)
        for number, edit in enumerate(edits):
            edit(context, source)
            # A new time alone would be answered from the cache, with the old one.
            (context / "always").write_text(f"here {number}")
            assert _layers(context, warm) == _layers(context, Path(folder, f"cold{number}"))


def _two_blobs(root: Path) -> Path:
    return max((root / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("damage", ["bytes", "length", "gone"])
def test_a_damaged_layer_is_not_built_upon(tmp_path: Path, damage: str) -> None:
    context, warm = tmp_path / "context", tmp_path / "warm"
    context.mkdir()
    for number in range(8):
        (context / f"file{number}").write_bytes(Random(number).randbytes(BLOCK // 2))
    _layers(context, warm)
    blob = _two_blobs(warm)
    content = bytearray(blob.read_bytes())
    if damage == "bytes":
        content[len(content) // 4] ^= 1
    blob.unlink()
    if damage != "gone":
        blob.write_bytes(content if damage == "bytes" else content[: BLOCK + 100])
    (context / "file7").write_bytes(Random(77).randbytes(BLOCK // 2))
    assert _layers(context, warm) == _layers(context, tmp_path / "cold")
