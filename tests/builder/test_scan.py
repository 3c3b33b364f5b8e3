"""Scans of a context: what makes two of them differ, and when one can be trusted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.context import ContextTree
from builder.ignore import IgnorePatterns
from builder.scan import COARSE_TICK_NS, FINE_TICK_NS, ContextScan, scan_context

LATER = 10_000_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "sub/b.txt").write_text("b")
    (tmp_path / "link").symlink_to("a.txt")
    return tmp_path


def _digest(root: Path, patterns: str = "") -> str:
    ignore = IgnorePatterns.parse(patterns)
    scan = scan_context(str(root), now_ns=0, ignored=ignore.matches, may_prune=ignore.may_prune)
    return scan.digest


def _same_size_and_mtime(root: Path) -> None:
    path = root / "a.txt"
    status = path.stat()
    path.write_text("z")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: (root / "a.txt").write_text("longer"),
    "content behind the same size and mtime": _same_size_and_mtime,
    "mode": lambda root: (root / "sub/b.txt").chmod(0o600),
    "new file": lambda root: (root / "sub/c").write_text(""),
    "new directory": lambda root: (root / "empty").mkdir(),
    "removed": lambda root: (root / "sub/b.txt").unlink(),
    "renamed": lambda root: (root / "a.txt").rename(root / "c.txt"),
    "directory mode": lambda root: (root / "sub").chmod(0o700),
    "link target": lambda root: (
        (root / "link").unlink(),
        (root / "link").symlink_to("sub"),
    ),
    "replaced": lambda root: os.replace(_copy(root / "a.txt"), root / "a.txt"),
}


def _copy(path: Path) -> Path:
    other = path.with_name("copy")
    other.write_bytes(path.read_bytes())
    return other


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_changes_the_digest(root: Path, name: str) -> None:
    before = _digest(root)
    time.sleep(FINE_TICK_NS / 1e9)
    CHANGES[name](root)
    assert _digest(root) != before


def test_nothing_changed(root: Path) -> None:
    before = _digest(root)
    (root / "a.txt").read_text()
    assert _digest(root) == before


def test_ignored_files_do_not_count(root: Path) -> None:
    before = _digest(root, "sub")
    (root / "sub/b.txt").write_text("changed")
    (root / "sub/new").write_text("new")
    assert _digest(root, "sub") == before


def test_files_taken_back_in_count(root: Path) -> None:
    patterns = "sub\n!sub/b.txt\n"
    before = _digest(root, patterns)
    (root / "sub/other").write_text("ignored")
    assert _digest(root, patterns) == before
    time.sleep(FINE_TICK_NS / 1e9)
    (root / "sub/b.txt").write_text("changed")
    assert _digest(root, patterns) != before


def test_names_with_odd_bytes(root: Path) -> None:
    os.mkdir(os.fsencode(root) + b"/\xff\n")
    assert _digest(root) == _digest(root)


def test_a_scan_right_after_a_change_is_not_settled() -> None:
    now = 1_000_000_000_123
    assert not ContextScan("", now - 1_000_000, now, False, {}).settled
    assert ContextScan("", now - FINE_TICK_NS - 1, now, False, {}).settled
    assert not ContextScan("", now - FINE_TICK_NS - 1, now, True, {}).settled
    assert ContextScan("", now - COARSE_TICK_NS - 1, now, True, {}).settled


def test_a_change_in_the_future_is_not_settled(root: Path) -> None:
    scan = scan_context(str(root), now_ns=0)
    assert not scan.settled
    assert scan_context(str(root), now_ns=time.time_ns() + LATER).settled


def test_the_mode_of_a_hidden_directory_counts_where_something_in_it_is_visible(
    root: Path,
) -> None:
    patterns = "sub\n!sub/b.txt\n"
    before = _digest(root, patterns), _digest(root, "sub\n!nothing\n")
    (root / "sub").chmod(0o700)
    assert _digest(root, patterns) != before[0]
    assert _digest(root, "sub\n!nothing\n") == before[1]


def test_times_that_no_word_can_hold(root: Path) -> None:
    os.utime(root / "a.txt", ns=(0, -(10**9)))
    early = _digest(root)
    os.utime(root / "a.txt", ns=(0, 10**19))
    assert _digest(root) != early


def test_a_tree_starts_from_the_walk_that_was_made(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = scan_context(str(root), now_ns=0)
    (root / "late").write_text("after the walk")
    monkeypatch.setattr(os, "scandir", None)
    tree = ContextTree(root, scan=lambda: scan)
    assert [node.path for node in tree.walk()] == ["a.txt", "link", "sub", "sub/b.txt"]
