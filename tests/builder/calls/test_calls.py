"""Outlines and lists of targets; texts and fields are what BuildKit 0.32 answers to this file."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from builder.calls.describe import describe, describe_text
from builder.calls.outline import outline, outline_text
from builder.calls.targets import list_targets, targets_text
from builder.errors import PlanError, TargetUnknownError
from builder.request import BuildRequest
from dockerfile_grammar.errors import DockerfileError
from tests.builder.plans import StubResolver

FILE = """\
# GO is the version of Go
ARG GO=1.22
# base is where it starts
FROM scratch AS base
# VER is the version to build
ARG VER=1.0
ARG UNSET
LABEL a=b

# mid builds the middle
FROM base AS mid
ARG GO
ARG VER
# token for things
ARG TOKEN
ARG TARGETARCH

# final is the result
FROM mid AS final
COPY Dockerfile /x
# other
ARG other=a third=$GO
RUN --mount=type=secret,id=tok,required=true --mount=type=ssh \\
    --mount=type=secret,target=/run/b --mount=type=cache,target=/var/c true
FROM scratch
"""


def _outline(text: str, **options: Any) -> dict[str, Any]:
    request = BuildRequest(context=None, dockerfile=text.encode(), **options)
    return outline(request, resolver=StubResolver())


def _targets(text: str) -> dict[str, Any]:
    return list_targets(BuildRequest(context=None, dockerfile=text.encode()))


def test_an_outline_as_text() -> None:
    found = _outline(FILE, target="FINAL", build_args={"VER": "2", "unknown": "1"})
    assert outline_text(found) == (
        "TARGET:      final\n"
        "DESCRIPTION: is the result\n"
        "\n"
        "BUILD ARG   VALUE   DESCRIPTION\n"
        "GO          1.22    is the version of Go\n"
        "UNSET               \n"
        "VER         2       \n"
        "TOKEN               \n"
        "other       a       \n"
        "third       1.22    \n"
        "\n"
        "SECRET   REQUIRED\n"
        "tok      true\n"
        "b        \n"
        "\n"
        "SSH       REQUIRED\n"
        "default   \n"
        "\n"
    )


def test_an_outline_for_programs() -> None:
    found = _outline(FILE, target="final")
    assert list(found) == ["name", "description", "args", "secrets", "ssh", "sources"]
    assert found["args"][0] == {
        "name": "GO",
        "description": "is the version of Go",
        "value": "1.22",
        "location": {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]},
    }
    assert found["secrets"][0]["required"] is True
    assert "required" not in found["secrets"][1]
    assert base64.b64decode(found["sources"][0]) == FILE.encode()


def test_globals_count_when_a_from_uses_them_or_something_used_does() -> None:
    text = (
        "ARG A=1\nARG B=$A\nARG C=$B$C\nARG UNUSED\n"
        "ARG P=linux/amd64\nFROM --platform=$P scratch:$C\nARG TARGETOS\n"
    )
    text = text.replace("scratch:$C", "base:x$C")
    assert [one["name"] for one in _outline(text)["args"]] == ["A", "B", "C", "P"]


def test_only_stages_that_the_target_needs_are_told() -> None:
    text = (
        "FROM scratch AS a\nARG A\nFROM scratch AS b\nARG B\n"
        "FROM scratch AS c\nARG C\nFROM a AS d\nCOPY --from=b / /\nARG D\n"
    )
    assert [one["name"] for one in _outline(text)["args"]] == ["A", "B", "D"]


def test_the_stage_nearest_to_the_target_describes() -> None:
    text = "FROM scratch AS a\n# X far\nARG X=1\nFROM a\n# X near\nARG X=2\n"
    (told,) = _outline(text)["args"]
    assert (told["value"], told["description"]) == ("2", "near")


def test_triggers_of_a_base_are_told() -> None:
    text = "FROM scratch AS a\nONBUILD ARG X=1\nFROM a\n"
    assert [one["name"] for one in _outline(text)["args"]] == ["X"]


def test_nothing_to_tell_prints_nothing() -> None:
    found = _outline("FROM scratch\n")
    assert list(found) == ["sources"]
    assert outline_text(found) == ""


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("FROM scratch\nARG X=${Y?is missing}\n", PlanError),
        ("ARG X=${\nFROM scratch\n", PlanError),
        ("FROM ${X?}\n", PlanError),
        ("FORM scratch\n", DockerfileError),
        ("", DockerfileError),
    ],
)
def test_files_that_cannot_be_planned_have_no_outline(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        _outline(text)


def test_an_unknown_target_is_named() -> None:
    with pytest.raises(TargetUnknownError, match="finale"):
        _outline(FILE, target="finale")


def test_targets_as_text_and_for_programs() -> None:
    found = _targets(FILE)
    assert targets_text(found) == (
        "TARGET    DESCRIPTION\n"
        "base      is where it starts\n"
        "mid       builds the middle\n"
        "final     is the result\n"
        "(default) \n"
    )
    assert found["targets"][3] == {
        "default": True,
        "base": "scratch",
        "location": {"ranges": [{"start": {"line": 24 + 1}, "end": {"line": 25}}]},
    }


def test_bases_and_platforms_are_listed_as_written() -> None:
    found = _targets("ARG V=1\nFROM --platform=$BUILDPLATFORM go:$V AS Build\n")
    (target,) = found["targets"]
    assert target["name"] == "build"
    assert (target["base"], target["platform"]) == ("go:$V", "$BUILDPLATFORM")
    assert targets_text(found).endswith("build (default) \n")


def test_targets_of_a_file_that_does_not_parse() -> None:
    with pytest.raises(DockerfileError):
        _targets("FROM a b c\n")


def test_the_questions_describe_themselves() -> None:
    names = [one["name"] for one in describe()]
    assert names[0] == "frontend.lint"
    assert "frontend.outline" in names
    assert describe_text().splitlines()[0] == "NAME                 VERSION DESCRIPTION"
