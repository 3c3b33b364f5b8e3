"""Rules by pattern: which repositories and tags a rule of the configuration is about."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator

from registry.access.patterns import OWN, compile_pattern, pattern_problem
from registry.errors import RegistryConfigError

Matcher = Callable[[str], bool]


def repository_problems(pattern: str) -> Iterator[RegistryConfigError]:
    """What is wrong with the ``repositories`` of a rule."""
    problem = pattern_problem(pattern)
    if problem is None and OWN in pattern.split("/"):
        problem = f"{OWN} means nothing here: rules of the store hold for every user"
    if problem is not None:
        yield RegistryConfigError(
            f"not a pattern of repositories: {problem}",
            where="repositories",
            fix="write a name, with * within a segment and ** for any number of segments",
        )


def repository_matcher(pattern: str) -> Matcher:
    """A test for repository names."""
    return compile_pattern(pattern)


def tag_matcher(pattern: str) -> Matcher:
    """A test for tags; ``pattern`` is a shell pattern (``*``, ``?``, ``[a-z]``)."""
    match = re.compile(fnmatch.translate(pattern)).match
    return lambda tag: match(tag) is not None
