"""``lading bake`` for click."""

from __future__ import annotations

from typing import Any

import click

from lading.actions import bake as action
from lading.app import App
from lading.commands.declared import TableCommand, declared
from lading.commands.foreign import translated
from lading.flags.bake import BAKE


class _Bake(TableCommand):
    line = BAKE

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what people type for other builders first."""
        return super().parse_args(ctx, translated(self.line, args))


@click.command(cls=_Bake)
@declared(BAKE)
@click.pass_obj
def bake(app: App, /, **values: Any) -> int:
    """Build the targets of a bake file or a compose file.

    NAMES are targets and groups, or patterns of them; without any it is the group or target called
    default. A URL before them names a definition elsewhere: a git repository, or an archive.
    """
    return action.bake(app, **values)
