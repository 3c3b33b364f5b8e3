"""What can be wrong with a definition: all of it the author's to mend, with the line to blame."""

from __future__ import annotations

from images.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.bake.source import Place


class BakeError(InputError):
    """Base of this room's errors; ``place`` is None where no line is to blame."""

    code = "bake"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        place: Place | None = None,
    ) -> None:
        self.place = place
        super().__init__(what, where=where or (place.where if place else None), fix=fix)

    def excerpt(self) -> str:
        """The lines at fault with a caret, or an empty text."""
        if self.place is None:
            return ""
        from dockerfile_grammar.excerpt import excerpt
        from dockerfile_grammar.nodes import SourceRange

        file, line, column = self.place
        marked = SourceRange(line, line)
        return excerpt(file.name, file.lines, [marked], caret=(line, column))


class BakeSyntaxError(BakeError):
    """The file is not HCL, not JSON, or not YAML."""

    code = "bake-syntax"


class BakeValueError(BakeError):
    """An expression has no value, or one of the wrong type."""

    code = "bake-value"


class BakeLimitError(BakeError):
    """The definition asks for more than a definition may take: depth, size or number."""

    code = "bake-limit"


class BakeDeniedError(BakeError):
    """The definition wants what only ``--allow`` on the command line may give."""

    code = "bake-denied"
