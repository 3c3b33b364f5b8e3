"""The build context: what is visible, what stays inside, and what errors say."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from builder.context import ContextTree
from builder.errors import BuildEnvironmentError, BuildInputError
from builder.ignore import IgnorePatterns
from builder.scan import DEPTH_LIMIT
from tests.builder.copying_kit import context, make


def visible(tree: ContextTree) -> list[str]:
    return [node.path + ("/" if node.is_dir else "") for node in tree.walk()]


def test_everything_is_visible_without_patterns(tmp_path: Path) -> None:
    tree = context(tmp_path)
    assert visible(tree) == [
        "a.txt",
        "b.txt",
        "dir/",
        "dir/sub/",
        "dir/sub/y",
        "dir/x",
        "dlink",
        "empty/",
        "link",
    ]


def test_hidden_directories_show_where_something_is_taken_back(tmp_path: Path) -> None:
    files = {"a/b/c": "1", "a/b/d": "2", "a/e/f": "3", "g/h": "4", "i/": None}
    tree = context(tmp_path, files, ignore="a\n!a/b/c\ni\n!i/nothing\n")
    assert visible(tree) == ["a/", "a/b/", "a/b/c", "g/", "g/h"]


def test_pruned_directories_are_not_entered(tmp_path: Path) -> None:
    tree = context(tmp_path, {"a/b": "", "node_modules/x/y": ""}, ignore="node_modules\n!a\n")
    forbidden = tree.root + "/node_modules"
    opened: list[str] = []
    real_open = os.open

    def watch(path: object, flags: int, *rest: int, **named: int) -> int:
        opened.append(str(path))
        return real_open(path, flags, *rest, **named)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", watch)
        assert visible(tree) == ["a/", "a/b"]
    assert opened
    assert not any(path.endswith("node_modules") for path in opened), forbidden


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("dir/x", "dir/x"),
        ("/dir//./x", "dir/x"),
        ("dlink/x", "dir/x"),
        ("dlink", "dir"),
        ("link", "a.txt"),
        ("../../a.txt", "a.txt"),
        ("dir/../../a.txt", "a.txt"),
        ("", ""),
        ("nope", None),
        ("a.txt/x", None),
    ],
)
def test_lookup(tmp_path: Path, path: str, found: str | None) -> None:
    node = context(tmp_path).lookup(path)
    assert (node.path if node is not None else None) == found


@pytest.mark.parametrize(
    "target",
    ["../../secret", "/secret", "../secret", "/../../secret", "/proc/self/root/etc/passwd"],
)
def test_links_do_not_leave_the_context(tmp_path: Path, target: str) -> None:
    (tmp_path / "secret").write_text("outside")
    tree = context(tmp_path, {"out": f"-> {target}", "d": f"-> {Path(target).parent}"})
    assert tree.lookup("out") is None
    assert tree.lookup("d/secret") is None


def test_absolute_links_are_relative_to_the_context(tmp_path: Path) -> None:
    tree = context(
        tmp_path, {"secret": "inside", "d/out": "-> /secret", "d/up": "-> ../../../secret"}
    )
    for path in ("d/out", "d/up"):
        node = tree.lookup(path)
        assert node is not None
        with tree.open(node) as file:
            assert file.read() == b"inside"


def test_loops_end(tmp_path: Path) -> None:
    tree = context(tmp_path, {"a": "-> b", "b": "-> a"})
    with pytest.raises(BuildInputError, match="too many levels of symbolic links"):
        tree.lookup("a")
    node = tree.lookup("a", follow=False)
    assert node is not None
    assert node.is_symlink


def test_hidden_targets_stay_hidden_behind_links(tmp_path: Path) -> None:
    tree = context(tmp_path, {"secret": "s", "link": "-> secret"}, ignore="secret\n")
    assert tree.lookup("link") is None


def test_a_file_swapped_for_a_link_after_the_scan_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    tree = context(tmp_path, {"d/f": "inside", "g": "inside"})
    inner, plain = tree.lookup("d/f"), tree.lookup("g")
    assert inner is not None
    assert plain is not None
    os.rename(f"{tree.root}/d", f"{tree.root}/old")
    os.symlink(tmp_path, f"{tree.root}/d")
    os.unlink(f"{tree.root}/g")
    os.symlink(tmp_path / "secret", f"{tree.root}/g")
    for node in (inner, plain):
        with pytest.raises(OSError, match=r"Too many levels|Invalid cross-device"):
            tree.open(node)
    with pytest.raises(OSError, match="Too many levels"):
        tree.entry(plain, "g").open_source()


def test_sockets_are_left_out_and_fifos_kept(tmp_path: Path) -> None:
    tree = context(tmp_path, {"f": ""})
    os.mkfifo(f"{tree.root}/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(f"{tree.root}/sock"))
        assert visible(tree) == ["f", "pipe"]
    node = tree.lookup("pipe")
    assert node is not None
    assert tree.entry(node, "p").kind == "p"


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    root = make(tmp_path / "context", {})
    raw = os.fsencode(root) + b"/\xff.txt"
    with open(raw, "wb") as file:
        file.write(b"x")
    tree = ContextTree(root)
    assert [os.fsencode(node.path) for node in tree.walk()] == [b"\xff.txt"]


def test_files_belong_to_root_and_keep_the_rest(tmp_path: Path) -> None:
    tree = context(tmp_path, {"f": "12345"})
    os.chmod(f"{tree.root}/f", 0o4750)
    os.utime(f"{tree.root}/f", ns=(1, 1_234_567_890_123_456_789))
    node = tree.lookup("f")
    assert node is not None
    entry = tree.entry(node, "new/name")
    assert (entry.path, entry.uid, entry.gid, entry.mode, entry.size) == (
        "new/name",
        0,
        0,
        0o4750,
        5,
    )
    assert entry.mtime == 1_234_567_890_123_456_789


def test_depth_is_limited(tmp_path: Path) -> None:
    root = make(tmp_path / "context", {})
    fd = os.open(root, os.O_RDONLY)
    for _ in range(DEPTH_LIMIT + 2):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    with pytest.raises(BuildInputError, match="nested deeper"):
        ContextTree(root).directories  # noqa: B018 - the scan is what is tested


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_directories_are_named(tmp_path: Path) -> None:
    tree = context(tmp_path, {"d/f": ""})
    os.chmod(f"{tree.root}/d", 0)
    try:
        with pytest.raises(BuildEnvironmentError, match="Permission denied"):
            tree.lookup("a")
    finally:
        os.chmod(f"{tree.root}/d", 0o755)


def test_a_context_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(BuildEnvironmentError, match="cannot read the build context"):
        ContextTree(tmp_path / "gone").lookup("a")


@pytest.mark.parametrize(
    ("path", "why", "fix"),
    [
        ("x.log", "excluded by .dockerignore line 2 (*.log)", "!x.log"),
        ("d/deep/f", "excluded by .dockerignore line 3 (d)", "!d/deep/f"),
        ("y.log", " in the build context", "the context is"),
        ("srce/main.c", " in the build context", "did you mean src/main.c?"),
        ("src/mian.c", " in the build context", "did you mean src/main.c?"),
        ("../up", " in the build context", "nothing above its root"),
        ("zzzzzz", " in the build context", "the context is"),
    ],
)
def test_absence_is_explained(tmp_path: Path, path: str, why: str, fix: str) -> None:
    files = {"x.log": "", "d/deep/f": "", "src/main.c": ""}
    tree = context(tmp_path, files, ignore="# noise\n*.log\nd\n")
    found_why, found_fix = tree.absence(path)
    assert found_why.endswith(why)
    assert found_fix is not None
    assert fix in found_fix


def test_the_ignore_file_is_called_by_its_name(tmp_path: Path) -> None:
    root = make(tmp_path / "context", {"f": ""})
    tree = ContextTree(root, IgnorePatterns.parse("f"), ignore_name="web.dockerignore")
    assert "excluded by web.dockerignore line 1 (f)" in tree.absence("f")[0]
