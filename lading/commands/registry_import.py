"""``lading registry import``: coming from another registry."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from lading.app import App
from lading.commands.registry_store import open_store, store_config, with_store
from lading.errors import FAILED_STATUS
from lading.render.units import human_size


@click.command("import")
@with_store
@click.option(
    "--repository",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only these, as in rules: team/*, **  [default: all]",
)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.pass_obj
def take(
    app: App,
    /,
    *,
    file: Path | None,
    root: Path | None,
    style: str,
    patterns: tuple[str, ...],
    folder: Path,
) -> int:
    """Take over what distribution (docker-registry, Harbor) or zot has stored in FOLDER.

    FOLDER is only read; stop the other registry first, or run this again after it. Every blob is
    hashed. What is here already is not copied again. Exit status 1 says that something is missing
    or damaged there.
    """
    from registry.importing.sources import find_source
    from registry.importing.taking import Taker
    from registry.rules import repository_matcher

    source = find_source(folder)
    config = store_config(app, file, root)

    def tell(repository: str) -> None:
        if style == "text":
            click.echo(repository, err=True)

    matchers = [repository_matcher(pattern) for pattern in patterns or ("**",)]
    with open_store(config) as (index, storage):
        report = Taker(
            source,
            index,
            storage,
            wanted=lambda name: any(matches(name) for matches in matchers),
            told=tell,
        ).take()
    if style == "json":
        json.dump(report.as_json(), sys.stdout, indent=2)
        click.echo()
    else:
        for problem in report.problems:
            click.echo(problem, err=True)
        click.echo(
            f"{report.repositories} repositories, {report.manifests} manifests, {report.tags} tags,"
            f" {report.blobs} blobs; {human_size(report.bytes)} copied"
        )
    return FAILED_STATUS if report.problems else 0
