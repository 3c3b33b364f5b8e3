"""Patterns over repository names: ``*`` within a path segment, ``**`` across segments.

A pattern matches a whole name, never a prefix of one: ``lib`` is one repository, ``lib/**`` what is
below it, ``lib*`` names of one segment. ``**`` stands for a whole number of segments, one or more;
``{user}`` as a segment stands for the caller's own name, taken literally. Matching never takes more
steps than the product of both lengths, whatever name a client sends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from images.reference import is_repository

_SEGMENT: Final = re.compile(r"[a-z0-9._*-]+\Z")
_LIMIT: Final = 255

OWN: Final = "{user}"


def pattern_problem(pattern: str) -> str | None:
    """What is wrong with it, as a sentence; None when nothing is."""
    if not pattern:
        return "an empty pattern matches nothing"
    if len(pattern) > _LIMIT:
        return f"it is longer than {_LIMIT} characters"
    for segment in pattern.split("/"):
        if segment in ("**", OWN):
            continue
        if not segment:
            return "a segment is empty"
        if "**" in segment:
            return "** stands for whole segments"
        if not _SEGMENT.match(segment):
            return "names are lowercase letters, digits, '.', '_' and '-'"
    return None


def compile_pattern(pattern: str, *, user: str = "") -> Callable[[str], bool]:
    """A test for names; ``user`` is what ``{user}`` stands for, "" for nobody's.

    ``pattern`` is one that ``pattern_problem`` finds nothing wrong with.
    """
    if pattern == "**":
        return _any_name
    segments = pattern.split("/")
    if OWN in segments and not is_segment(user):
        return _no_name
    segments = [user if segment == OWN else segment for segment in segments]
    if "*" not in pattern:
        return "/".join(segments).__eq__
    tests = [None if segment == "**" else _segment_test(segment) for segment in segments]
    return lambda name: _matches(tests, name.split("/"))


def literal_prefix(pattern: str, *, user: str = "") -> str:
    """How every name that matches begins; listings start there."""
    segments = (user if segment == OWN else segment for segment in pattern.split("/"))
    return "/".join(segments).partition("*")[0]


def text_test(pattern: str) -> Callable[[str], bool]:
    """A test for any text of one line, where ``*`` is any characters, slashes among them."""
    return _segment_test(pattern)


def is_segment(user: str) -> bool:
    """Whether a user's name can be one segment of a repository name."""
    return "/" not in user and is_repository(user)


def _matches(tests: Sequence[Callable[[str], bool] | None], segments: Sequence[str]) -> bool:
    """Match segment by segment; None is ``**``. Only the latest ``**`` is ever widened: what an
    earlier one could still take, the latest can take as well.
    """
    at = test = 0
    resume_at, resume_test = -1, -1
    while at < len(segments):
        if test < len(tests):
            check = tests[test]
            if check is None:
                resume_at, resume_test = at + 1, test + 1
                at, test = resume_at, resume_test
                continue
            if check(segments[at]):
                at, test = at + 1, test + 1
                continue
        if resume_test < 0:
            return False
        resume_at += 1
        at, test = resume_at, resume_test
    return test == len(tests)


def _segment_test(segment: str) -> Callable[[str], bool]:
    first, *rest = (re.escape(part) for part in segment.split("*"))
    if not rest:
        return segment.__eq__
    # Atomic: the first place where a part fits is as good as any later one.
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1])
    match = re.compile(f"{first}{middle}.*{rest[-1]}").fullmatch
    return lambda name: match(name) is not None


def _any_name(_name: str) -> bool:
    return True


def _no_name(_name: str) -> bool:
    return False
