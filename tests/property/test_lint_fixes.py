"""Mending files: once is enough, nothing else changes, and the plan stays what it was."""

from __future__ import annotations

import difflib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from builder.lint.check import check
from builder.lint.fixing import mend
from builder.lint.report import LintReport
from builder.lint.selection import Selection
from builder.plan.model import Plan
from builder.request import BuildRequest
from tests.builder.plans import AMD64, StubResolver, plan_text

NEUTRAL = (
    "StageNameCasing,FromAsCasing,NoEmptyContinuation,ConsistentInstructionCasing,"
    "LegacyKeyValueFormat,ExposeProtoCasing,RedundantTargetPlatform"
)
"""Rules whose mending changes how a file is written and nothing of what it says."""

LINES = [
    "ENV a b",
    "ENV a b c  $d",
    "env A 'x y'",
    "LABEL k some text",
    "ENV a=b c='d e'",
    "ENV a b \\\n  c",
    "EXPOSE 80/TCP 53/Udp",
    "expose 1-2/tcp",
    "RUN x && \\\n\n  y",
    "Run x \\\n# c\n \\\n\t\n y",
    "RUN <<EOF\nENV a b\n\nEOF",
    "COPY <<A <<B /d/\n\na\nA\nb\nB",
    "CMD serve now",
    "MAINTAINER A <a@b>",
    "RUN apt update && apt install curl",
    "RUN apk add ü && pip install x==1",
    "RUN <<EOF\nmake\nmake install\nEOF",
    "ADD a.txt b.txt /c",
    "# a comment",
    "",
    "WORKDIR /w",
    "USER x",
]
HEADS = [
    "FROM a:1",
    "FROM a:1 as Base",
    "from a:1 AS b",
    "FROM --platform=$TARGETPLATFORM a:1 AS C",
    "ARG X=1\nFROM a:$X",
]
ENDS = ["\n", "\r\n"]


@st.composite
def dockerfiles(draw: st.DrawFn) -> bytes:
    end = draw(st.sampled_from(ENDS))
    lines = [draw(st.sampled_from(HEADS)), *draw(st.lists(st.sampled_from(LINES), max_size=8))]
    text = "\n".join(lines) + draw(st.sampled_from(["", "\n"]))
    mark = draw(st.sampled_from(["", "\ufeff"]))
    return (mark + text.replace("\n", end)).encode()


def look(source: bytes, rules: str) -> LintReport:
    selection = Selection.parse(rules, usual="recommended")
    request = BuildRequest(None, source)
    return check(request, resolver=StubResolver(), host=AMD64, selection=selection)


def said(source: bytes) -> tuple[Any, ...]:
    """What a file says, without where it says it."""
    planned: Plan = plan_text(source.decode("utf-8-sig"))
    steps = [(step.op, step.parent, step.name, step.created_by) for step in planned.steps]
    return planned.image, steps, planned.target


@given(dockerfiles(), st.booleans())
def test_twice_is_once(source: bytes, unsafe: bool) -> None:
    once = mend(source, lambda text: look(text, "all"), unsafe=unsafe)
    twice = mend(once.source, lambda text: look(text, "all"), unsafe=unsafe)
    assert (twice.source, twice.count) == (once.source, 0)
    assert once.report.fault is None
    assert (once.count > 0) == (once.source != source)


@given(dockerfiles())
def test_the_plan_stays(source: bytes) -> None:
    mended = mend(source, lambda text: look(text, NEUTRAL)).source
    assert said(mended) == said(source)
    left = {finding.rule.name for finding in look(mended, NEUTRAL).findings}
    assert left <= {"LegacyKeyValueFormat"}


@given(dockerfiles())
def test_only_lines_with_findings_change(source: bytes) -> None:
    report = look(source, "all")
    allowed = set[int]()
    for finding in report.findings:
        span = finding.range if finding.node is None else finding.node.range
        first = 1 if finding.node is None else span.start
        allowed.update(range(first, span.end + 1))
    before = source.split(b"\n")
    after = mend(source, lambda text: look(text, "all"), unsafe=True).source.split(b"\n")
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for kind, start, stop, _, _ in matcher.get_opcodes():
        if kind != "equal":
            assert set(range(start + 1, max(stop, start + 1) + 1)) & allowed
