"""Sizes, ages and columns as Docker prints them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lading.render.table import listing, tabulate
from lading.render.units import human_ago, human_duration, human_size, parse_time


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (5300, "5.3kB"),
        (77_000_000, "77MB"),
        (124_300_000, "124MB"),
        (1.22e9, "1.22GB"),
    ],
)
def test_human_size(size: float, text: str) -> None:
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "Less than a second"),
        (1, "1 second"),
        (45, "45 seconds"),
        (61, "About a minute"),
        (600, "10 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (3 * 86400, "3 days"),
        (21 * 86400, "3 weeks"),
        (90 * 86400, "3 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_human_duration(seconds: float, text: str) -> None:
    assert human_duration(timedelta(seconds=seconds)) == text


def test_nanosecond_times_are_read() -> None:
    moment = parse_time("2024-02-01T10:00:00.123456789Z")
    assert moment == datetime(2024, 2, 1, 10, 0, 0, 123456, tzinfo=UTC)
    assert human_ago("2024-02-01T10:00:00Z", datetime(2024, 2, 1, 12, tzinfo=UTC)) == "2 hours ago"
    assert human_ago("not a time", datetime.now(UTC)) == "N/A"


ITEMS = [{"ID": "abc", "Name": "one"}, {"ID": "def", "Name": "a name that is long"}]
HEADERS = {"ID": "IMAGE ID", "Name": "NAME"}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, "IMAGE ID   NAME\nabc        one\ndef        a name that is long\n"),
        ("{{.Name}}", "one\na name that is long\n"),
        ("json", '{"ID":"abc","Name":"one"}\n{"ID":"def","Name":"a name that is long"}\n'),
        (
            "table {{.Name}}\t{{.ID}}",
            "NAME                  IMAGE ID\none                   abc\n"
            "a name that is long   def\n",
        ),
    ],
)
def test_listing(template: str | None, expected: str) -> None:
    assert listing(ITEMS, headers=HEADERS, columns=("ID", "Name"), template=template) == expected


def test_quiet_wins_and_nothing_is_nothing() -> None:
    quiet = listing(ITEMS, headers=HEADERS, columns=("ID",), template="json", quiet_field="ID")
    assert quiet == "abc\ndef\n"
    assert tabulate([]) == ""
