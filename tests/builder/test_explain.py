"""Reasons for a miss."""

from __future__ import annotations

import pytest

from builder.request import Change
from builder.solver.explain import (
    NO_RECORD,
    Components,
    components,
    differences,
    explain_miss,
    nearest,
)

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


def test_every_difference_is_told() -> None:
    now = Components(
        {**BEFORE.fields, "env": '["A=2"]', "parent": '"02"', "cwd": '"/w"', "base": '["b@2"]'},
        {"a": "2"},
    )
    assert differences(BEFORE, now) == (
        Change("file", "a", "changed"),
        Change("variable", "A", "changed"),
        Change("variable", "B", "removed"),
        Change("base", "b", "added"),
        Change("instruction", "cwd", "added"),
    )


def test_what_came_before_is_told_only_where_nothing_else_changed() -> None:
    assert differences(BEFORE, _with(parent='"02"')) == (Change("step", "parent"),)
    assert differences(BEFORE, BEFORE) == ()


def test_the_base_is_named() -> None:
    before, now = _with(base='["debian:12@sha256:1"]'), _with(base='["debian:12@sha256:2"]')
    assert explain_miss(before, now) == "the base image debian:12 changed"


def test_the_nearest_record_has_the_fewest_differences() -> None:
    far, near = _with(args='["x"]', cwd='"/"'), _with(args='["y"]')
    assert nearest([far, near], BEFORE) is near
    assert nearest([], BEFORE) is None
