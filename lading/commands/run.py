"""``lading run`` for click, which has the word on lines that ``lading.parse`` does not take."""

from __future__ import annotations

from typing import Any

import click

from lading.actions import run as action
from lading.app import App
from lading.commands.declared import TableCommand, declared
from lading.flags.run import RUN


class _Run(TableCommand):
    line = RUN


@click.command(
    cls=_Run,
    context_settings={"allow_interspersed_args": False, "help_option_names": ["--help"]},
)
@declared(RUN)
@click.pass_obj
def run(app: App, /, **values: Any) -> int:
    """Create and run a new container from an image.

    The exit status is the command's; 125 means that the container could not be made, 126 that its
    command could not be executed, 127 that it was not found.
    """
    return action.run(app, **values)
