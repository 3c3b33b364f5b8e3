"""Which findings count: directives, build arguments, comments."""

from __future__ import annotations

import pytest

from builder.lint.linter import LintViolationError
from builder.lint.settings import LintOptionError, LintSettings
from tests.builder.lint.kit import found, lint

TWO = "FROM a\nMAINTAINER b\nCMD c\n"
BOTH = [("MaintainerDeprecated", 2), ("JSONArgsRecommended", 3)]


@pytest.mark.parametrize(
    ("value", "rules"),
    [
        ("skip=JSONArgsRecommended", {"MaintainerDeprecated"}),
        ("skip= JSONArgsRecommended , MaintainerDeprecated", set()),
        ("error=true;skip=JSONArgsRecommended", {"MaintainerDeprecated"}),
        ("skip=all", set()),
        ("skip=jsonargsrecommended", {"MaintainerDeprecated", "JSONArgsRecommended"}),
        ("error=false", {"MaintainerDeprecated", "JSONArgsRecommended"}),
    ],
)
def test_the_directive(value: str, rules: set[str]) -> None:
    assert {rule for rule, _ in found(f"# check={value}\n{TWO}")} == rules


def test_a_build_argument_replaces_the_directive() -> None:
    text = f"# check=skip=all;error=true\n{TWO}"
    linter = lint(text, build_args={"BUILDKIT_DOCKERFILE_CHECK": "skip=JSONArgsRecommended"})
    assert [finding.rule.name for finding in linter.findings] == ["MaintainerDeprecated"]
    linter.raise_violation()
    emptied = lint(text, build_args={"BUILDKIT_DOCKERFILE_CHECK": ""})
    assert len(emptied.findings) == 2


def test_skipping_all_leaves_experimental_rules() -> None:
    text = "# check=skip=all;experimental=all\n# prose\nARG a\nFROM x\nMAINTAINER b\n"
    assert found(text) == [("InvalidDefinitionDescription", 3)]


def test_violations_name_their_rules_once() -> None:
    linter = lint(f"# check=error=true\n{TWO}RUN x\nFROM a\nCMD y\n")
    with pytest.raises(LintViolationError) as caught:
        linter.raise_violation()
    assert caught.value.what == (
        "lint violation found for rules: JSONArgsRecommended, MaintainerDeprecated"
    )
    lint(TWO).raise_violation()
    lint("# check=error=true\nFROM a\n").raise_violation()


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("foo", 'invalid check option "foo"'),
        ("foo=1", 'invalid check option "foo"'),
        ("skip=a;;error=true", 'invalid check option ""'),
        ("error=maybe", 'error is not a boolean: "maybe"'),
    ],
)
def test_malformed_settings(value: str, what: str) -> None:
    with pytest.raises(LintOptionError) as caught:
        lint(f"# escape=\\\n# check={value}\n{TWO}")
    assert caught.value.what == f"failed to parse check options: {what}"
    assert caught.value.where == "Dockerfile:2"
    with pytest.raises(LintOptionError) as caught:
        lint(TWO, build_args={"BUILDKIT_DOCKERFILE_CHECK": value})
    assert caught.value.where == "BUILDKIT_DOCKERFILE_CHECK"


def test_empty_settings_say_nothing() -> None:
    assert LintSettings.parse("  ") == LintSettings()


@pytest.mark.parametrize(
    ("comment", "skipped"),
    [
        ("check=skip=MaintainerDeprecated", True),
        ("CHECK = skip=MaintainerDeprecated", True),
        ("Check=skip=all because we must", True),
        ("check=skip=JSONArgsRecommended", False),
        ("check=nonsense", False),
        ("check=skip=MaintainerDeprecated\n# and a reason", True),
        ("check=skip=MaintainerDeprecated\n", False),
    ],
)
def test_a_comment_above_an_instruction(comment: str, skipped: bool) -> None:
    text = f"FROM a\n# {comment}\nMAINTAINER b\nFROM a\nMAINTAINER c\n"
    assert [rule for rule, _ in found(text)] == ["MaintainerDeprecated"] * (1 if skipped else 2)


@pytest.mark.parametrize(
    "text",
    [
        "FROM a\n# check=skip=NoEmptyContinuation\nRUN b \\\n\n c\n",
        "FROM a AS b\n# check=skip=DuplicateStageName\nFROM a AS b\n",
        "# x\n# check=skip=ReservedStageName\nFROM a AS scratch\n",
        "FROM a\n# check=skip=ConsistentInstructionCasing\nrun b\n",
        "FROM a\n# check=skip=MultipleInstructionsDisallowed\nCMD []\nCMD []\n",
        "FROM a\nCMD []\n# check=skip=MultipleInstructionsDisallowed\nCMD []\n",
        "ARG a\n\n# check=skip=InvalidDefaultArgInFrom\nFROM x:$a\n",
        "# x\n# check=skip=InvalidBaseImagePlatform\nFROM example/arm-only\n",
    ],
)
def test_comments_reach_rules_of_whole_files_too(text: str) -> None:
    assert found(text, build_args={"a": "1"}) == []


def test_a_comment_is_not_a_description() -> None:
    text = "# check=experimental=all\n# a is this\n# check=skip=UndefinedVar\nARG a\nFROM x\n"
    assert found(text) == []
