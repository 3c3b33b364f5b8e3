"""Small trees on disk, and plans over them in a form that is easy to compare."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from builder.context import ContextTree
from builder.copying.plan import plan_copy
from builder.copying.request import CopyRequest
from builder.ignore import IgnorePatterns
from images.layers.entry import Entry
from images.layers.merged import MergedTree

NOW = 1_700_000_000_000_000_000

STANDARD: Mapping[str, str | None] = {
    "a.txt": "A",
    "b.txt": "B",
    "dir/x": "X",
    "dir/sub/y": "Y",
    "empty/": None,
    "link": "-> a.txt",
    "dlink": "-> dir",
}


def make(root: Path, files: Mapping[str, str | None]) -> Path:
    """Create files (text), directories (a name with a slash) and links (``-> target``)."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.mkdir(exist_ok=True)
        elif text.startswith("-> "):
            path.symlink_to(text.removeprefix("-> "))
        else:
            path.write_text(text)
            path.chmod(0o644)
    return root


def context(
    root: Path, files: Mapping[str, str | None] = STANDARD, ignore: str = ""
) -> ContextTree:
    """A build context of its own below ``root``."""
    return ContextTree(make(root / "context", files), IgnorePatterns.parse(ignore))


def base(root: Path, files: Mapping[str, str | None]) -> MergedTree:
    """A base of one layer."""
    return MergedTree([make(root / "base", files)])


def request(*sources: str, to: str, **options: object) -> CopyRequest:
    """A request with a fixed time."""
    return CopyRequest(sources, to, created=NOW, **options)  # type: ignore[arg-type]


def copied(
    root: Path, wanted: CopyRequest, files: Mapping[str, str | None] = STANDARD, *, ignore: str = ""
) -> list[str]:
    """The plan of a COPY from a context onto nothing, one line per entry."""
    return lines(plan_copy(wanted, context(root, files, ignore), MergedTree([])))


def lines(entries: list[Entry]) -> list[str]:
    """``path`` with ``/`` for directories, ``=text`` for files, ``-> target`` and ``=> first
    name``.
    """
    out = []
    for entry in entries:
        match entry.kind:
            case "d":
                out.append(f"{entry.path}/")
            case "l":
                out.append(f"{entry.path} -> {entry.linkname}")
            case "h":
                out.append(f"{entry.path} => {entry.linkname}")
            case "p":
                out.append(f"{entry.path}|")
            case _:
                with entry.open_source() as stream:
                    out.append(f"{entry.path}={stream.read().decode()}")
    return out


def by_path(entries: list[Entry]) -> dict[str, Entry]:
    return {entry.path: entry for entry in entries}


def am_root() -> bool:
    return os.geteuid() == 0
