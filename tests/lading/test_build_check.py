"""``lading build --check`` and ``--call=check`` as a person types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Lading = Callable[..., tuple[int, str, str]]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch AS Base\nCOPY a.log /\n")
    (folder / ".dockerignore").write_text("*.log\n")
    return folder


@pytest.mark.parametrize("flag", ["--check", "--call=check", "--call=check,format=text"])
def test_findings_are_printed_and_give_status_1(lading: Lading, context: Path, flag: str) -> None:
    status, out, err = lading("build", flag, context)
    assert (status, err) == (1, "")
    assert "WARNING: StageNameCasing" in out
    assert "WARNING: CopyIgnoredFile" in out
    assert out.endswith("Check complete, 2 warnings have been found!\n")


def test_nothing_to_say_gives_status_0(lading: Lading, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\n")
    assert lading("build", "--check", context) == (0, "Check complete, no warnings found.\n", "")


def test_json(lading: Lading, context: Path) -> None:
    status, out, _ = lading("build", "--call", "check,format=json", context)
    assert status == 1
    rules = [warning["ruleName"] for warning in json.loads(out)["warnings"]]
    assert rules == ["StageNameCasing", "CopyIgnoredFile"]


def test_a_build_argument_chooses_rules(lading: Lading, context: Path) -> None:
    argument = "BUILDKIT_DOCKERFILE_CHECK=skip=StageNameCasing,CopyIgnoredFile"
    status, _, _ = lading("build", "--check", "--build-arg", argument, context)
    assert status == 0


def test_malformed_settings_are_a_plain_error(lading: Lading, context: Path) -> None:
    (context / "Dockerfile").write_text("# check=speed=1\nFROM scratch\n")
    status, out, err = lading("build", "--check", context)
    assert (status, out) == (1, "")
    assert 'invalid check option "speed"' in err
    assert "Dockerfile:1" in err


@pytest.mark.parametrize(
    "call",
    ["outlines", "check,format=xml", "check,outline", "", "check,shape=1", "check,ignorestatus=2"],
)
@pytest.mark.parametrize("flag", ["--call", "--print"])
def test_unknown_calls_are_refused(lading: Lading, context: Path, flag: str, call: str) -> None:
    status, _, err = lading("build", f"{flag}={call}", context)
    assert status == 125
    assert "subrequests.describe" in err


def test_the_status_of_a_check_may_be_ignored(lading: Lading, context: Path) -> None:
    status, out, _ = lading("build", "--call=lint,ignorestatus=true", context)
    assert (status, "StageNameCasing" in out) == (0, True)


def test_outline_and_targets(lading: Lading, context: Path) -> None:
    (context / "Dockerfile").write_text("# x the result\nFROM scratch AS x\nARG A=1\n")
    assert lading("build", "--call=outline", context)[:2] == (
        0,
        "TARGET:      x\nDESCRIPTION: the result\n\n"
        "BUILD ARG   VALUE   DESCRIPTION\nA           1       \n\n",
    )
    status, out, _ = lading("build", "--call", "targets,format=json", context)
    assert (status, json.loads(out)["targets"][0]["name"]) == (0, "x")


def test_a_call_on_a_file_that_does_not_parse(lading: Lading, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM a AS\n")
    for call in ("outline", "targets"):
        status, out, err = lading("build", f"--call={call}", context)
        assert (status, out) == (1, "")
        assert "FROM requires either one or three arguments" in err
