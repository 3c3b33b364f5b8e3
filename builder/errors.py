"""What can go wrong in a build, in three families: the inputs, the environment, a step that failed.

Every error that stems from a Dockerfile line carries a ``Source``, so that the command line can
show the lines with markers. Nothing here prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from images.errors import ImagesError, InvalidArchiveError, SizeLimitError
from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    _T = TypeVar("_T")


class Source(Record):
    """A place in a Dockerfile: its name, its lines, and marked ranges (1-based, inclusive)."""

    filename: str
    lines: tuple[str, ...]
    ranges: tuple[tuple[int, int], ...]

    @property
    def where(self) -> str:
        """``file:line`` of the first marked line."""
        return f"{self.filename}:{self.ranges[0][0]}" if self.ranges else self.filename

    @property
    def first_line(self) -> str:
        """The first marked line as it is written, or nothing."""
        return self.lines[self.ranges[0][0] - 1].strip() if self.ranges else ""

    def excerpt(self) -> str:
        """The marked lines with a little context, each marked line led by ``>>>``."""
        if not self.ranges:
            return ""
        from dockerfile_grammar.excerpt import excerpt
        from dockerfile_grammar.nodes import SourceRange

        return excerpt(self.filename, self.lines, [SourceRange(*span) for span in self.ranges])


class BuildError(ImagesError):
    """Base of every error of this package; ``source`` is None where no line is to blame."""

    code = "build"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        source: Source | None = None,
    ) -> None:
        self.source = source
        super().__init__(what, where=where or (source.where if source else None), fix=fix)

    def excerpt(self) -> str:
        """The Dockerfile lines to blame, or an empty text."""
        return self.source.excerpt() if self.source is not None else ""


class BuildInputError(BuildError):
    """The Dockerfile, an argument or the context is at fault."""

    code = "build-input"


class PlanError(BuildInputError):
    """The Dockerfile parses, but says something that cannot be built."""

    code = "plan"


class TargetUnknownError(PlanError):
    """No stage has the name given with ``--target``."""

    code = "target-unknown"


class SecretUnknownError(BuildInputError):
    """A step requires a secret or an agent socket that was not given to the build."""

    code = "secret-unknown"


class DownloadError(BuildError):
    """A file that ADD takes from a web server cannot be had, or is not what was promised."""

    code = "download"


class BuildEnvironmentError(BuildError):
    """This machine cannot do it: no runtime for the platform, no space, no permission."""

    code = "build-environment"


class BuildCancelledError(BuildError):
    """The build was interrupted; everything finished so far stays in the cache."""

    code = "build-cancelled"


class StepFailedError(BuildError):
    """A command of the Dockerfile failed. ``log`` holds the last lines it wrote, newest last."""

    code = "step-failed"

    def __init__(
        self,
        command: str,
        exit_code: int,
        *,
        log: Sequence[str] = (),
        reason: str | None = None,
        source: Source | None = None,
        fix: str | None = None,
    ) -> None:
        self.command = command
        self.exit_code = exit_code
        self.log = tuple(log)
        ending = reason or f"exit code: {exit_code}"
        super().__init__(
            f'process "{command}" did not complete successfully: {ending}', source=source, fix=fix
        )


def first_cause(failed: Sequence[tuple[_T, BaseException]]) -> tuple[_T, BaseException]:
    """Of what failed, in this order, what stopped the others rather than that they were stopped.

    What breaks because it is being stopped may say so in other words, but later.
    """
    causes = [pair for pair in failed if not isinstance(pair[1], BuildCancelledError)]
    return (causes or failed)[0]


@contextmanager
def blaming(source: Source | None) -> Iterator[None]:
    """Give errors that know no Dockerfile line the place ``source``."""
    try:
        yield
    except BuildError as error:
        if error.source is None and source is not None:
            error.source = source
            error.where = error.where or source.where
        raise
    except (InvalidArchiveError, SizeLimitError) as error:
        raise BuildInputError(str(error), fix=error.fix, source=source) from error
