"""Content digests: what counts, what does not, and when a remembered digest is believed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.context import ContextTree
from builder.copying.request import CopyRequest
from builder.copying.tree import StageTree
from builder.digests import FORMAT, FileDigests, node_digest, selection_digest

LATER = 10_000_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "context"
    (directory / "sub/deep").mkdir(parents=True)
    (directory / "a.txt").write_text("a")
    (directory / "sub/b.txt").write_text("b")
    (directory / "sub/deep/c.md").write_text("c")
    (directory / "link").symlink_to("a.txt")
    return directory


def _digest(
    root: Path, *sources: str, exclude: tuple[str, ...] = (), owners: bool = False
) -> bytes:
    request = CopyRequest(sources or (".",), "/", exclude=exclude)
    tree = StageTree([root]) if owners else ContextTree(root)
    return selection_digest(request, tree, FileDigests(0, owners=owners))


CHANGES: dict[str, Callable[[Path], object]] = {
    "bytes": lambda root: (root / "a.txt").write_text("z"),
    "mode": lambda root: (root / "a.txt").chmod(0o600),
    "directory mode": lambda root: (root / "sub").chmod(0o700),
    "name": lambda root: (root / "a.txt").rename(root / "z.txt"),
    "new": lambda root: (root / "sub/new").write_text(""),
    "empty directory": lambda root: (root / "empty").mkdir(),
    "removed": lambda root: (root / "sub/deep/c.md").unlink(),
    "link": lambda root: ((root / "link").unlink(), (root / "link").symlink_to("sub")),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("exclude", [(), ("*.none",)])
def test_what_counts(root: Path, name: str, exclude: tuple[str, ...]) -> None:
    before = _digest(root, exclude=exclude)
    CHANGES[name](root)
    assert _digest(root, exclude=exclude) != before


def test_times_do_not_count(root: Path) -> None:
    before = _digest(root)
    os.utime(root / "a.txt", (1, 1))
    os.utime(root / "sub", (1, 1))
    assert _digest(root) == before


def test_what_is_excluded_does_not_count(root: Path) -> None:
    before = _digest(root, exclude=("**/*.md",))
    (root / "sub/deep/c.md").write_text("changed")
    assert _digest(root, exclude=("**/*.md",)) == before


def test_a_copied_directorys_own_mode_does_not_count(root: Path) -> None:
    before = _digest(root, "sub")
    (root / "sub").chmod(0o700)
    assert _digest(root, "sub") == before


def test_renaming_a_match_of_a_wildcard_counts(root: Path) -> None:
    before = _digest(root, "*.txt")
    (root / "a.txt").rename(root / "z.txt")
    assert _digest(root, "*.txt") != before


def test_the_order_of_sources_counts(root: Path) -> None:
    assert _digest(root, "a.txt", "sub") != _digest(root, "sub", "a.txt")


@pytest.mark.root
def test_owners_count_in_stages_alone(root: Path) -> None:
    context, stage = _digest(root), _digest(root, owners=True)
    os.chown(root / "a.txt", 5, 5)
    assert _digest(root) == context
    assert _digest(root, owners=True) != stage


def _file_digest(root: Path, files: FileDigests) -> bytes:
    tree = ContextTree(root)
    node = tree.lookup("a.txt")
    assert node is not None
    return node_digest(tree, node, files)


def _plant(path: Path, root: Path) -> None:
    """Remember a false digest, to see whether it is believed."""
    files = FileDigests(time.time_ns() + LATER)
    true = _file_digest(root, files)
    files.save(path)
    data = path.read_bytes()
    false = data[len(FORMAT) + 32 :].replace(true, b"\0" * 32)
    path.write_bytes(FORMAT + hashlib.sha256(false).digest() + false)


def test_an_old_file_is_hashed_once(root: Path, tmp_path: Path) -> None:
    store = tmp_path / "digests/one"
    _plant(store, root)
    assert _file_digest(root, FileDigests.load(store, 0)) == b"\0" * 32


def test_a_changed_file_is_hashed_again(root: Path, tmp_path: Path) -> None:
    store = tmp_path / "one"
    _plant(store, root)
    status = (root / "a.txt").stat()
    time.sleep(0.02)
    (root / "a.txt").write_text("z")
    os.utime(root / "a.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    found = _file_digest(root, FileDigests.load(store, 0))
    assert found == _file_digest(root, FileDigests(0))


def test_a_fresh_file_counts_for_this_build_alone(root: Path, tmp_path: Path) -> None:
    store = tmp_path / "one"
    (root / "a.txt").write_text("fresh")
    files = FileDigests(time.time_ns() - LATER)
    first = _file_digest(root, files)
    node = ContextTree(root).lookup("a.txt")
    assert node is not None
    assert files.known(node) == first
    files.save(store)
    assert not store.exists()


@pytest.mark.parametrize("damage", [b"", b"foreign", FORMAT + b"\0" * 40])
def test_a_damaged_memory_counts_as_empty(root: Path, tmp_path: Path, damage: bytes) -> None:
    store = tmp_path / "one"
    store.write_bytes(damage)
    assert _file_digest(root, FileDigests.load(store, 0)) == _file_digest(root, FileDigests(0))


def test_many_large_files_are_hashed_in_threads(root: Path) -> None:
    for number in range(4):
        (root / f"big{number}").write_bytes(bytes([number]) * (3 << 20))
    whole = _digest(root)
    assert whole == _digest(root)
    (root / "big2").write_bytes(b"x" * (3 << 20))
    assert _digest(root) != whole


def test_a_file_that_cannot_be_read_is_an_error(root: Path) -> None:
    tree = ContextTree(root)
    node = tree.lookup("a.txt")
    assert node is not None
    (root / "a.txt").unlink()
    with pytest.raises(FileNotFoundError):
        node_digest(tree, node, FileDigests(0))


def test_what_was_hashed_is_what_is_copied(root: Path) -> None:
    tree = ContextTree(root)
    files = FileDigests(time.time_ns())
    files.contents = tree.contents
    (node,) = (node for node in tree.walk() if node.is_file and node.path.endswith("a.txt"))
    before = Path(node.real).read_bytes()
    selection_digest(CopyRequest((".",), "/app/"), tree, files)
    Path(node.real).write_bytes(b"x" * len(before))
    with tree.entry(node, "app").open_source() as copied:
        assert copied.read() == before
