"""Suite ``ignore``: {patterns, path, match | error, filepath_match}."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from builder.ignore import IgnorePatternError, IgnorePatterns
from tests.oracle.verdict import Verdict, compare

ALTERNATION = "{ | } beside a wildcard are plain characters, not a regular expression's operators"
MALFORMED = "a malformed pattern is an error wherever its fault stands, also after a star"
CARET = "^ outside a class beside a wildcard is a plain character, not the start of the text"


def check_ignore(row: dict[str, Any]) -> Verdict:
    error = match = None
    try:
        match = IgnorePatterns.of(row["patterns"]).matches(row["path"])
    except IgnorePatternError as caught:
        error = caught.what.split(":")[0]
    verdict = compare(
        f"{row['patterns']} {row['path']!r}",
        match=(row.get("match"), match),
        error=(row.get("error"), error),
    )
    if verdict.passed:
        return verdict
    rule = MALFORMED if error and _malformed(row["patterns"]) else _rule(row["patterns"])
    return replace(verdict, differences=(), deviation=rule) if rule else verdict


def _rule(patterns: list[str]) -> str | None:
    wild = [pattern for pattern in patterns if re.search(r"[*?\[\\]", pattern)]
    if any(re.search(r"[{|}]", pattern) for pattern in wild):
        return ALTERNATION
    if any("^" in pattern.replace("[^", "[") for pattern in wild):
        return CARET
    return None


def _malformed(patterns: list[str]) -> bool:
    ends = [pattern.rstrip("/") for pattern in patterns if "*" in pattern]
    return any(end.endswith(("\\", "/[")) for end in ends)
