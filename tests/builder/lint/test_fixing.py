"""Mending: what becomes of each finding, byte by byte, and what is left to people."""

from __future__ import annotations

import pytest

from builder.lint.check import check
from builder.lint.fixing import mend, mendable
from builder.lint.report import LintReport
from builder.lint.selection import Selection
from builder.request import BuildRequest
from tests.builder.plans import AMD64, StubResolver


def look(source: bytes, rules: str = "recommended") -> LintReport:
    selection = Selection.parse(rules, usual="recommended")
    request = BuildRequest(None, source)
    return check(request, resolver=StubResolver(), host=AMD64, selection=selection)


def mended(text: str, *, unsafe: bool = False, rules: str = "recommended") -> str:
    found = mend(text.encode(), lambda source: look(source, rules), unsafe=unsafe)
    again = mend(found.source, lambda source: look(source, rules), unsafe=unsafe)
    assert again.source == found.source
    assert again.count == 0
    return found.source.decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("FROM a:1 AS Build\nFROM build\n", "FROM a:1 AS build\nFROM build\n"),
        ("FROM a:1 as b\n", "FROM a:1 AS b\n"),
        ("from a:1 AS b\nrun x\n", "from a:1 as b\nrun x\n"),
        ("FROM a:1\nrun x\nRun y\nUSER z\n", "FROM a:1\nRUN x\nRUN y\nUSER z\n"),
        ("FROM a:1\nRUN x && \\\n\n \t\n  y\nUSER z\n", "FROM a:1\nRUN x && \\\n  y\nUSER z\n"),
        ("FROM a:1\nRUN x && \\\r\n\r\n  y\r\n", "FROM a:1\nRUN x && \\\r\n  y\r\n"),
        ("FROM a:1\nENV a b\n", "FROM a:1\nENV a=b\n"),
        ("FROM a:1\nENV  a \t b  c $d \n", 'FROM a:1\nENV  a="b  c $d" \n'),
        ("FROM a:1\nLABEL a b=c\n", "FROM a:1\nLABEL a=b=c\n"),
        ("FROM a:1\nENV a b \\\n  c\n", 'FROM a:1\nENV a="b \\\n  c"\n'),
        (
            "FROM a:1\nMAINTAINER A <a@b> $c\n",
            'FROM a:1\nLABEL org.opencontainers.image.authors="A <a@b> \\$c"\n',
        ),
        ("FROM a:1\nCMD serve --port=80 /srv\n", 'FROM a:1\nCMD ["serve", "--port=80", "/srv"]\n'),
        ("FROM a:1\nEXPOSE 80/TCP 53/Udp $P/TCP\n", "FROM a:1\nEXPOSE 80/tcp 53/udp $P/TCP\n"),
        ("FROM --platform=$TARGETPLATFORM a:1\n", "FROM a:1\n"),
        (
            "\ufeffFROM a:1 as é\nENV ü ö ä\n".replace("é", "e"),
            '\ufeffFROM a:1 AS e\nENV ü="ö ä"\n',
        ),
    ],
)
def test_rules_of_buildkit(before: str, after: str) -> None:
    assert mended(before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("RUN apt update", "RUN apt-get update"),
        ("RUN apk add a", "RUN apk add --no-cache a"),
        ("RUN x && \\\n  apk add \\\n  a", "RUN x && \\\n  apk add --no-cache \\\n  a"),
        ("RUN pip install a==1", "RUN pip install --no-cache-dir a==1"),
        ("RUN <<EOF\nset -e\napk add a\nEOF", "RUN <<EOF\nset -e\napk add --no-cache a\nEOF"),
        ("COPY a b /c", "COPY a b /c/"),
        ("COPY a b \\\n  # c\n  /c", "COPY a b \\\n  # c\n  /c/"),
        ("add a.txt /b\nuser x\nrun y", "copy a.txt /b\nuser x\nrun y"),
        ("ADD . /b", "COPY . /b"),
    ],
)
def test_rules_of_our_own(before: str, after: str) -> None:
    start = "from" if before[0].islower() else "FROM"
    assert mended(f"{start} a:1\n{before}\n") == f"{start} a:1\n{after}\n"


def test_one_word_for_two_findings_in_turn() -> None:
    before = "FROM a:1\nRUN apt update && apt install a && rm -r /var/lib/apt/lists\n"
    after = before.replace("apt update", "apt-get update").replace(
        "apt install", "apt-get install -y"
    )
    assert mended(before) == after
    both = after.replace("install -y", "install -y --no-install-recommends")
    assert sorted(mended(before, unsafe=True).split()) == sorted(both.split())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("RUN <<EOF\nmake\nmake install\nEOF", "RUN <<EOF\nset -e\nmake\nmake install\nEOF"),
        ("ARG TARGETARCH=amd64\nUSER $TARGETARCH", "ARG TARGETARCH\nUSER $TARGETARCH"),
        (
            "RUN <<EOF\n#!/bin/bash\nmake\nmake install\nEOF",
            "RUN <<EOF\n#!/bin/bash\nset -e\nmake\nmake install\nEOF",
        ),
    ],
)
def test_unsafe_ones_only_when_asked_for(before: str, after: str) -> None:
    text = f"FROM a:1\n{before}\n"
    assert mended(text) == text
    assert mended(text, unsafe=True) == f"FROM a:1\n{after}\n"


@pytest.mark.parametrize(
    "line",
    [
        "ENV a 'b c'",
        "ENV a b\\ c",
        "ENV a \\\n  b",
        'ENV a "b',
        'MAINTAINER "a"',
        "MAINTAINER a \\\n b",
        "CMD a && b",
        "CMD exec a",
        "CMD a $b",
        "CMD a 'b'",
        "CMD A=b c",
        "CMD cd x",
        "CMD a \\\n  b",
        "ENTRYPOINT a\nCMD b $c",
        "WORKDIR relative",
        "ADD data /b",
        "ARG TOKEN",
        "ONBUILD MAINTAINERS",
    ],
)
def test_what_needs_a_decision_stays(line: str) -> None:
    text = f"FROM a:1\n{line}\n"
    assert mended(text, rules="recommended,-EntrypointIgnoresCmd") == text


def test_skipped_findings_are_not_mended() -> None:
    text = "# check=skip=ApkCacheLeft\nFROM a:1\nRUN apk add b\n"
    assert mended(text) == text
    text = "FROM a:1\n# hadolint ignore=DL3019\nRUN apk add b\nRUN apk add c\n"
    assert mended(text) == text.replace("add c", "add --no-cache c")


def test_what_is_left_is_reported() -> None:
    text = b"FROM a\nRUN apk add b\nRUN <<EOF\na\nb\nEOF\n"
    found = mend(text, look)
    assert found.count == 1
    assert [item.rule.name for item in found.report.findings] == [
        "FloatingBaseImage",
        "HeredocWithoutErrexit",
    ]
    safe, unsafe = mendable(found.report)
    assert (safe, [item.rule.name for item in unsafe]) == ([], ["HeredocWithoutErrexit"])


def test_a_file_that_does_not_parse_is_left_alone() -> None:
    found = mend(b"FROM a AS B\nRNU x\n", look)
    assert (found.source, found.count) == (b"FROM a AS B\nRNU x\n", 0)
    assert found.report.fault is not None
