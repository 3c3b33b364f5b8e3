"""Rules about files, stages, variables and the cache: the edges."""

from __future__ import annotations

from typing import Any

import pytest

from builder.contexts import ImageContext
from builder.lint.selection import Selection
from images.reference import Reference
from tests.builder.lint.kit import messages, own


def rules(*lines: str, **options: Any) -> list[str]:
    """The rules that a stage breaks."""
    return [rule for rule, _ in own("\n".join(["FROM a:1", *lines, ""]), **options)]


def said(rule: str, text: str, **options: Any) -> list[str]:
    return messages(text, selection=Selection(frozenset({rule})), **options)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("ADD a /b", True),
        ("ADD dir/ /b/", True),
        ("ADD a.txt b.txt /c/", True),
        ("ADD https://x/y /b", False),
        ("ADD git@github.com:a/b.git /b", False),
        ("ADD a.tar.gz /b", False),
        ("ADD a.tgz b.txt /b/", False),
        ("ADD a* /b/", False),
        ("ADD $a /b", False),
        ("ADD --unpack=false a /b", False),
        ("ADD <<A /b\nA", False),
    ],
)
def test_add(line: str, rule: bool) -> None:
    assert rules(line) == (["CopyInsteadOfAdd"] if rule else [])


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        (["COPY a b /c"], True),
        (["COPY a b /c/"], False),
        (["COPY a b ."], False),
        (["COPY a b ./"], False),
        (["COPY a b $c"], False),
        (["COPY a /c"], False),
        (["COPY a <<B /c", "x", "B"], True),
        (["WORKDIR /c/d", "COPY a b /c"], False),
        (["RUN mkdir -p /c", "COPY a b /c"], False),
        (["COPY x /c/", "COPY a b /c"], False),
        (["VOLUME /c", "COPY a b /c"], False),
        (["COPY $a b /c"], False),
    ],
)
def test_several_sources(lines: list[str], rule: bool) -> None:
    assert rules(*lines) == (["SeveralSourcesNeedSlash"] if rule else [])


FILES = frozenset({"a", "flat/", "flat/x", "deep/", "deep/y/", "deep/y/z"})


@pytest.mark.parametrize(
    ("line", "known", "unknown"),
    [
        ("COPY --chmod=644 . /b", True, True),
        ("COPY --chmod=0640 ./ /b", True, True),
        ("COPY --chmod=644 deep /b", True, False),
        ("COPY --chmod=644 flat /b", False, False),
        ("COPY --chmod=644 a /b", False, False),
        ("COPY --chmod=755 . /b", False, False),
        ("COPY --chmod=u=rwX,go=rX . /b", False, False),
        ("COPY --chmod=${MODE:-755} . /b", False, False),
        ("COPY --from=c --chmod=644 deep /b", False, False),
        ("COPY --chmod=600 . /b", True, True),
        ("COPY --chmod=700 . /b", False, False),
    ],
)
def test_modes_of_directories(line: str, known: bool, unknown: bool) -> None:
    text = f"FROM a:1\n{line}\n"
    assert bool(said("ChmodHidesDirectory", text, listing=lambda: FILES)) == known
    assert bool(said("ChmodHidesDirectory", text)) == unknown


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("COPY *.x /b/", True),
        ("COPY deep/*/q* /b/", True),
        ("COPY a* /b/", False),
        ("COPY deep/*/z /b/", False),
        ("COPY a missing* /b/", False),
        ("COPY $a* /b/", False),
        ("COPY --from=c *.x /b/", False),
        ("COPY --parents **/*.x /b/", False),
        ("ADD https://x/*.y /b/", False),
    ],
)
def test_wildcards(line: str, rule: bool) -> None:
    text = f"FROM a:1\n{line}\n"
    assert bool(said("WildcardMatchesNothing", text, listing=lambda: FILES)) == rule
    assert not said("WildcardMatchesNothing", text)


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("FROM a\n", ["a"]),
        ("FROM a:latest\n", ["a:latest"]),
        ("FROM r.io:5000/a\n", ["r.io:5000/a"]),
        ("FROM a:1\n", []),
        ("FROM a@sha256:" + "0" * 64 + "\n", []),
        ("FROM scratch\n", []),
        ("FROM a:1 AS b\nFROM b\n", []),
        ("ARG V=1\nFROM a:$V\n", []),
        ("ARG B=a\nFROM $B\n", ["a"]),
    ],
)
def test_bases(text: str, images: list[str]) -> None:
    found = said("FloatingBaseImage", text)
    assert [message.split("'")[1] for message in found] == images


def test_a_base_that_only_an_argument_names_is_not_judged() -> None:
    assert said("FloatingBaseImage", "ARG B\nFROM $B\n", build_args={"B": "a:1"}) == []
    assert said("FloatingBaseImage", "ARG B\nFROM $B\n", build_args={"B": "a"}) != []


def test_a_named_context_is_no_image_to_pin() -> None:
    contexts = {"parent": ImageContext(Reference.parse("a@sha256:" + "0" * 64))}
    assert said("FloatingBaseImage", "FROM parent\n", contexts=contexts) == []
    assert said("FloatingBaseImage", "FROM other\n", contexts=contexts) != []


def test_the_last_user_of_the_image() -> None:
    assert rules("USER root", "USER b") == []
    assert rules("USER b", "USER 0:0") == ["LastUserRoot"]
    assert own("FROM a:1 AS x\nUSER root\nFROM a:1\nCOPY --from=x /b /b\n") == []
    assert own("FROM a:1 AS x\nUSER root\nFROM x\nCMD []\n") == [("LastUserRoot", 2)]


def test_stages_that_nothing_uses() -> None:
    text = "FROM a:1{}\nRUN x\nFROM a:1\n{}\n"
    assert own(text.format("", "CMD []")) == [("UnusedStage", 1)]
    assert own(text.format("", "COPY --from=0 /b /b")) == []
    assert own(text.format(" AS y", "CMD []")) == []
    assert own(text.format(" AS y", "CMD []"), "UnreferencedStage") == [("UnreferencedStage", 1)]
    assert own(text.format(" AS y", "COPY --from=Y /b /b"), "UnreferencedStage") == []
    mount = "RUN --mount=from=y,target=/b x"
    assert own(text.format(" AS y", mount), "UnreferencedStage") == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ARG X\nFROM a:1\nUSER b\n", ["X"]),
        ("ARG X=1\nFROM a:$X\n", []),
        ("ARG X=1\nARG Y=$X\nFROM a:$Y\n", []),
        ("ARG X\nFROM a:1\nARG X\nRUN x\n", []),
        ("FROM a:1\nARG X\nLABEL a=b\n", ["X"]),
        ("FROM a:1\nARG X\nLABEL a=$X\n", []),
        ("FROM a:1\nARG X\nRUN x\n", []),
        ("FROM a:1 AS b\nARG X\nFROM b\nRUN x\n", []),
        ("FROM a:1\nARG X=1 Y=$X\nLABEL a=$Y\n", []),
        ("FROM a:1\nARG BUILDKIT_SBOM_SCAN_STAGE=true\n", []),
        ("FROM a:1\nARG https_proxy\n", []),
        ("ARG SOURCE_DATE_EPOCH\nFROM a:1\n", []),
        ("FROM a:1\nARG X\nCOPY <<A /b\n$X\nA\n", []),
    ],
)
def test_arguments_that_nothing_reads(text: str, names: list[str]) -> None:
    assert [message.split("'")[1] for message in said("UnusedArg", text)] == names


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        (["ENV A=1", "ENV A=2"], True),
        (["ENV A=1 A=2"], True),
        (["ENV A=1", "LABEL x=y", "ENV B=1 A=2"], True),
        (["ENV PATH=/a:$PATH", "ENV PATH=/b:$PATH"], False),
        (["ENV A=1", "RUN x", "ENV A=2"], False),
        (["ENV A=1", "COPY $A /", "ENV A=2"], False),
        (["ENV A=1", "ENV A=2 B=$A"], False),
        (["ENV A=1", "ENV B=1"], False),
    ],
)
def test_variables_that_are_set_twice(lines: list[str], rule: bool) -> None:
    assert bool(said("DuplicateEnv", "\n".join(["FROM a:1", *lines, ""]))) == rule


def test_arguments_that_change_and_stand_too_early() -> None:
    text = "FROM a:1\nARG {0}\nRUN x\nRUN y\nLABEL v=${0}\n"
    assert said("EarlyArg", text.format("GIT_COMMIT")) == [
        "Every new value of 'GIT_COMMIT' does 2 later steps anew that do not need it (line 3, 4): "
        "declare it right before line 5"
    ]
    assert said("EarlyArg", text.format("BUILD_DATE")) != []
    assert said("EarlyArg", text.format("PREFIX")) == []
    assert said("EarlyArg", text.format("REFERENCE")) == []
    assert said("EarlyArg", "FROM a:1\nARG GIT_COMMIT\nRUN x $GIT_COMMIT\nRUN y\n") == []


def test_what_a_copy_of_everything_costs() -> None:
    text = "FROM a:1\nCOPY . .\nRUN npm ci\nRUN b\nCOPY --from=c /d /e\nCMD []\n"
    assert said("CopyBeforeInstall", text) == [
        "Any change in the context does 'npm ci' (line 3) anew, and with it 2 later steps"
    ]
    for install in ("apt-get install -y x", "pip install -r requirements.txt", "go mod download"):
        assert said("CopyBeforeInstall", text.replace("npm ci", install)) != []
    for other in ("npm run build", "pip install .", "pip install -e .", "make", "npm install ./x"):
        assert said("CopyBeforeInstall", text.replace("npm ci", other)) == []
    assert said("CopyBeforeInstall", text.replace("COPY . .", "COPY package.json .")) == []
    assert said("CopyBeforeInstall", text.replace("COPY . .", "COPY --from=x . .")) == []


def test_automatic_arguments_with_a_default() -> None:
    assert rules("ARG TARGETARCH=arm64", "RUN x") == ["PlatformArgDefault"]
    assert rules("ARG TARGETARCH", "ARG TARGETS=1", "RUN x") == []
    assert own("ARG BUILDPLATFORM=linux/amd64\nFROM --platform=$BUILDPLATFORM a:1\n") == [
        ("PlatformArgDefault", 1)
    ]
