"""Filters of the list of builds."""

from __future__ import annotations

from typing import Any

import pytest

from engine.builds.history.filters import FilterError, matcher

NOW = 1_700_000_000.0


def _build(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "ref": "abc",
        "name": "shop:1",
        "status": "failed",
        "started": NOW - 3600,
        "ended": NOW - 3510,
        "request": {"context": "https://example.com/shop.git#main"},
    }
    return document | changes


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("status=failed", True),
        ("status=error", True),
        ("status!=error", False),
        ("status=completed", False),
        ("status!=success", True),
        ("ref=b", True),
        ("ref!=abc", False),
        ("name=shop", True),
        ("name!=shop", True),
        ("repository=example.com/shop", True),
        ("repository!=https://example.com/shop.git", False),
        ("duration>1m", True),
        ("duration>1m30s", False),
        ("duration>=1m30s", True),
        ("duration<=90s", True),
        ("duration<90s", False),
        ("duration<1.5h", True),
        ("startedAt>2h", True),
        ("startedAt<2h", False),
        ("startedAt<2023-11-14T21:30:00Z", True),
        ("completedAt>=2023-11-14T21:14:50+00:00", True),
    ],
)
def test_one_filter(text: str, passes: bool) -> None:
    assert matcher([text], NOW)(_build()) is passes


def test_every_filter_has_to_pass() -> None:
    assert matcher(["status=error", "duration>1m"], NOW)(_build())
    assert not matcher(["status=error", "duration>1h"], NOW)(_build())
    assert matcher([], NOW)(_build())


def test_what_runs_has_no_duration_yet() -> None:
    running = _build(status="running", ended=None)
    assert not matcher(["duration<1h"], NOW)(running)
    assert matcher(["startedAt>2h", "status=running"], NOW)(running)


def test_a_directory_is_no_repository() -> None:
    assert not matcher(["repository=src"], NOW)(_build(request={"context": "/src"}))


@pytest.mark.parametrize(
    "text",
    ["", "status", "state=failed", "status>failed", "duration=1m", "duration>soon", "duration>1x",
     "startedAt>soon", "duration<2023-11-14T21:30:00Z", "=x"],
)  # fmt: skip
def test_filters_that_mean_nothing(text: str) -> None:
    with pytest.raises(FilterError) as caught:
        matcher([text], NOW)
    assert caught.value.fix
