"""Chooses a renderer by the name that ``--progress`` takes."""

from __future__ import annotations

from builder.errors import BuildInputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, TextIO

    from builder.progress.events import Event, ProgressSink

NAMES: Final = ("auto", "tty", "plain", "quiet", "rawjson")


class QuietProgress:
    """Shows nothing."""

    def emit(self, event: Event) -> None:
        """Forget the event."""

    def close(self) -> None:
        """Nothing is left to write."""


def make_progress(name: str, out: TextIO, *, explain: bool = False) -> ProgressSink:
    """The renderer called ``name``; ``auto`` is ``tty`` on a terminal and ``plain`` elsewhere.

    ``explain`` makes the plain one say why a step was not cached; the JSON one always does.

    Raises:
        BuildInputError: no renderer has that name.
    """
    if name == "auto":
        name = "tty" if out.isatty() else "plain"
    if name == "tty":
        from builder.progress.tty import TtyProgress

        return TtyProgress(out)
    if name == "plain":
        from builder.progress.plain import PlainProgress

        return PlainProgress(out, explain=explain)
    if name == "rawjson":
        from builder.progress.rawjson import RawJsonProgress

        return RawJsonProgress(out)
    if name == "quiet":
        return QuietProgress()
    raise BuildInputError(f"invalid progress mode {name!r}", fix=f"use one of {', '.join(NAMES)}")
