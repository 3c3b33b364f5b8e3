"""``lading registry rm``: remove a whole repository."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lading.app import App
from lading.commands.registry_store import open_store, store_config, with_store


@click.command()
@click.argument("repository")
@with_store
@click.pass_obj
def rm(app: App, /, *, repository: str, file: Path | None, root: Path | None, style: str) -> None:
    """Remove a whole repository, while the registry serves.

    Its tags, manifests and blobs go with it; what other repositories have stays. The space is freed
    by `lading registry gc`.
    """
    import dataclasses

    from registry.removal import remove_repository

    with open_store(store_config(app, file, root)) as (index, _):
        report = remove_repository(index, repository)
    if style == "json":
        click.echo(json.dumps(dataclasses.asdict(report)))
        return
    click.echo(f"{repository}: removed {report.manifests} manifests and {report.blobs} blobs")
    if not report.gone:
        click.echo("clients went on pushing, so the repository is still there", err=True)
