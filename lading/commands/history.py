"""``lading history``: of an image, and behind the word ``builds`` of what was built here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from images.platform import Platform
from lading.app import App
from lading.cli import LazyGroup
from lading.render.table import listing
from lading.render.units import human_ago, human_size

_COMMAND_WIDTH = 45
_HEADERS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}


@click.command()
@click.argument("image")
@click.option("--format", "template", metavar="TEMPLATE", help="Go template, table or json")
@click.option("-H", "--human/--no-human", default=True, help="Sizes and dates for people")
@click.option("--no-trunc", is_flag=True, help="Show whole commands and ids")
@click.option("--platform", metavar="OS/ARCH", help="Which image of a multi-platform one")
@click.option("-q", "--quiet", is_flag=True, help="Only image ids")
@click.pass_obj
def history(
    app: App,
    image: str,
    *,
    template: str | None,
    human: bool,
    no_trunc: bool,
    platform: str | None,
    quiet: bool,
) -> None:
    """Show the history of an image.

    `lading history builds` is about earlier builds; the image of that name is shown by
    `lading image history builds`.
    """
    from engine.images import history as entries

    now = datetime.now(UTC)
    wanted = None if platform is None else Platform.parse(platform)
    text = listing(
        [
            _row(item, now, human=human, whole=no_trunc)
            for item in entries(app.store, image, platform=wanted)
        ],
        headers=_HEADERS,
        columns=("ID", "CreatedSince", "CreatedBy", "Size", "Comment"),
        template=template,
        quiet_field="ID" if quiet else None,
    )
    click.echo(text, nl=False)


def _row(item: dict[str, Any], now: datetime, *, human: bool, whole: bool) -> dict[str, Any]:
    command, identity = item["CreatedBy"].replace("\t", " "), item["Id"]
    if not whole:
        identity = identity.removeprefix("sha256:")[:12]
        if len(command) > _COMMAND_WIDTH:
            command = f"{command[: _COMMAND_WIDTH - 1]}…"
    return {
        "ID": identity,
        "CreatedSince": human_ago(item["Created"], now) if human else item["Created"] or "N/A",
        "CreatedAt": item["Created"] or "N/A",
        "CreatedBy": command,
        "Size": human_size(item["Size"]) if human else item["Size"],
        "Comment": item["Comment"],
    }


class _HistoryOrBuilds(LazyGroup):
    """The command above, unless the first word is ``builds``."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **_: Any
    ) -> click.Context:
        """A context of the command that is meant; the caller invokes that one."""
        if args[:1] == ["builds"]:
            return super().make_context(info_name, args, parent)
        return history.make_context(info_name, args, parent)


history_or_builds = _HistoryOrBuilds(
    name="history",
    help="Show the history of an image, or earlier builds.",
    table={"builds": ("history_builds:builds", "Look at earlier builds")},
)
