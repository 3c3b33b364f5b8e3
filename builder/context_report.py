"""What makes a build context big: its largest directories and files, and what to leave out.

A pure function over the walk of a context (``builder.scan``), with a walk without the ignore file
beside it to tell what that file saves.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from records import Record

if TYPE_CHECKING:
    import os

    from builder.scan import Listings

LARGEST: Final = 10
"""Directories, and files, that a report lists."""
WORTH: Final = 1 << 20
"""Bytes from which leaving something out is worth a line."""

KNOWN: Final[Mapping[str, str]] = {
    ".git": "history is not needed to build; for a version, pass it with --build-arg",
    ".hg": "history is not needed to build",
    ".svn": "history is not needed to build",
    "node_modules": "packages are installed in the image: RUN npm ci",
    "bower_components": "packages are installed in the image",
    ".venv": "a virtual environment works only where it was made",
    "venv": "a virtual environment works only where it was made",
    "__pycache__": "compiled files are made anew",
    ".mypy_cache": "a cache",
    ".pytest_cache": "a cache",
    ".ruff_cache": "a cache",
    ".tox": "a cache",
    ".nox": "a cache",
    ".cache": "a cache",
    ".gradle": "a cache",
    ".next": "built in the image, or a cache",
    ".terraform": "downloaded again by terraform init",
    "target": "what cargo or maven build is built in the image",
    ".idea": "settings of an editor",
    ".vscode": "settings of an editor",
}
"""Directories that few images need, and why."""
SUFFIXES: Final[Mapping[str, str]] = {
    ".log": "a log",
    ".tar": "an archive, perhaps of an image",
    ".iso": "a disk image",
    ".qcow2": "a disk image",
    ".vmdk": "a disk image",
    ".dump": "a dump",
    ".sqlite3": "a database",
    ".mp4": "a video",
}
"""Files that few images need, once they are large."""


class Sized(Record):
    """A path, the bytes of all files at or below it, and how many they are."""

    path: str
    size: int
    files: int


class Suggestion(Record):
    """A line for the ignore file: what it saves, and why it may."""

    pattern: str
    saves: Sized
    why: str


class ContextReport(Record):
    """Sizes in bytes; every list has the largest first.

    ``excluded`` is what the ignore file ``ignore_name`` leaves out already; a directory of which
    something is taken back in is told by its parts.
    """

    root: str
    size: int
    files: int
    directories: tuple[Sized, ...]
    largest: tuple[Sized, ...]
    excluded: tuple[Sized, ...]
    excluded_size: int
    excluded_files: int
    suggestions: tuple[Suggestion, ...]
    ignore_name: str = ""


def report_context(
    root: str, visible: Listings, everything: Listings, *, ignore_name: str = ""
) -> ContextReport:
    """The report of a walk that saw ``visible``, of what one without ignore file saw."""
    seen, whole = _sizes(visible), _sizes(everything)
    total = seen.get("", Sized("", 0, 0))
    every = whole.get("", Sized("", 0, 0))
    directories = _largest(it for path, it in seen.items() if path in visible and path)
    files = _largest(it for path, it in seen.items() if path not in visible)
    hidden = _largest(_hidden(seen, whole))
    return ContextReport(
        root,
        total.size,
        total.files,
        directories,
        files,
        hidden,
        every.size - total.size,
        every.files - total.files,
        tuple(_suggestions(seen, visible)),
        ignore_name,
    )


def report_json(report: ContextReport) -> dict[str, Any]:
    """The report as JSON values."""
    return {
        "context": report.root,
        "size": report.size,
        "files": report.files,
        "directories": [_plain(it) for it in report.directories],
        "largest": [_plain(it) for it in report.largest],
        "ignoreFile": report.ignore_name or None,
        "excluded": {
            "size": report.excluded_size,
            "files": report.excluded_files,
            "paths": [_plain(it) for it in report.excluded],
        },
        "suggestions": [
            {"pattern": it.pattern, "saves": _plain(it.saves), "why": it.why}
            for it in report.suggestions
        ],
    }


def report_text(report: ContextReport) -> str:
    """The report for people."""
    lines = [f"{report.root}: {human(report.size)} in {_count(report.files)}"]
    for title, found in (
        ("largest directories", report.directories),
        ("largest files", report.largest),
    ):
        if found:
            lines += ["", f"{title}:", *_table(found)]
    lines.append("")
    if report.excluded:
        size, files = human(report.excluded_size), _count(report.excluded_files)
        lines += [f"{report.ignore_name} leaves out {size} in {files}:", *_table(report.excluded)]
    elif report.ignore_name:
        lines.append(f"{report.ignore_name} leaves out nothing")
    else:
        lines.append("there is no .dockerignore")
    if report.suggestions:
        lines += ["", "lines worth adding to .dockerignore:"]
        for it in report.suggestions:
            saves = human(it.saves.size)
            lines.append(f"  {it.pattern:<24}  {saves:>9}  {it.why}")
    return "\n".join(lines) + "\n"


def human(size: int) -> str:
    """``1.2 MB``: powers of ten, as docker shows sizes."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{size} B" if unit == "B" else f"{value:.3g} {unit}"


def _sizes(listings: Listings) -> dict[str, Sized]:
    """Every path with the size of what it holds; links and special files weigh nothing."""
    found: dict[str, Sized] = {}
    # Deepest first, so that a directory's parts are known before itself.
    for path in sorted(listings, key=lambda it: it.count("/") + bool(it), reverse=True):
        size = files = 0
        for name, status in listings[path].items():
            child = f"{path}/{name}" if path else name
            if stat.S_ISREG(status.st_mode):
                found[child] = Sized(child, status.st_size, 1)
            part = found.get(child) or Sized(child, 0, _is_file(status))
            size, files = size + part.size, files + part.files
        found[path] = Sized(path, size, files)
    return found


def _is_file(status: os.stat_result) -> int:
    return 0 if stat.S_ISDIR(status.st_mode) else 1


def _hidden(seen: Mapping[str, Sized], whole: Mapping[str, Sized]) -> Iterator[Sized]:
    """What is in the whole alone, the topmost of each branch."""
    for path, it in whole.items():
        above = path.rpartition("/")[0]
        if path and path not in seen and (not above or above in seen):
            yield it


def _largest(found: Iterable[Sized]) -> tuple[Sized, ...]:
    ordered = sorted((it for it in found if it.size), key=lambda it: (-it.size, it.path))
    return tuple(ordered[:LARGEST])


def _suggestions(seen: Mapping[str, Sized], visible: Listings) -> Iterator[Suggestion]:
    """Known directories wherever they are, then large files of kinds that few images need."""
    saved: dict[str, list[Sized]] = {}
    for path, it in seen.items():
        name = path.rpartition("/")[2]
        if path in visible and name in KNOWN and not _below_known(path):
            saved.setdefault(name, []).append(it)
    made = []
    for name, found in saved.items():
        total = _sum(name, found)
        if total.size >= WORTH:
            deep = any("/" in it.path for it in found)
            made.append(Suggestion(f"**/{name}" if deep else name, total, KNOWN[name]))
    kinds: dict[str, list[Sized]] = {}
    for path, it in seen.items():
        suffix = path[path.rfind(".") :] if "." in path else ""
        if suffix in SUFFIXES and path not in visible and not _below_known(path):
            kinds.setdefault(suffix, []).append(it)
    for suffix, found in kinds.items():
        total = _sum(suffix, found)
        if total.size >= WORTH:
            made.append(Suggestion(f"**/*{suffix}", total, SUFFIXES[suffix]))
    yield from sorted(made, key=lambda it: (-it.saves.size, it.pattern))


def _below_known(path: str) -> bool:
    return any(part in KNOWN for part in path.split("/")[:-1])


def _sum(path: str, found: Iterable[Sized]) -> Sized:
    parts = list(found)
    return Sized(path, sum(it.size for it in parts), sum(it.files for it in parts))


def _table(found: Iterable[Sized]) -> list[str]:
    return [f"  {human(it.size):>9}  {_count(it.files):>12}  {it.path}" for it in found]


def _count(files: int) -> str:
    return f"{files} file" + ("" if files == 1 else "s")


def _plain(it: Sized) -> dict[str, Any]:
    return {"path": it.path, "size": it.size, "files": it.files}
