"""``lading registry tags history|undo``: where a tag has been, and back again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from lading.app import App
from lading.commands.registry_store import open_store, store_config, with_store
from lading.render.table import tabulate


@click.group()
def tags() -> None:
    """Show and undo moves of tags."""


def _name(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, str]:
    repository, colon, tag = value.rpartition(":")
    if not colon or not repository or "/" in tag:
        raise click.BadParameter(f"{value!r} is not REPOSITORY:TAG")
    return repository, tag


@tags.command()
@click.argument("name", metavar="REPOSITORY:TAG", callback=_name)
@with_store
@click.option("--limit", default=20, show_default=True, help="Most moves to show")
@click.pass_obj
def history(
    app: App,
    /,
    *,
    name: tuple[str, str],
    file: Path | None,
    root: Path | None,
    style: str,
    limit: int,
) -> None:
    """Show the latest moves of a tag, newest first."""
    with open_store(store_config(app, file, root)) as (index, _):
        events = index.tag_history(*name, limit=limit)
    if style == "json":
        rows = [
            {"moment": event.moment, "previous": event.previous, "digest": event.digest}
            for event in events
        ]
        click.echo(json.dumps(rows))
        return
    lines = [("WHEN", "DIGEST", "BEFORE")]
    for event in events:
        moment = datetime.fromtimestamp(event.moment, UTC).strftime("%Y-%m-%d %H:%M:%S")
        lines.append((moment, event.digest or "(deleted)", event.previous or "-"))
    click.echo(tabulate(lines), nl=False)


@tags.command()
@click.argument("name", metavar="REPOSITORY:TAG", callback=_name)
@with_store
@click.pass_obj
def undo(
    app: App, /, *, name: tuple[str, str], file: Path | None, root: Path | None, style: str
) -> None:
    """Take back the latest move or deletion of a tag; doing it twice changes nothing."""
    from registry.tag_history import undo as take_back

    with open_store(store_config(app, file, root)) as (index, storage):
        done = take_back(index, storage, *name)
    if style == "json":
        click.echo(json.dumps({"before": done.before, "after": done.after}))
        return
    click.echo(f"{name[0]}:{name[1]}: {done.before or '(none)'} -> {done.after or '(none)'}")
