"""``lading system``: look after the local store and the launcher."""

from __future__ import annotations

import sys

import click

from lading.app import App
from lading.render.units import human_size


@click.group()
def system() -> None:
    """Check, measure and clean the local store."""


@system.command()
@click.option("--rehash", is_flag=True, help="Read every blob and compare it with its digest")
@click.pass_obj
def check(app: App, *, rehash: bool) -> int:
    """Prove that the store is consistent; exit status 1 if it is not."""
    problems = app.store.check(rehash=rehash)
    for problem in problems:
        click.echo(f"{problem.where}: {problem.what}\n  {problem.fix}", err=True)
    if problems:
        return 1
    click.echo(f"{app.root}: consistent")
    return 0


@system.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Also images and build cache unused")
@click.option("-f", "--force", is_flag=True, help="Do not ask")
@click.option("--dry-run", is_flag=True, help="Only say what would go")
@click.pass_obj
def prune(app: App, *, everything: bool, force: bool, dry_run: bool) -> None:
    """Remove containers that ended, and content that nothing refers to."""
    from engine.containers.directory import ContainerDirectories

    if not (force or dry_run) and sys.stdin.isatty():
        click.confirm(
            "This removes images without a name and all unused content. Go on?", abort=True
        )
    if not dry_run:
        for container in ContainerDirectories(app.root).prune():
            click.echo(f"Deleted container: {container.id}")
        for stored in app.store.images():
            if not stored.names:
                app.store.remove(str(stored.image_id), force=True)
        if everything:
            app.store.cache.prune()
    report = app.store.gc(grace=0 if everything else 60.0, dry_run=dry_run)
    click.echo(f"Total reclaimed space: {human_size(report.bytes_freed)}")


@system.command()
@click.pass_obj
def shutdown(app: App) -> None:
    """Stop the launcher; containers that run go on."""
    from runtime.client import stop_launcher

    stop_launcher(app.runtime_dir)
