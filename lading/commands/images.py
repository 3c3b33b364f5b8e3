"""``lading images``, ``tag`` and ``rmi``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click

from lading.app import App
from lading.errors import render_error
from lading.render.table import listing
from lading.render.units import human_ago, human_size, parse_time

_HEADERS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
}
_COLUMNS = ("Repository", "Tag", "ID", "CreatedSince", "Size")
_WITH_DIGESTS = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")


@click.command()
@click.argument("repository", required=False)
@click.option("-a", "--all", "everything", is_flag=True, help="Accepted for Docker; all are shown")
@click.option("--digests", is_flag=True, help="Show manifest digests")
@click.option("-f", "--filter", "filters", multiple=True, metavar="K=V", help="Narrow the list")
@click.option("--format", "template", metavar="TEMPLATE", help="Go template, table or json")
@click.option("--no-trunc", is_flag=True, help="Show whole ids")
@click.option("-q", "--quiet", is_flag=True, help="Only image ids")
@click.pass_obj
def images(
    app: App,
    repository: str | None,
    *,
    everything: bool,
    digests: bool,
    filters: tuple[str, ...],
    template: str | None,
    no_trunc: bool,
    quiet: bool,
) -> None:
    """List images."""
    del everything
    from engine.images import select, summaries

    wanted = (*filters, f"reference={repository}") if repository else filters
    now = datetime.now(UTC)
    rows = []
    for line in select(app.store, summaries(app.store), wanted):
        created = parse_time(line.created)
        rows.append(
            {
                "Repository": line.repository,
                "Tag": line.tag,
                "Digest": str(line.stored.descriptor.digest),
                "ID": str(line.stored.image_id) if no_trunc else line.stored.image_id.short,
                "CreatedSince": human_ago(line.created, now),
                "CreatedAt": created.strftime("%Y-%m-%d %H:%M:%S %z UTC") if created else "N/A",
                "Size": human_size(line.size),
            }
        )
    text = listing(
        rows,
        headers=_HEADERS,
        columns=_WITH_DIGESTS if digests else _COLUMNS,
        template=template,
        quiet_field="ID" if quiet else None,
    )
    click.echo(text, nl=False)


@click.command()
@click.argument("source")
@click.argument("target")
@click.pass_obj
def tag(app: App, source: str, target: str) -> None:
    """Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE."""
    from images.reference import Reference

    app.store.tag(Reference.parse(target), app.store.lookup(source).descriptor)


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Remove an image with names in several places")
@click.option("--no-prune", is_flag=True, help="Keep the content for `lading system prune`")
@click.pass_obj
def rmi(app: App, names: tuple[str, ...], *, force: bool, no_prune: bool) -> int:
    """Remove one or more images."""
    from images.errors import ImagesError

    status = 0
    for name in names:
        try:
            removal = app.store.remove(name, force=force)
        except ImagesError as error:
            status = render_error(error, sys.stderr)
            continue
        for reference in removal.untagged:
            click.echo(f"Untagged: {reference.familiar}")
        for digest in removal.deleted:
            click.echo(f"Deleted: {digest}")
    if not no_prune:
        app.store.gc()
    return status
