"""What can be wrong with a Dockerfile: the message, the lines, and where known the column."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dockerfile_grammar.excerpt import excerpt
from dockerfile_grammar.nodes import SourceRange

if TYPE_CHECKING:
    from collections.abc import Sequence


class GrammarError(Exception):
    """Base of this package's errors.

    ``what`` is BuildKit's message text, ``where`` names file and line, ``fix`` tells the author
    what to do, ``code`` is stable and never translated.
    """

    code = "dockerfile"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        code: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        if code is not None:
            self.code = code
        super().__init__(what)

    def __str__(self) -> str:
        return self.what if self.where is None else f"{self.where}: {self.what}"


class SyntaxFault(GrammarError):
    """A fault found in one piece of text, before its place in a file is known.

    ``offset`` counts characters from the start of the text that was given, None where it is
    unknown.
    """

    code = "dockerfile-syntax"

    def __init__(
        self,
        what: str,
        *,
        code: str | None = None,
        fix: str | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(what, fix=fix, code=code)
        self.offset = offset


class ExpansionError(SyntaxFault):
    """A ``$variable`` expression is malformed, or ``${name?}`` found its variable unset."""

    code = "dockerfile-expansion"


class MountError(SyntaxFault):
    """A ``RUN --mount`` breaks the rules of its type."""

    code = "dockerfile-mount"


class DockerfileError(GrammarError):
    """The file is not a Dockerfile; knows the lines at fault and can show them."""

    def __init__(
        self,
        what: str,
        *,
        filename: str,
        lines: Sequence[str],
        range: SourceRange,
        caret: tuple[int, int] | None = None,
        fix: str | None = None,
        code: str | None = None,
    ) -> None:
        where = f"{filename}:{range.start}" if range.start else filename
        super().__init__(what, where=where, fix=fix, code=code)
        self.filename = filename
        self.range = range
        self.caret = caret
        self._lines = lines

    def excerpt(self) -> str:
        """The source lines at fault, marked; the file name alone where no line is at fault."""
        return excerpt(self.filename, self._lines, [self.range], caret=self.caret)
