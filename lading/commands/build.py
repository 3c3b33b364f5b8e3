"""``lading build`` for click, which has the word on lines that ``lading.parse`` does not take."""

from __future__ import annotations

from typing import Any

import click

from lading.actions import build as action
from lading.app import App
from lading.commands.declared import TableCommand, declared
from lading.commands.foreign import translated
from lading.flags.build import BUILD


class _Build(TableCommand):
    line = BUILD

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what people type for other builders first."""
        return super().parse_args(ctx, translated(self.line, args))


@click.command(cls=_Build)
@declared(BUILD)
@click.pass_obj
def build(app: App, /, **values: Any) -> int:
    """Build an image from a Dockerfile.

    CONTEXT is a directory, a git or http URL, or a single dash: a tar archive or a Dockerfile on
    stdin.
    """
    return action.build(app, **values)
