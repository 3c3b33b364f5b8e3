"""Each promise of the durability contract has a test that quotes it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.registry.contract import holds, promises

HERE = Path(__file__).parent


def quoted() -> set[str]:
    """Every sentence that some test of the registry holds."""
    found: set[str] = set()
    for path in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "holds":
                found |= {part.value for part in node.args if isinstance(part, ast.Constant)}
    return found


def test_each_promise_is_held_by_a_test() -> None:
    written = promises()
    assert list(written) == list(range(1, len(written) + 1))
    assert set(written.values()) <= quoted()


def test_what_is_not_promised_cannot_be_quoted() -> None:
    with pytest.raises(AssertionError, match="does not promise"):
        holds("Nothing ever fails.")
