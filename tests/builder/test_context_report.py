"""What makes a context big: sizes add up, what is left out is told, advice is given once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.context_report import ContextReport, Sized, human, report_json, report_text
from builder.errors import BuildInputError
from builder.request import BuildRequest
from engine.builds.sources.reporting import report_of

MB = 1 << 20


def report(root: Path, files: Mapping[str, int], ignore: str | None = None) -> ContextReport:
    """The report of a context of files of these sizes."""
    for name, size in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size)
    if ignore is not None:
        (root / ".dockerignore").write_text(ignore)
    return report_of(BuildRequest(root, b"FROM scratch\n"))


def test_sizes_add_up(tmp_path: Path) -> None:
    made = report(tmp_path, {"a/b/x": 10, "a/y": 5, "z": 100})
    assert (made.size, made.files) == (115, 3)
    assert made.directories == (Sized("a", 15, 2), Sized("a/b", 10, 1))
    assert [it.path for it in made.largest] == ["z", "a/b/x", "a/y"]


def test_links_weigh_nothing_and_are_counted(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "up").symlink_to("..")
    made = report(tmp_path, {"x": 1})
    assert (made.size, made.files) == (1, 3)


def test_what_is_left_out_is_told_by_its_top(tmp_path: Path) -> None:
    files = {"build/a/b": 40, "build/c": 2, "kept": 1, "logs/x.log": 7, "logs/keep.log": 3}
    made = report(tmp_path, files, "build\n*/*.log\n!logs/keep.log\n")
    assert made.excluded == (Sized("build", 42, 2), Sized("logs/x.log", 7, 1))
    assert (made.excluded_size, made.excluded_files) == (49, 3)
    assert made.size == 4 + len("build\n*/*.log\n!logs/keep.log\n")


def test_known_directories_are_suggested(tmp_path: Path) -> None:
    files = {
        "web/node_modules/a/node_modules/b/x": 3 * MB,
        "lib/node_modules/y": MB,
        ".git/objects/pack": 2 * MB,
        "target/debug/out.log": 2 * MB,
        ".venv/tiny": 10,
        "images/disk.iso": 5 * MB,
        "a.log": 10,
    }
    made = report(tmp_path, files)
    found = {it.pattern: it.saves.size for it in made.suggestions}
    assert found == {
        "**/*.iso": 5 * MB,
        "**/node_modules": 4 * MB,
        ".git": 2 * MB,
        "target": 2 * MB,
    }
    assert [*found] == ["**/*.iso", "**/node_modules", ".git", "target"], "the largest first"


def test_suggestions_do_what_they_say(tmp_path: Path) -> None:
    files = {"a/node_modules/x": 2 * MB, ".git/pack": MB, "kept": 1}
    before = report(tmp_path, files)
    lines = "\n".join(it.pattern for it in before.suggestions)
    after = report(tmp_path, files, f"{lines}\n.dockerignore\n")
    assert after.size == 1
    assert after.suggestions == ()


def test_text_and_json_say_the_same(tmp_path: Path) -> None:
    made = report(tmp_path, {"node_modules/x": 2 * MB, "out/y": 3}, "out\n")
    text, document = report_text(made), report_json(made)
    assert text.startswith(f"{tmp_path}: 2.1 MB in 2 files\n")
    assert ".dockerignore leaves out 3 B in 1 file:" in text
    assert "node_modules" in text.partition("lines worth adding")[2]
    assert document["excluded"]["paths"] == [{"path": "out", "size": 3, "files": 1}]
    assert document["suggestions"][0]["pattern"] == "node_modules"


def test_an_empty_context(tmp_path: Path) -> None:
    made = report(tmp_path, {})
    assert (made.size, made.directories, made.suggestions) == (0, (), ())
    assert "there is no .dockerignore" in report_text(made)
    with pytest.raises(BuildInputError, match="there is no build context"):
        report_of(BuildRequest(None, b"FROM scratch\n"))


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1.23 MB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert human(size) == text
