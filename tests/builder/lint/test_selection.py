"""Which rules are on: sets, names, numbers, comments; in builds, checks and files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.lint.linter import LintViolationError
from builder.lint.own import OWN
from builder.lint.rules import RULES
from builder.lint.selection import SETS, Selection, SelectionError
from tests.builder.lint.kit import found, lint
from tests.builder.workbench import Workbench

TEXT = "FROM a\nRUN cd /x\nRUN apk add b\nMAINTAINER c\n"
BUILDKITS = {"MaintainerDeprecated"}
MISTAKES = {"RunWithoutEffect"}
ADVICE = {"FloatingBaseImage", "ApkCacheLeft"}
TASTE = {"PinApkVersions", "CacheMountRecommended", "UserMissing", "HealthcheckMissing"}


def rules(text: str, selection: str) -> set[str]:
    chosen = Selection.parse(selection, usual="recommended")
    return {rule for rule, _ in found(text, selection=chosen)}


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        ("", BUILDKITS | MISTAKES | ADVICE),
        ("buildkit", BUILDKITS),
        ("default", BUILDKITS | MISTAKES),
        ("recommended", BUILDKITS | MISTAKES | ADVICE),
        ("all", BUILDKITS | MISTAKES | ADVICE | TASTE),
        ("-ApkCacheLeft", (BUILDKITS | MISTAKES | ADVICE) - {"ApkCacheLeft"}),
        ("-DL3019, -DL3006", BUILDKITS | MISTAKES),
        ("dl3018", {"PinApkVersions"}),
        ("buildkit,UserMissing", {*BUILDKITS, "UserMissing"}),
        ("all,-recommended", TASTE),
    ],
)
def test_sets_and_names(selection: str, names: set[str]) -> None:
    assert rules(TEXT, selection) == names


def test_sets_grow() -> None:
    assert SETS["buildkit"] < SETS["default"] < SETS["recommended"] < SETS["all"]
    assert SETS["all"] == {*RULES, *OWN}
    assert "InvalidDefinitionDescription" not in SETS["recommended"]


def test_unknown_names_suggest_near_ones() -> None:
    with pytest.raises(SelectionError, match="there is no rule ApkCacheleft") as caught:
        Selection.parse("ApkCacheleft", usual="default")
    assert caught.value.fix == "did you mean ApkCacheLeft?"
    with pytest.raises(SelectionError) as caught:
        Selection.parse("-everything", usual="default")
    assert caught.value.fix == "docs/lint/README.md lists the rules"


@pytest.mark.parametrize(
    ("comment", "left"),
    [
        ("check=skip=ApkCacheLeft", set()),
        ("check=skip=DL3019", set()),
        ("check=skip=all", set()),
        ("hadolint ignore=DL3018,DL3019", set()),
        ("hadolint ignore=DL3018, DL3019", set()),
        ("hadolint shell=/bin/bash ignore=DL3019", set()),
        ("hadolint ignore=DL3018", {"ApkCacheLeft"}),
        ("check=experimental=PinApkVersions", {"ApkCacheLeft", "PinApkVersions"}),
        ("check=experimental=DL3018", {"ApkCacheLeft", "PinApkVersions"}),
        ("check=experimental=PinApkVersions;skip=ApkCacheLeft", {"PinApkVersions"}),
    ],
)
def test_comments_above_an_instruction(comment: str, left: set[str]) -> None:
    assert rules(f"FROM a:1\n# {comment}\nRUN apk add b\n", "recommended") == left
    assert rules(f"FROM a:1\n# {comment}\nUSER x\nRUN apk add b\n", "recommended") == {
        "ApkCacheLeft"
    }


def test_the_directive() -> None:
    text = "FROM a:1\nRUN apk add b\n"
    assert rules(f"# check=experimental=UserMissing\n{text}", "recommended") == {
        "ApkCacheLeft",
        "UserMissing",
    }
    assert rules(f"# check=skip=DL3019\n{text}", "recommended") == set()
    # For BuildKit that means its own experimental rules.
    assert rules(f"# check=experimental=all\n{text}", "recommended") == {"ApkCacheLeft"}


def test_error_means_buildkits_rules_unless_ours_are_chosen() -> None:
    text = "# check=error=true\nFROM a:1\nRUN cd /x\n"
    lint(text, selection=Selection.of("default")).raise_violation()
    chosen = Selection.parse("default", usual="default")
    with pytest.raises(LintViolationError, match="RunWithoutEffect"):
        lint(text, selection=chosen).raise_violation()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    bench = Workbench(tmp_path)
    bench.add_base("base:1", {"etc/passwd": "root:x:0:0::/root:/bin/sh\n"})
    yield bench
    bench.close()


def test_a_build_warns_of_mistakes_alone(bench: Workbench) -> None:
    text = "FROM base:1\nRUN cd /x\nRUN apk add b\n"
    said = "RunWithoutEffect: 'cd /x' is forgotten when this step ends; use WORKDIR"
    assert bench.build(text).warnings == (said,)
    assert bench.build(text).warnings == (said,)
    assert bench.build(text, check_rules="buildkit").warnings == ()
    (warning,) = bench.build(text, check_rules="DL3019").warnings
    assert warning.startswith("ApkCacheLeft: ")
