"""Reasons for a miss."""

from __future__ import annotations

import pytest

from builder.solver.explain import NO_RECORD, Components, components, explain_miss

BEFORE = components(
    [("op", "run"), ("args", ("sh", "x")), ("env", ("A=1", "B=2")), ("parent", b"1")], {"a": "1"}
)


def _with(**fields: str) -> Components:
    return Components({**BEFORE.fields, **fields}, BEFORE.files)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (_with(args='["sh", "y"]'), "the command changed"),
        (_with(op='"copy"'), "the instruction changed"),
        (_with(parent='"02"'), "an earlier step changed"),
        (_with(env='["A=1", "B=3"]'), "variable B changed"),
        (_with(env='["A=1"]'), "variable B changed"),
        (_with(env='["B=2", "A=1"]'), "the order of variables changed"),
        (_with(chmod='"644"'), "chmod changed"),
        (Components(BEFORE.fields, {"a": "2"}), "file a changed"),
        (Components(BEFORE.fields, {"a": "1", "b": "1"}), "file b added"),
        (Components(BEFORE.fields, {}), "file a removed"),
        (Components(BEFORE.fields, {"a": "2", "b": "1"}), "file a changed and 1 more"),
        (BEFORE, "the recorded layer is no longer in the store"),
    ],
)
def test_reason(now: Components, reason: str) -> None:
    assert explain_miss(BEFORE, now) == reason


def test_the_first_build_has_no_record() -> None:
    assert explain_miss(None, BEFORE) == NO_RECORD


def test_components_survive_storage() -> None:
    assert Components.decode(BEFORE.encode()) == BEFORE
