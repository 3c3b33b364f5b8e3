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


def test_unknown_calls_are_refused(lading: Lading, context: Path) -> None:
    status, _, err = lading("build", "--call=outlines", context)
    assert status != 0
    assert "check,format=json" in err
