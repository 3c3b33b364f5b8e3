"""``lading history builds`` as it is typed, on real builds that need no root."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "a").write_text("one")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY a /a\nLABEL x=y\n")
    return folder


@pytest.fixture
def built(lading: Run, context: Path) -> Run:
    """Three builds: a first one, one that fails, one with another file."""
    assert lading("build", "-t", "shop", "--build-arg", "MODE=a", context)[0] == 0
    assert lading("build", "--target", "nowhere", context)[0] == 1
    (context / "a").write_text("two")
    assert lading("build", "-t", "shop", "--build-arg", "MODE=b", context)[0] == 0
    return lading


def test_a_list(built: Run) -> None:
    status, out, _ = built("history", "builds", "ls")
    lines = out.splitlines()
    assert status == 0
    assert lines[0].split() == ["BUILD", "ID", "NAME", "STATUS", "CREATED", "AT", "DURATION"]
    words = [line.split() for line in lines[1:]]
    assert [row[1:3] for row in words] == [
        ["shop:latest", "Completed"],
        ["shop", "(nowhere)"],
        ["shop:latest", "Completed"],
    ]
    # Ages go on: what two calls say is only the same where a third one after them says it too.
    looks = []
    while len(looks) < 100 and (not looks or looks[-1][0] != looks[-1][2]):
        calls = (("ls",), (), ("ls",))
        looks.append([built("history", "builds", *words)[1] for words in calls])
    assert looks[-1][0] == looks[-1][1] == looks[-1][2], "ls is what it does without a word"
    assert built("history", "builds", "ls", "-q")[1].split() == [row[0] for row in words]
    failed = built("history", "builds", "ls", "--filter", "status=failed", "--format", "{{.Error}}")
    assert "target stage" in failed[1]
    assert len(built("history", "builds", "ls", "--format", "json")[1].splitlines()) == 3


def test_a_build_without_a_name_is_called_by_its_directory(
    lading: Run, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(context)
    lading("build", ".")
    assert lading("history", "builds", "ls", "--format", "{{.Name}}")[1] == "shop\n"


def test_one_build(built: Run) -> None:
    status, out, _ = built("history", "builds", "inspect")
    assert status == 0
    assert "Build arg MODE: b" in " ".join(out.split())
    assert "file a changed" in out
    told = json.loads(built("history", "builds", "inspect", "--format", "json", "^1")[1])
    assert (told["Status"], told["Target"]) == ("failed", "nowhere")
    assert "target stage" in told["Error"]["Message"]
    template = "{{.Status}} {{.NumTotalSteps}} {{.Dockerfile}}"
    assert built("history", "builds", "inspect", "--format", template)[1] == (
        "completed 3 Dockerfile\n"
    )


def test_logs_are_shown_as_the_build_showed_them(built: Run) -> None:
    out = built("history", "builds", "logs")[1]
    assert "#1 [internal] load build definition from Dockerfile\n#1 DONE" in out
    assert "writing image sha256:" in out
    one = built("history", "builds", "logs", "^0", "exporting")[1]
    assert one.startswith("#3 exporting to image\n#3 ")
    assert "[internal]" not in one
    assert built("history", "builds", "logs", "^0", "3")[1] == one
    rows = built("history", "builds", "logs", "--progress", "rawjson")[1].splitlines()
    kinds = {kind for row in rows for kind in json.loads(row)}
    assert {"vertexes", "logs"} <= kinds
    status, _, err = built("history", "builds", "logs", "^0", "nothing")
    assert (status, "no such step" in err) == (1, True)


def test_a_comparison(built: Run) -> None:
    status, out, _ = built("history", "builds", "compare", "^2", "^0")
    assert status == 0
    assert "args MODE: a -> b" in out
    assert "[1/1] COPY a /a" in out
    assert "file a changed" in out
    told = json.loads(built("history", "builds", "compare", "^2", "^0", "--format", "json")[1])
    assert told["inputs"][0] == {"what": "args", "name": "MODE", "before": "a", "after": "b"}
    assert told["dockerfile"] == []


def test_forgetting(built: Run) -> None:
    ref = built("history", "builds", "ls", "-q")[1].split()[1]
    assert built("history", "builds", "rm", ref[:12])[1].strip() == ref
    assert len(built("history", "builds", "ls", "-q")[1].split()) == 2
    assert built("history", "builds", "rm")[0] == 125
    assert built("history", "builds", "rm", "--all")[0] == 0
    assert built("history", "builds", "ls", "-q")[1] == ""
    status, _, err = built("history", "builds", "inspect")
    assert (status, "only 0 builds" in err) == (1, True)


def test_pruning_the_cache_with_all_forgets_builds_too(built: Run) -> None:
    assert built("builder", "prune", "--force")[0] == 0
    assert len(built("history", "builds", "ls", "-q")[1].split()) == 3
    assert built("builder", "prune", "--all", "--force")[0] == 0
    assert built("history", "builds", "ls", "-q")[1] == ""


def test_exports(built: Run, tmp_path: Path) -> None:
    page = tmp_path / "build.html"
    assert built("history", "builds", "export", "--html", "-o", page)[0] == 0
    assert page.read_text().startswith("<!doctype html>")
    told = json.loads(built("history", "builds", "export", "^0")[1])
    assert told["status"] == "completed"
    assert told["log"], "lines of the log"


def test_a_report_and_a_summary_with_the_build(lading: Run, context: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    status, _, err = lading("build", "--report", page, "--summary", context)
    assert status == 0
    assert "Summary: " in err
    assert "0 of 1 steps cached" in err
    assert "[1/1] COPY a /a" in page.read_text()
    assert "Summary: " not in lading("build", context)[2], "not on a terminal"
    failed = tmp_path / "failed.html"
    assert lading("build", "--report", failed, "--target", "nowhere", context)[0] == 1
    assert "target stage" in failed.read_text()


def test_a_report_that_cannot_be_written(lading: Run, context: Path, tmp_path: Path) -> None:
    status, _, err = lading("build", "--report", tmp_path / "none" / "x.html", context)
    assert status == 1
    assert "none is not there" in err
    assert "COPY" not in err, "it is told before anything is built"


def test_an_image_called_builds_is_reached_through_image(lading: Run, context: Path) -> None:
    assert lading("build", "-t", "builds", "-t", "other", context)[0] == 0
    whole = lading("image", "history", "builds")[1]
    assert whole.startswith("IMAGE")
    assert lading("history", "other")[1] == whole
    assert lading("history", "builds:latest")[1] == whole


def test_progress_of_the_environment(
    lading: Run, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILDKIT_PROGRESS", "rawjson")
    lines = [json.loads(line) for line in lading("build", context)[2].splitlines()]
    assert all(line.keys() <= {"vertexes", "statuses", "logs", "warnings"} for line in lines)
    assert lines[0]["vertexes"]
    monkeypatch.setenv("BUILDKIT_PROGRESS", "loud")
    status, _, err = lading("build", context)
    assert (status, "BUILDKIT_PROGRESS: invalid progress mode" in err) == (1, True)
    assert "#1" in lading("build", "--progress", "plain", context)[2], "the flag wins"


def test_quiet_and_none(lading: Run, context: Path) -> None:
    _, out, err = lading("build", "--progress", "quiet", context)
    assert (out.startswith("sha256:"), err) == (True, "")
    assert lading("build", "--progress", "none", context) == (0, "", "")
