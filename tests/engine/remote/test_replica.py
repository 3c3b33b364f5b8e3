"""Contexts as lists, and the copies that are made of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from builder.inputs import LocalInputs
from engine.remote.errors import ChannelError, NodeError
from engine.remote.listing import ContextListing, Row, read_rows
from engine.remote.replica import UNUSED_SECONDS, replica


def send(context: Path, base: Path, *, ignore: bytes | None = None) -> tuple[Path, list[str]]:
    """Bring the replica up to date; returns where it is and which files had to be sent."""
    listing = ContextListing(LocalInputs(str(context), ignore), base.parent / "state")
    rows = listing.rows()
    with replica(base, "client", str(context)) as copy:
        wanted = copy.begin(read_rows([list(row) for row in rows]))
        copy.complete(wanted, listing.contents(wanted))
        return copy.files, [rows[number].path for number in wanted]


def tree(root: Path) -> dict[str, tuple[int, int, object]]:
    """Everything below, by path: mode, time, content."""
    found: dict[str, tuple[int, int, object]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = (
                path.read_bytes(),
                {name: os.getxattr(path, name) for name in os.listxattr(path)},
            )
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, content)
    return found


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "sub/deep").mkdir(parents=True)
    (folder / "a").write_bytes(b"alpha" * 300_000)
    (folder / "sub/b").write_text("beta")
    (folder / "sub/deep/empty").touch()
    (folder / "sub/run").write_text("#!/bin/sh\n")
    (folder / "sub/run").chmod(0o4755)
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "odd\nname \udcff").write_text("odd")
    os.mkfifo(folder / "pipe", 0o640)
    os.utime(folder / "sub/b", (1_500_000_000, 1_500_000_000))
    return folder


def test_a_replica_is_the_context(context: Path, tmp_path: Path) -> None:
    files, sent = send(context, tmp_path / "replicas")
    assert tree(files) == tree(context)
    assert len(sent) == 5
    assert send(context, tmp_path / "replicas")[1] == []


def test_only_what_changed_is_sent_again(context: Path, tmp_path: Path) -> None:
    send(context, tmp_path / "replicas")
    (context / "sub/b").write_text("BETA")
    (context / "sub").chmod(0o700)
    (context / "sub/run").unlink()
    (context / "sub/run").mkdir()
    (context / "sub/run/inside").write_text("now a directory")
    (context / "link").unlink()
    (context / "link").write_text("now a file")
    files, sent = send(context, tmp_path / "replicas")
    assert tree(files) == tree(context)
    assert sorted(sent) == ["link", "sub/b", "sub/run/inside"]


def test_what_is_ignored_does_not_travel(context: Path, tmp_path: Path) -> None:
    files, _ = send(context, tmp_path / "replicas", ignore=b"sub\n!sub/deep\n")
    assert sorted(path for path in tree(files) if path.startswith("sub")) == [
        "sub",
        "sub/deep",
        "sub/deep/empty",
    ]


def test_a_replica_that_was_broken_off_is_made_anew(context: Path, tmp_path: Path) -> None:
    files, _ = send(context, tmp_path / "replicas")
    listing = ContextListing(LocalInputs(str(context), None), tmp_path / "state")
    with replica(tmp_path / "replicas", "client", str(context)) as copy:
        copy.begin(listing.rows())
        (copy.files / "a").write_text("half")
    _, sent = send(context, tmp_path / "replicas")
    assert len(sent) == 5
    assert tree(files) == tree(context)


def test_two_sessions_of_one_context_do_not_share_it(context: Path, tmp_path: Path) -> None:
    with replica(tmp_path / "replicas", "client", str(context)) as first:
        second, _ = send(context, tmp_path / "replicas")
        assert second != first.files
    assert not second.exists()


def test_what_a_replica_has_lost_is_sent_again(context: Path, tmp_path: Path) -> None:
    files, _ = send(context, tmp_path / "replicas")
    (files / "sub/b").unlink()
    (files / "a").write_bytes(b"short")
    assert send(context, tmp_path / "replicas") == (files, ["a", "sub/b"])
    assert tree(files) == tree(context)


def test_replicas_that_nobody_used_for_long_go(context: Path, tmp_path: Path) -> None:
    base = tmp_path / "replicas"
    files, _ = send(context, base)
    long_ago = time.time() - UNUSED_SECONDS - 60
    for name in ("forgotten", "once-killed"):
        (base / name / "files").mkdir(parents=True)
        os.utime(base / name, (long_ago, long_ago))
    send(context, base)
    assert list(base.iterdir()) == [files.parent]


def test_a_file_that_shrinks_is_told(context: Path, tmp_path: Path) -> None:
    listing = ContextListing(LocalInputs(str(context), None), tmp_path / "state")
    number = [row.path for row in listing.rows()].index("a")
    (context / "a").write_bytes(b"short")
    with pytest.raises(NodeError, match="became shorter"):
        list(listing.contents([number]))


def row(path: str, kind: str = "f", **changes: object) -> list[object]:
    made = Row(path, kind, 0o644, 0, 0, "", {})
    return list(made._replace(**changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rows",
    [
        [row("../x")],
        [row("/etc/passwd")],
        [row("")],
        [row("a/./b")],
        [row("a\0b")],
        [row("a/b")],
        [row("a", "l", content="/etc"), row("a/passwd")],
        [row("a"), row("a/b")],
        [row("a"), row("a")],
        [row("a", "c")],
        [row("a", mode=0o10000)],
        [row("a", size=-1)],
        [row("a", size=True)],
        [row("a", xattrs=[])],
        [["a", "f"]],
        {"a": 1},
        None,
    ],
)
def test_a_list_that_leads_elsewhere_is_refused(rows: object) -> None:
    with pytest.raises(ChannelError):
        read_rows(rows)


def test_a_link_in_a_replica_leads_nowhere(tmp_path: Path) -> None:
    """Even if the list were believed, nothing is written through what lies there."""
    outside = tmp_path / "outside"
    outside.mkdir()
    with replica(tmp_path / "replicas", "client", "x") as copy:
        copy.begin(read_rows([row("d", "d", mode=0o755)]))
        copy.complete([], iter(()))
        (copy.files / "d").rmdir()
        (copy.files / "d").symlink_to(outside)
        rows = read_rows([row("d", "d", mode=0o755), row("d/f", size=1)])
        with pytest.raises(OSError, match="symbolic links"):
            copy.complete(copy.begin(rows), iter([b"x"]))
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"12"])
def test_fewer_or_more_bytes_than_listed(tmp_path: Path, data: bytes) -> None:
    with replica(tmp_path / "replicas", "client", "x") as copy:
        wanted = copy.begin(read_rows([row("f", size=1)]))
        with pytest.raises(ChannelError, match="than it listed"):
            copy.complete(wanted, iter([data] if data else []))
