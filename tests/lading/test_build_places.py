"""Places that nothing can be written to are told before a build begins, not after the push."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A context, a file and a directory in the working directory."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return folder


FLAGS = ("--iidfile", "--metadata-file", "--report", "--lock")


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("place", ["missing/x", "file/x", "folder"])
def test_files_that_cannot_be(lading: Run, context: Path, flag: str, place: str) -> None:
    status, out, err = lading("build", "-t", "app", flag, place, context)
    assert (status, out) == (1, "")
    assert f"lading: {place}: " in err
    assert "COPY" not in err
    assert lading("images", "-q")[1] == ""


@pytest.mark.parametrize(
    "output",
    [
        "file",
        "file/x",
        "type=tar,dest=folder",
        "type=oci,dest=file/x.tar",
        "type=docker,dest=folder",
        "type=oci,dest=file,tar=false",
    ],
)
def test_outputs_that_cannot_be(lading: Run, context: Path, output: str) -> None:
    status, out, err = lading("build", "-o", output, context)
    assert (status, out) == (1, "")
    assert "is a directory" in err or "is not a directory" in err
    assert "COPY" not in err


def test_bake_looks_too(lading: Run, context: Path) -> None:
    Path("docker-bake.json").write_text('{"target": {"default": {"context": "context"}}}')
    status, _, err = lading("bake", "--metadata-file", "missing/x")
    assert (status, "COPY" in err) == (1, False)
    assert "missing is not there" in err


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A file system that nobody writes to, root included."""
    place = tmp_path / "ro"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.root
def test_a_read_only_file_system(lading: Run, context: Path, read_only: Path) -> None:
    for words in (
        ("--iidfile", read_only / "id"),
        ("-o", read_only),
        ("-o", read_only / "a/b"),
        ("-o", f"type=oci,dest={read_only}/x.tar"),
    ):
        status, _, err = lading("build", *words, context)
        assert (status, "COPY" in err) == (1, False)
        assert "cannot be written" in err


def test_pipes_and_new_folders_are_no_mistakes(lading: Run, context: Path) -> None:
    reading, writing = os.pipe()
    try:
        place = f"/proc/self/fd/{writing}"
        assert lading("build", "-q", "--iidfile", place, "-o", "new/folder", context)[0] == 0
        assert os.read(reading, 100).startswith(b"sha256:")
    finally:
        os.close(reading)
        os.close(writing)
    assert Path("new/folder/Dockerfile").exists()


def test_plans_of_several_platforms(lading: Run, context: Path) -> None:
    words = ("--platform", "linux/amd64,linux/arm64", context)
    status, out, _ = lading("build", "--plan", "text", *words)
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("platform")] == [
        "platform linux/amd64",
        "platform linux/arm64",
    ]
    plans = json.loads(lading("build", "--plan", "json", *words)[1])
    assert [plan["platform"] for plan in plans] == ["linux/amd64", "linux/arm64"]
    told = json.loads(lading("build", "--plan", "json", "--explain", *words)[1])
    assert all("cache" in plan for plan in told)
    assert lading("build", "--plan", "dot", *words)[1].count("digraph plan {") == 2
    alone = json.loads(lading("build", "--plan", "json", context)[1])
    assert "steps" in alone
