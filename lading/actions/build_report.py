"""What a build leaves behind besides its image: a summary on the screen, a report in a file."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from engine.builds.history.document import Document
    from lading.app import App


def conclude(
    app: App, document: Document, *, summary: str | None, report: Path | None, shown: bool
) -> None:
    """Tell what the record of a build says, now that it is over, however it ended.

    ``summary`` is ``always``, ``never`` or, by default, ``auto``: on a terminal that progress was
    shown on (``shown``), when something was executed.

    Raises:
        OSError: the report of a build that went well cannot be written.
    """
    completed = document["status"] == "completed"
    executed = completed and not document.get("cached")
    auto = shown and executed and summary in (None, "auto") and sys.stderr.isatty()
    if auto or (completed and summary == "always"):
        _print_summary(document, everything=not auto)
    if report is not None:
        _write_report(app, document, report)


def _print_summary(document: Document, *, everything: bool) -> None:
    from lading.render.summary import WIDEST, summary_text

    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
    except (OSError, ValueError):
        width = WIDEST
    print(summary_text(document, width=width, everything=everything), end="", file=sys.stderr)


def _write_report(app: App, document: Document, path: Path) -> None:
    from engine.builds.history.archive import document_log
    from images.errors import EnvironmentFault
    from lading.render.atomic import write_whole
    from lading.render.report.page import report_html

    html = report_html(document, document_log(app.state, document["ref"]), app.store)
    try:
        write_whole(path, html.encode())
    except EnvironmentFault as error:
        if document["status"] == "completed":
            raise
        # The build's own failure is what matters, and it is about to be told.
        print(f"lading: the report was not written: {error}", file=sys.stderr)
