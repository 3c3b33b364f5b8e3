"""``run`` and ``build`` without click, which takes longer to import than a cached build may take.

Only well-formed lines: what ``lading.parse`` does not take, help and mistakes included, is click's.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from lading.flags import Line

COMMANDS = ("build", "run")


def run_directly(arguments: Sequence[str]) -> int | None:
    """The exit status of a command line, or None where click has to read it."""
    if not any(name in arguments for name in COMMANDS):
        return None
    from lading.flags import GLOBAL
    from lading.parse import parse

    top = parse(GLOBAL, arguments)
    if top is None or not top["words"] or top["words"][0] not in COMMANDS:
        return None
    name, *words = top["words"]
    values = parse(_line(name), words)
    if values is None:
        return None
    from lading.app import App
    from lading.errors import status_of

    app = App.create(root=top["root"], config=top["config"], debug=top["debug"])
    return status_of(lambda: _action(name)(app, **values), debug=app.debug)


def _line(name: str) -> Line:
    if name == "run":
        from lading.flags.run import RUN

        return RUN
    from lading.flags.build import BUILD

    return BUILD


def _action(name: str) -> Callable[..., Any]:
    if name == "run":
        from lading.actions.run import run

        return run
    from lading.actions.build import build

    return build
