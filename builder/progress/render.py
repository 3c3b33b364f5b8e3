"""Chooses a renderer by the name that ``--progress`` takes."""

from __future__ import annotations

import os

from builder.errors import BuildInputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final, TextIO

    from builder.progress.events import Event, ProgressSink

NAMES: Final = ("auto", "tty", "plain", "quiet", "rawjson", "none")
VARIABLE: Final = "BUILDKIT_PROGRESS"
"""Says what ``auto`` is, as for buildx."""


class QuietProgress:
    """Shows nothing."""

    def emit(self, event: Event) -> None:
        """Forget the event."""

    def close(self) -> None:
        """Nothing is left to write."""


def chosen_name(name: str, environment: Mapping[str, str]) -> str:
    """What ``--progress`` names; the environment has a say where that is ``auto``.

    Raises:
        BuildInputError: no renderer has that name.
    """
    where = "--progress"
    if name == "auto" and environment.get(VARIABLE):
        name, where = environment[VARIABLE], VARIABLE
    if name not in NAMES:
        raise BuildInputError(
            f"invalid progress mode {name!r}", where=where, fix=f"use one of {', '.join(NAMES)}"
        )
    return name


def make_progress(
    name: str,
    out: TextIO,
    *,
    explain: bool = False,
    environment: Mapping[str, str] | None = None,
) -> ProgressSink:
    """The renderer called ``name``; ``auto`` is ``tty`` on a terminal and ``plain`` elsewhere.

    ``explain`` makes the plain one say why a step was not cached; the JSON one always does.
    ``environment`` is the process's by default.

    Raises:
        BuildInputError: no renderer has that name.
    """
    environment = os.environ if environment is None else environment
    name = chosen_name(name, environment)
    if name == "auto":
        dumb = environment.get("TERM") == "dumb"
        name = "tty" if out.isatty() and not dumb else "plain"
    if name == "tty":
        from builder.progress.tty import TtyProgress

        return TtyProgress(out, environment=environment)
    if name == "plain":
        from builder.progress.plain import PlainProgress

        return PlainProgress(out, explain=explain)
    if name == "rawjson":
        from builder.progress.rawjson import RawJsonProgress

        return RawJsonProgress(out)
    return QuietProgress()
