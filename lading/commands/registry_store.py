"""``lading registry gc|check|scrub|rebuild-index``: look after a store, served or not."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from lading.app import App
from lading.errors import FAILED_STATUS
from lading.render.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from registry.collection.report import CollectionReport, Progress
    from registry.config import RegistryConfig
    from registry.index import SqlIndex
    from registry.protocols import Storage
    from registry.sql.settings import IndexSettings

_MAKE_ROOM = "see that the disk works and has room, then run this again"


def parse_duration(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> float | None:
    """An option that is a duration, in seconds."""
    from registry.configuration import units

    try:
        return None if value is None else units.parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not 90s, 10m, 1h30m or 7d") from error


def parse_size(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """An option that is a size, in bytes."""
    from registry.configuration import units

    try:
        return None if value is None else units.parse_size(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not 64KiB, 5GiB or 1.5GB") from error


def with_store(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags that say which store, and ``--format``."""
    for option in (
        click.option(
            "--format",
            "style",
            type=click.Choice(["text", "json"]),
            default="text",
            show_default=True,
        ),
        click.option(
            "--storage", "root", type=click.Path(path_type=Path), help="Folder of the store"
        ),
        click.option(
            "--config",
            "-c",
            "file",
            type=click.Path(path_type=Path),
            help="Configuration file (.toml, .yaml)",
        ),
    ):
        command = option(command)
    return command


def read_config(app: App, file: Path | None, root: Path | None) -> RegistryConfig:
    """The configuration of file, environment and ``--storage``.

    Raises:
        RegistryConfigError: something in it is wrong.
    """
    from registry.config import RegistryConfig
    from registry.configuration.sources import load

    return load(
        RegistryConfig,
        file=file,
        environment=os.environ,
        flags={"root": root},
        defaults={"root": app.root / "registry"},
    )


def store_config(
    app: App, file: Path | None, root: Path | None, *, lost_index: bool = False
) -> RegistryConfig:
    """The same for a store that is there; one that ``lost_index`` has its blobs or a journal.

    Raises:
        RegistryConfigError: something in it is wrong, or there is no store.
    """
    from registry.errors import RegistryConfigError
    from registry.s3.settings import StorageType
    from registry.sql.settings import IndexType

    config = read_config(app, file, root)
    files = config.storage.type is StorageType.FILES
    if config.index.type is IndexType.POSTGRESQL:
        return config
    sign = "blobs" if files else "journal" if lost_index else "index.db"
    if not (config.root / sign).exists():
        raise RegistryConfigError(
            "there is no store", where=str(config.root), fix="name its folder with --storage"
        )
    return config


def require_sqlite(config: RegistryConfig, instead: Callable[[str, str], str]) -> None:
    """Refuse what is done to the file of an index.

    ``instead`` makes the advice of two command lines: one that dumps the database, and one that
    brings the dump back.

    Raises:
        RegistryConfigError: the index is in PostgreSQL.
    """
    from registry.errors import RegistryConfigError
    from registry.sql.settings import IndexType

    if config.index.type is not IndexType.SQLITE:
        raise RegistryConfigError(
            "this command does not work on an index in PostgreSQL",
            where="index.type",
            fix=instead(*_dump_lines(config.index)),
        )


def _dump_lines(index: IndexSettings) -> tuple[str, str]:
    """How the index and its rooms' schemas are dumped and brought back, for a shell."""
    from shlex import quote

    # The file may have a password, which is nobody's business here.
    url = quote(index.url) if index.url_file is None else f'"$(cat {quote(str(index.url_file))})"'
    schemas = " ".join(f"--schema={quote(name)}" for name in (index.schema, f"{index.schema}_*"))
    return (
        f"pg_dump {schemas} --format=custom --file=lading.dump {url}",
        f"pg_restore --clean --if-exists --dbname={url} lading.dump",
    )


@contextmanager
def open_store(config: RegistryConfig) -> Iterator[tuple[SqlIndex, Storage]]:
    """Index and storage, under the rules of the configuration.

    Raises:
        RegistryStartError: index or bucket cannot be opened. StoreBusyError: it is being rebuilt.
        StoreFailedError: the disk is full or fails, at whatever is done within the block.
    """
    import sqlite3

    from registry.errors import RegistryStartError, StoreFailedError
    from registry.faults import is_outage
    from registry.service import open_index, open_storage
    from registry.sql.errors import STORE_ERRORS

    try:
        storage = open_storage(config)
        index = open_index(config, storage)
    except STORE_ERRORS as error:
        raise RegistryStartError(
            f"cannot open the store: {error}",
            where=str(config.root),
            fix=_MAKE_ROOM
            if is_outage(error)
            else "if the index is damaged, run: lading registry rebuild-index",
        ) from error
    try:
        yield index, storage
    except (sqlite3.Error, OSError) as error:
        if not is_outage(error):
            raise
        raise StoreFailedError(
            f"the store cannot be used: {error}", where=str(config.root), fix=_MAKE_ROOM
        ) from error
    finally:
        index.close()


@click.command()
@with_store
@click.option("--dry-run", is_flag=True, help="Only say what would go")
@click.option(
    "--budget",
    callback=parse_duration,
    metavar="DURATION",
    help="Stop after this time; the next run goes on there",
)
@click.option(
    "--lease",
    callback=parse_duration,
    metavar="DURATION",
    help="Instead of `collection.lease`; 0 if nobody pushes now",
)
@click.pass_obj
def gc(
    app: App,
    /,
    *,
    file: Path | None,
    root: Path | None,
    style: str,
    dry_run: bool,
    budget: float | None,
    lease: float | None,
) -> None:
    """Remove content that nobody needs, while the registry serves.

    By the rules of the configuration; what a client was told exists stays for the lease.
    """
    import time

    from registry.collection.collector import Collector
    from registry.collection.leases import note_boot

    config = store_config(app, file, root)
    progress = _show if sys.stderr.isatty() and style == "text" else _be_quiet
    with open_store(config) as (index, storage):
        note_boot(index, time.time())
        collector = Collector.of(config, index, storage)
        report = collector.run(lease=lease, budget=budget, dry_run=dry_run, progress=progress)
    if progress is _show:
        click.echo("\r\x1b[K", nl=False, err=True)
    if style == "json":
        click.echo(json.dumps(report.as_json()))
    else:
        _print_report(report)


def _print_report(report: CollectionReport) -> None:
    verb = "would remove" if report.dry_run else "removed"
    click.echo(
        f"{verb} {report.tags} tags, {report.manifests} manifests, {report.blobs} blobs of"
        f" repositories, {report.empty_repositories} empty repositories, {report.uploads} uploads"
    )
    click.echo(f"{verb} {report.files} files with {human_size(report.bytes)}")
    if not report.finished:
        click.echo("the budget is over; run again to go on")


def _show(step: Progress) -> None:
    total = f" of {step.total}" if step.total else ""
    click.echo(f"\r\x1b[K{step.phase}: {step.done}{total} {step.name}", nl=False, err=True)


def _be_quiet(step: Progress) -> None:
    """Nobody watches."""


@click.command()
@with_store
@click.pass_obj
def check(app: App, /, *, file: Path | None, root: Path | None, style: str) -> int:
    """Compare the index with what is on disk.

    Exit status 1 if a promise is broken. Reads manifests and sizes, not every byte: that is
    `lading registry scrub`.
    """
    from registry.inspection.check import Severity
    from registry.inspection.check import check as inspect

    config = store_config(app, file, root)
    with open_store(config) as (index, storage):
        findings = list(inspect(config.root, index, storage))
        place = _place_of(config, index, storage)
    broken = any(finding.severity is Severity.PROBLEM for finding in findings)
    if style == "json":
        found = [finding.as_json() for finding in findings]
        document = {"clean": not broken, "store": place, "findings": found}
        click.echo(json.dumps(document))
        return FAILED_STATUS if broken else 0
    for finding in findings:
        click.echo(f"{finding.where}: {finding.what} [{finding.code}]; {finding.fix}", err=True)
    if not broken:
        click.echo(f"{place}: every promise is kept")
    return FAILED_STATUS if broken else 0


def _place_of(config: RegistryConfig, index: SqlIndex, storage: Storage) -> str:
    """Where the store is: a folder, or a database, or a bucket with one of both."""
    from registry.sql.settings import IndexType

    shared = config.index.type is IndexType.POSTGRESQL
    names = index.where if shared else str(config.root)
    return names if storage.place is None else f"{names} and bucket {storage.place}"


@click.command()
@with_store
@click.option(
    "--budget",
    callback=parse_duration,
    metavar="DURATION",
    help="Stop after this time; the next run goes on there",
)
@click.option("--rate", callback=parse_size, metavar="SIZE", help="Most bytes a second")
@click.option("--quarantine", is_flag=True, help="Move damaged blobs aside, so that pushes heal")
@click.pass_obj
def scrub(
    app: App,
    /,
    *,
    file: Path | None,
    root: Path | None,
    style: str,
    budget: float | None,
    rate: int | None,
    quarantine: bool,
) -> int:
    """Read and hash every blob again.

    Exit status 1 if one is damaged.
    """
    from registry.inspection.scrub import scrub as read_again

    config = store_config(app, file, root)
    with open_store(config) as (index, storage):
        report = read_again(
            config.root,
            index,
            storage,
            budget=budget,
            rate=rate,
            quarantine=quarantine,
            found=lambda digest: click.echo(f"damaged: {digest}", err=True),
        )
    if style == "json":
        click.echo(json.dumps(report.as_json()))
    else:
        rest = "" if report.finished else "; the budget is over, run again to go on"
        click.echo(
            f"{report.blobs} blobs with {human_size(report.bytes)} read,"
            f" {len(report.damaged)} damaged{rest}"
        )
    return FAILED_STATUS if report.damaged else 0


@click.command("rebuild-index")
@with_store
@click.option(
    "--gather", metavar="REPOSITORY", help="Put manifests whose repository is not known there"
)
@click.pass_obj
def rebuild_index(
    app: App, /, *, file: Path | None, root: Path | None, style: str, gather: str | None
) -> None:
    """Make the index anew from the blobs.

    Names come from the journal beside them. The server must be stopped; the old index is kept.
    Not restored: blobs that no manifest names, open uploads, tag history.
    """
    from registry.inspection.rebuild import rebuild
    from registry.routing import parse_name
    from registry.service import open_storage

    config = store_config(app, file, root, lost_index=True)
    require_sqlite(
        config,
        lambda _, restore: (
            "a database has no journal to be made anew from; stop every replica, bring back a dump"
            f" with `{restore}`, then run `lading registry check`"
        ),
    )
    if gather is not None:
        gather = parse_name(gather)
    report = rebuild(config.root, open_storage(config), gather=gather)
    if style == "json":
        click.echo(json.dumps(report.as_json()))
        return
    click.echo(
        f"{report.repositories} repositories, {report.manifests} manifests, {report.tags} tags,"
        f" {report.blobs} blobs; the old index is in {report.replaced}"
    )
    for name in report.lost_manifests:
        click.echo(f"lost: {name}", err=True)
    if report.unnamed_manifests and gather is None:
        click.echo(
            f"{report.unnamed_manifests} manifests belong to no known repository;"
            " --gather REPOSITORY collects them",
            err=True,
        )
