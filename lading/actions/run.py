"""``lading run``: Docker's flags onto ``engine.run_options.RunOptions``, field by field."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, Final

    from images.platform import Platform
    from images.reference import Reference
    from lading.app import App

COULD_NOT_RUN: Final = 125


def run(
    app: App,
    *,
    insecure_registry: tuple[str, ...],
    policy: Path | None,
    verify_key: tuple[Path, ...],
    disable_content_trust: str | None,
    **flags: Any,
) -> int:
    """Create and run a new container; ``flags`` are those of ``lading.flags.run``.

    The exit status is the command's; 125 means that the container could not be made, 126 that its
    command could not be executed, 127 that it was not found.
    """
    from engine.run import run as start
    from engine.run_options import RunOptions
    from lading.app import default_platform

    flags["platform"] = flags["platform"] or default_platform()
    access = app.access(
        insecure_registry,
        policy=policy,
        verify_key=verify_key,
        disable_content_trust=disable_content_trust,
    )

    def pull(reference: Reference, platform: Platform | None) -> None:
        from engine.registries import pull as fetch
        from lading.render.transfer import transfer_view

        view = transfer_view("pull", sys.stderr, quiet=False)
        try:
            fetch(reference, app.store, access, platform=platform, progress=view)
        finally:
            view.close()

    try:
        if access.content_trust:
            from lading.content_trust import signed_only

            flags["pull"] = signed_only(app, insecure_registry, flags["image"], flags["pull"])
        return start(RunOptions(**flags), app.store, app.runtime, pull=pull)
    except Exception as error:
        if app.debug:
            raise
        from lading.errors import render_error

        # Whatever kept the container from running is 125 for scripts, unless it says otherwise.
        status = render_error(error, sys.stderr)
        return getattr(error, "exit_status", COULD_NOT_RUN) if status == 1 else status
