"""Conformance with the reference: every recorded row passes or is a deviation listed by rule."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.oracle.__main__ import main
from tests.oracle.suites import SUITES

ORACLE = Path(__file__).parents[2] / "fixtures" / "oracle"

DEVIATIONS = {
    "expand": {"the reference forgets the words in front of ${name<operator>...}": 203},
    "ignore": {
        "a malformed pattern is an error wherever its fault stands, also after a star": 15,
        "{ | } beside a wildcard are plain characters": 32,
    },
    "plan-parse": {
        "a directive's error names its line counted from 1, not from 0": 1,
        "a mount field that no variable can mend is reported by the parser": 1,
        "an empty file is reported with the client's message": 1,
    },
}
FILES = {"expand": "expand.jsonl", "ignore": "ignore.jsonl", "plan-parse": "plan.jsonl"}


@pytest.mark.parametrize("suite", FILES)
def test_rows(suite: str) -> None:
    rows = [json.loads(line) for line in (ORACLE / FILES[suite]).read_text().splitlines()]
    verdicts = [SUITES[suite](row) for row in rows]
    assert [verdict for verdict in verdicts if not verdict.passed] == []
    found = Counter(verdict.deviation for verdict in verdicts if verdict.deviation is not None)
    expected = DEVIATIONS[suite]
    assert len(found) == len(expected)
    for rule, count in found.items():
        assert [expected[start] for start in expected if rule.startswith(start)] == [count], rule


def test_runner_prints_the_differences_of_a_failing_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"word": "$A", "env": {"A": "1"}, "result": "2", "words": ["1"]},
        {"word": "$A", "env": {"A": "1"}, "result": "1", "words": ["1"]},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert main(["expand", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "row 1: $A"
    assert "expected '2', got '1'" in lines[1]
    assert lines[-1] == "passed 1 of 2"
