"""``lading lint`` and ``lading build --check --check-rules`` as a person types them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Lading = Callable[..., tuple[int, str, str]]
TEXT = "FROM a:1\nRUN apk add b\nUSER root\n"
MENDED = TEXT.replace("add b", "add --no-cache b")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = folder / "Dockerfile"
    path.write_text(TEXT)
    return path


def test_findings_of_the_usual_file(lading: Lading, file: Path) -> None:
    assert lading("lint") == (
        1,
        "Dockerfile:2:5: ApkCacheLeft 'apk add' leaves its index in the image: use --no-cache\n"
        "Dockerfile:3:1: LastUserRoot Containers of this image run as root, because the last USER "
        "is 'root'\n"
        "2 findings; --fix mends 1\n",
        "",
    )
    file.write_text("FROM a:1\n")
    assert lading("lint") == (0, "no findings\n", "")


def test_no_store_is_made_and_unknown_bases_are_not_judged(
    lading: Lading, file: Path, tmp_path: Path
) -> None:
    file.write_text("FROM nowhere.invalid/a:1 AS b\nUSER $FROM_BASE\nFROM b\nUSER $FROM_BASE\n")
    assert lading("lint") == (0, "no findings\n", "")
    assert not (tmp_path / "root").exists()
    file.write_text("FROM scratch\nUSER $NOBODY\n")
    assert "UndefinedVar" in lading("lint")[1]


def test_several_files_and_their_names(lading: Lading, file: Path) -> None:
    other = file.with_name("other.Dockerfile")
    other.write_text("FROM a\n")
    status, out, _ = lading("lint", "--format", "json", file.name, other)
    found = json.loads(out)
    assert status == 1
    assert [(entry["file"], entry["rule"]) for entry in found] == [
        ("Dockerfile", "ApkCacheLeft"),
        ("Dockerfile", "LastUserRoot"),
        (str(other), "FloatingBaseImage"),
    ]


def test_files_are_mended_in_place(lading: Lading, file: Path) -> None:
    file.chmod(0o640)
    link = file.with_name("link")
    link.symlink_to(file.name)
    status, out, _ = lading("lint", "--fix", "link")
    assert (status, file.read_text()) == (1, MENDED)
    assert "ApkCacheLeft" not in out
    assert "LastUserRoot" in out
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(file.parent)) == ["Dockerfile", "link"]
    before = file.stat().st_mtime_ns
    assert lading("lint", "--fix", "link")[0] == 1
    assert file.stat().st_mtime_ns == before


def test_a_difference_changes_nothing(lading: Lading, file: Path) -> None:
    status, out, _ = lading("lint", "--diff")
    assert (status, file.read_text()) == (1, TEXT)
    assert out == (
        "--- Dockerfile\n+++ Dockerfile\n@@ -1,3 +1,3 @@\n FROM a:1\n-RUN apk add b\n"
        "+RUN apk add --no-cache b\n USER root\n"
    )
    file.write_text("FROM a:1\n")
    assert lading("lint", "--diff") == (0, "", "")


def test_unsafe_fixes(lading: Lading, file: Path) -> None:
    file.write_text("FROM a:1\nRUN <<E\nx\ny\nE\n")
    assert lading("lint", "--fix")[0] == 1
    assert lading("lint", "--unsafe-fixes") == (0, "no findings\n", "")
    assert file.read_text() == "FROM a:1\nRUN <<E\nset -e\nx\ny\nE\n"


class _Input(io.TextIOWrapper):
    def __init__(self, text: str) -> None:
        super().__init__(io.BytesIO(text.encode()))


def test_stdin(lading: Lading, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Input(TEXT))
    status, out, _ = lading("lint", "-")
    assert status == 1
    assert out.startswith("Dockerfile:2:5: ApkCacheLeft")


def test_stdin_is_mended_to_stdout(file: Path) -> None:
    command = [sys.executable, "-m", "lading", "lint", "--fix", "-"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, input=TEXT.encode(), capture_output=True, env=environ)
    assert (done.returncode, done.stdout.decode()) == (1, MENDED)
    assert b"LastUserRoot" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent"], "absent: No such file or directory"),
        (["."], "Is a directory"),
        (["bad"], "unknown instruction: RNU (did you mean RUN?)"),
        (["odd"], 'invalid check option "speed"'),
        (["--check-rules", "Nothing"], "there is no rule Nothing"),
    ],
)
def test_bad_input_is_status_2(lading: Lading, file: Path, words: list[str], said: str) -> None:
    file.with_name("bad").write_text("RNU x\n")
    file.with_name("odd").write_text("# check=speed=1\nFROM a:1\n")
    status, out, err = lading("lint", *words)
    assert status == 2
    assert said in out + err


def test_the_other_files_are_looked_at_all_the_same(lading: Lading, file: Path) -> None:
    status, out, err = lading("lint", "absent", "Dockerfile")
    assert status == 2
    assert "LastUserRoot" in out
    assert "absent" in err


def test_the_context_is_only_looked_at_when_it_is_named(lading: Lading, file: Path) -> None:
    file.write_text("FROM a:1\nCOPY *.x /b/\nCOPY c.log /d\n")
    file.with_name(".dockerignore").write_text("*.log\n")
    assert lading("lint") == (0, "no findings\n", "")
    status, out, _ = lading("lint", "--context", ".")
    assert status == 1
    assert "WildcardMatchesNothing" in out
    assert "CopyIgnoredFile" in out


def test_arguments_and_targets(lading: Lading, file: Path) -> None:
    file.write_text("ARG B=a:1\nFROM $B AS one\nFROM $B AS two\nCMD x\n")
    status, out, _ = lading("lint", "--build-arg", "B=a")
    assert (status, out.count("FloatingBaseImage")) == (1, 2)
    assert "JSONArgs" not in lading("lint", "--target", "one")[1]


def test_sarif_and_annotations(lading: Lading, file: Path) -> None:
    log = json.loads(lading("lint", "--format=sarif")[1])
    assert [result["ruleId"] for result in log["runs"][0]["results"]] == [
        "ApkCacheLeft",
        "LastUserRoot",
    ]
    assert lading("lint", "--format=github")[1].startswith("::warning file=Dockerfile,line=2,")


def test_a_check_takes_rules(lading: Lading, file: Path) -> None:
    file.write_text("FROM scratch AS Base\nCOPY a b /c\nUSER 0\n")
    words = ("build", "--check", file.parent)
    status, out, _ = lading(*words)
    assert status == 1
    assert "WARNING: LastUserRoot - docs/lint/LastUserRoot.md" in out
    assert out.endswith("Check complete, 3 warnings have been found!\n")
    status, out, _ = lading(*words, "--check-rules=buildkit,-StageNameCasing")
    assert (status, out) == (0, "Check complete, no warnings found.\n")
    status, _, err = lading(*words, "--check-rules=Nothing")
    assert status == 1
    assert "there is no rule Nothing" in err
