"""``lading registry backup|restore``: a copy of the store, and the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.app import App
from lading.commands.registry_store import (
    open_store,
    read_config,
    require_sqlite,
    store_config,
    with_store,
)
from lading.errors import FAILED_STATUS
from lading.render.units import human_size

if TYPE_CHECKING:
    from registry.keeping.backup import CopyReport

_FOLDER = click.Path(path_type=Path, file_okay=False)


_JOBS = click.option(
    "--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Blobs at once"
)


@click.command()
@with_store
@_JOBS
@click.option(
    "--index-only", is_flag=True, help="Leave the blobs in their bucket, which keeps versions"
)
@click.argument("target", type=_FOLDER)
@click.pass_obj
def backup(
    app: App,
    /,
    *,
    file: Path | None,
    root: Path | None,
    style: str,
    jobs: int,
    index_only: bool,
    target: Path,
) -> int:
    """Bring the copy of the store in the folder TARGET up to date.

    The registry may serve meanwhile. Blobs, of a bucket too, are copied once, so a second copy
    takes little time; TARGET always holds the last copy that was finished. Exit status 1 says that
    blobs are missing or damaged in the store.
    """
    from registry.keeping.backup import back_up

    config = store_config(app, file, root)
    require_sqlite(
        config,
        lambda dump, _: (
            f"dump it with `{dump}`, and let the bucket keep versions; or move the store to files"
            " with `lading registry migrate`, back that up, and move it back"
        ),
    )
    with open_store(config) as (_, storage):
        report = back_up(config.root, storage, target, index_only=index_only, jobs=jobs)
    return _show(report, style, "of the index are in the bucket" if index_only else "in the copy")


@click.command()
@with_store
@_JOBS
@click.argument("source", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.pass_obj
def restore(
    app: App, /, *, file: Path | None, root: Path | None, style: str, jobs: int, source: Path
) -> int:
    """Make a store from the copy in the folder SOURCE; every blob is hashed.

    Name its folder with --storage, or a configuration whose [storage] says where blobs go: files
    or a bucket, whatever it was before. Both must be empty. Of a copy that was made with
    --index-only, the blobs are looked for in the bucket.
    """
    from functools import partial

    from registry.keeping.backup import restore as bring_back
    from registry.service import open_storage

    if file is None and root is None:
        raise click.UsageError("name the folder of the new store with --storage, or --config")
    config = read_config(app, file, root)
    require_sqlite(
        config,
        lambda _, restore: (
            f"stop every replica and bring back a dump with `{restore}`; a copy that `lading"
            " registry backup` made is restored to files or a bucket, and moved to PostgreSQL"
        ),
    )
    report = bring_back(source, config.root, partial(open_storage, config), jobs=jobs)
    return _show(report, style, "restored")


def _show(report: CopyReport, style: str, where: str) -> int:
    if style == "json":
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        for problem in report.missing:
            click.echo(problem, err=True)
        click.echo(
            f"{report.blobs - len(report.missing)} blobs {where},"
            f" {report.copied} copied now ({human_size(report.bytes)})"
        )
    return FAILED_STATUS if report.missing else 0
