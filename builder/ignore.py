r"""``.dockerignore``: which paths of a build context are left out, by which line, and what may be
skipped.

Dockerfile reference, ".dockerignore file". Paths are relative with ``/`` between parts. A pattern
that matches a directory counts for everything below; the last line that matches decides; ``!``
takes back in. ``*``, ``?`` and ``[...]`` stay within one part, ``**`` crosses parts. Patterns are
compiled to as few regular expressions as their order allows: neighbouring lines of one kind share
one, and those of them that begin with ``**/`` share a single walk over the path's parts.
"""

from __future__ import annotations

import posixpath
import re
from functools import cached_property

from builder.errors import BuildInputError
from builder.wildcards import ANY_DEPTH, Walker, expression, is_wild, tokens
from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self


class IgnorePatternError(BuildInputError):
    """A line is not a pattern."""

    code = "ignore-pattern"


class IgnoreLine(Record):
    """A pattern as it stands in its file: the line's number from 1, and its text."""

    number: int
    text: str


class Pattern(Record):
    """One cleaned pattern."""

    text: str
    keeps: bool
    """True for ``!``."""
    origin: IgnoreLine


class IgnorePatterns:
    """An ordered list of patterns, compiled when first asked."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self.patterns = tuple(patterns)

    @classmethod
    def parse(cls, text: bytes | str, *, filename: str = ".dockerignore") -> Self:
        """Read an ignore file: comments in the first column, blanks trimmed, one leading ``/``
        dropped.

        Raises:
            IgnorePatternError: a malformed pattern, with its line.
        """
        if isinstance(text, bytes):
            text = text.decode(errors="surrogateescape")
        patterns: list[Pattern] = []
        for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
            stripped = line.strip()
            if line.startswith("#") or not stripped:
                continue
            keeps = stripped.startswith("!")
            body = stripped[1:].strip() if keeps else stripped
            if body:
                body = _clean(body)
                body = body[1:] if len(body) > 1 and body.startswith("/") else body
            written = f"!{body}" if keeps else body
            patterns.append(_pattern(written, IgnoreLine(number, stripped), filename))
        return cls(patterns)

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Self:
        """Take patterns that stand in no file (COPY --exclude).

        Raises:
            IgnorePatternError: a malformed pattern.
        """
        return cls(
            [
                _pattern(text.strip(), IgnoreLine(number, text))
                for number, text in enumerate(patterns, start=1)
                if text.strip()
            ]
        )

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def matches(self, path: str) -> bool:
        """Whether a path is left out, by itself or with a directory above it."""
        # Most paths of a context match no line at all; one look over all lines settles those.
        if self._hiding is None or not self._hiding.search(path):
            return False
        return next((not run.keeps for run in self._runs if run.search(path)), False)

    def explain(self, path: str) -> IgnoreLine | None:
        """The line that leaves a path out; None where it is kept."""
        for pattern, matches in zip(reversed(self.patterns), self._single, strict=True):
            if matches(path):
                return None if pattern.keeps else pattern.origin
        return None

    def may_prune(self, directory: str) -> bool:
        """Whether nothing below a left-out directory can be taken back in, so that no walk need
        enter it.
        """
        for pattern, matches in zip(reversed(self.patterns), self._single, strict=True):
            if pattern.keeps:
                if _reaches_below(pattern.text, directory):
                    return False
            elif matches(directory):
                return True
        return False

    def may_match_below(self, directory: str) -> bool:
        """Whether a pattern that is not ``!`` may match something below ``directory``."""
        return any(
            _reaches_below(pattern.text, directory)
            for pattern in self.patterns
            if not pattern.keeps
        )

    @cached_property
    def _single(self) -> tuple[Callable[[str], object], ...]:
        """What matches each pattern by itself, last first."""
        return tuple(_Run([pattern]).search for pattern in reversed(self.patterns))

    @cached_property
    def _hiding(self) -> _Run | None:
        """Every pattern that is not ``!``, whatever the order."""
        group = [pattern for pattern in self.patterns if not pattern.keeps]
        return _Run(group) if group else None

    @cached_property
    def _runs(self) -> tuple[_Run, ...]:
        """Neighbouring patterns of one kind, last first."""
        runs: list[_Run] = []
        group: list[Pattern] = []
        for pattern in self.patterns:
            if group and group[-1].keeps != pattern.keeps:
                runs.append(_Run(group))
                group = []
            group.append(pattern)
        if group:
            runs.append(_Run(group))
        return tuple(reversed(runs))


class _Run:
    """Neighbouring patterns that are all ``!`` or none; which of them matches does not matter."""

    def __init__(self, group: Sequence[Pattern]) -> None:
        self.keeps = group[0].keeps
        anywhere: list[str] = []
        anchored: list[str] = []
        self._walkers: list[Walker] = []
        for pattern in group:
            found = tokens(pattern.text)
            if is_wild(found):
                self._walkers.append(Walker(found))
                continue
            text = expression(found)
            deep = text.startswith(ANY_DEPTH)
            (anywhere if deep else anchored).append(text.removeprefix(ANY_DEPTH))
        parts = [_alternatives(anchored)] if anchored else []
        parts += [ANY_DEPTH + _alternatives(anywhere)] if anywhere else []
        never = "(?!)"
        self._tame = re.compile(rf"(?:{'|'.join(parts) or never})(?:/|\Z)", re.DOTALL).match
        self.search: Callable[[str], object] = self._walk if self._walkers else self._tame

    def _walk(self, path: str) -> bool:
        return bool(self._tame(path)) or any(it.matches_above(path) for it in self._walkers)


def _alternatives(expressions: Sequence[str]) -> str:
    return f"(?:{'|'.join(expressions)})"


def _pattern(written: str, origin: IgnoreLine, filename: str | None = None) -> Pattern:
    """Clean and check one pattern.

    Raises:
        IgnorePatternError: nothing after ``!``, or bad syntax.
    """
    where = f"{filename}:{origin.number}" if filename else None
    cleaned = _clean(written)
    keeps = cleaned.startswith("!")
    body = cleaned[1:] if keeps else cleaned
    if not body:
        raise IgnorePatternError(
            'illegal exclusion pattern: "!"',
            where=where,
            fix="write a pattern after !",
        )
    try:
        tokens(body)
    except ValueError as error:
        raise IgnorePatternError(
            f"syntax error in pattern: {origin.text}",
            where=where,
            fix=f"{error}; put a backslash before a special character",
        ) from error
    return Pattern(body, keeps, origin)


def _clean(path: str) -> str:
    """Go's filepath.Clean: as normpath, with any number of leading slashes made one."""
    return posixpath.normpath("/" + path.lstrip("/") if path.startswith("/") else path)


def _reaches_below(pattern: str, directory: str) -> bool:
    """Whether a pattern may match something below ``directory``."""
    wanted = pattern.split("/")
    parts = directory.split("/")
    for segment, part in zip(wanted, parts, strict=False):
        if "**" in segment:
            return True
        try:
            found = tokens(segment)
        except ValueError:
            # A slash within a class, or escaped, was cut in two: the pieces say nothing.
            return True
        if not is_wild(found) and not re.fullmatch(expression(found), part, re.DOTALL):
            return False
    return len(wanted) > len(parts)
