"""COPY, ADD and WORKDIR case by case as the reference does them; owners need root."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.tree import DEVIATIONS, check_tree

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "fixtures/oracle/tree.jsonl").read_text().splitlines()
]


@pytest.mark.root
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_row(row: dict[str, Any]) -> None:
    verdict = check_tree(row)
    assert verdict.differences == ()
    assert verdict.deviation == DEVIATIONS.get(row["name"])
