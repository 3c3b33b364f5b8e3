"""Every case of the corpus parses to its recorded tree, or fails with its recorded message and
position.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dockerfile_grammar.syntax import SHAPES
from tests.dockerfile_grammar.golden import CORPUS, cases, outcome


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_case(case: Path) -> None:
    expected = json.loads((case / "expected.json").read_text())
    assert outcome((case / "Dockerfile").read_bytes()) == expected


def test_corpus_covers_every_instruction_and_both_outcomes() -> None:
    texts = {case.name: (case / "expected.json").read_text() for case in cases()}
    assert sum(name.startswith("error-") for name in texts) >= 40
    everything = "".join(texts.values())
    for name in map(str.capitalize, SHAPES):
        assert f'"type": "{name}"' in everything, name


def test_error_cases_are_errors() -> None:
    for case in CORPUS.glob("error-*"):
        assert "error" in json.loads((case / "expected.json").read_text()), case.name
