"""``lading run`` for the common case, without the imports of the full command line.

A cold start spends more time on importing an argument parser than the kernel on making a container.
Flags that are plain Docker's, and an image that is here, need none; everything else is left to the
full command, which then starts from the beginning: nothing has been made by then.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from images.platform import Platform
    from images.reference import Reference

INTERRUPTED_STATUS: Final = 130
COULD_NOT_RUN: Final = 125


class _PullNeeded(Exception):
    """The image is not here: registries, policy and progress are the full command's."""


def run_quickly(arguments: Sequence[str]) -> int | None:
    """The exit status of `lading run ARGUMENTS`, or None where the full command has to do it."""
    from engine.run_arguments import parse

    options = parse(arguments)
    if options is None or options.pull == "always":
        return None
    from engine.run import run
    from images.errors import ImagesError
    from lading.app import App

    app = App.create(root=None, config=None, debug=False)
    try:
        return run(options, app.store, app.runtime_dir, pull=_refuse)
    except _PullNeeded:
        return None
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    except (ImagesError, OSError) as error:
        from lading.errors import render_error

        # Whatever kept the container from running is 125 for scripts, unless it says otherwise.
        status = render_error(error, sys.stderr)
        return getattr(error, "exit_status", COULD_NOT_RUN) if status == 1 else status


def _refuse(reference: Reference, platform: Platform | None) -> None:
    raise _PullNeeded
