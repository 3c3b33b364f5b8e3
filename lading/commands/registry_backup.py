"""``lading registry backup|restore``: a copy of the store, and the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.app import App
from lading.commands.registry_store import require_files, store_config, with_store
from lading.errors import FAILED_STATUS
from lading.render.units import human_size

if TYPE_CHECKING:
    from registry.keeping.backup import CopyReport

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@with_store
@click.argument("target", type=_FOLDER)
@click.pass_obj
def backup(app: App, /, *, file: Path | None, root: Path | None, style: str, target: Path) -> int:
    """Bring the copy of the store in the folder TARGET up to date.

    The registry may serve meanwhile. Blobs are copied once, so a second copy takes little time;
    TARGET always holds the last copy that was finished. Exit status 1 says that blobs are missing
    or damaged in the store.
    """
    from registry.keeping.backup import back_up

    config = store_config(app, file, root)
    require_files(
        config, fix="copy index.db with sqlite3's .backup, and let the store keep versions"
    )
    return _show(back_up(config.root, target), style, "in the copy")


@click.command()
@click.option("--storage", "root", type=_FOLDER, required=True, help="Folder of the new store")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text")
@click.argument("source", type=click.Path(path_type=Path, file_okay=False, exists=True))
def restore(*, root: Path, style: str, source: Path) -> int:
    """Make a store from the copy in the folder SOURCE; every blob is hashed."""
    from registry.keeping.backup import restore as bring_back

    return _show(bring_back(source, root), style, "restored")


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
