"""``lading registry migrate``: a store to other drivers, while it serves."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.app import App
from lading.commands.registry_store import parse_duration, parse_size, read_config, store_config
from lading.render.units import human_size

if TYPE_CHECKING:
    from registry.moving.front import Plan, Progress
    from registry.moving.migration import MoveReport

_LINE_SECONDS = 10.0
_SHOWN_SECONDS = 0.2
_FILE = click.Path(path_type=Path)


@click.command()
@click.option(
    "--config", "-c", "file", type=_FILE, help="Configuration of the store as it is (.toml, .yaml)"
)
@click.option("--storage", "root", type=_FILE, help="Folder of the store as it is")
@click.option("--to", "target", type=_FILE, help="Configuration of the store as it shall be")
@click.option("--dry-run", is_flag=True, help="Only say what would be moved")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Blobs at once"
)
@click.option(
    "--bandwidth", callback=parse_size, metavar="SIZE", help="Most bytes of blobs a second"
)
@click.option(
    "--rest",
    callback=parse_duration,
    metavar="DURATION",
    default="60s",
    show_default=True,
    help="How long writes may be refused at the end",
)
@click.option(
    "--leave-damaged", is_flag=True, help="Leave blobs behind that are missing or damaged"
)
@click.option("--abort", is_flag=True, help="Take back a move that is not complete")
@click.option(
    "--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.pass_obj
def migrate(
    app: App,
    /,
    *,
    file: Path | None,
    root: Path | None,
    target: Path | None,
    dry_run: bool,
    jobs: int,
    bandwidth: int | None,
    rest: float,
    leave_damaged: bool,
    abort: bool,
    style: str,
) -> None:
    """Move the store to another place or database, while it serves.

    Blobs between files and S3, the index between SQLite and PostgreSQL, or both. At the end writes
    are refused for a moment; then start the servers with the new configuration. Killed or broken
    off, it goes on when it is run again. docs/registry-migrate.md has the runbook.
    """
    from registry.moving.front import Options, move, plan, take_back

    old = store_config(app, file, root)
    if abort:
        take_back(old, None if target is None else read_config(app, target, None))
        click.echo("the store takes writes again; remove what was copied")
        return
    if target is None:
        raise click.UsageError("name the new configuration with --to")
    new = read_config(app, target, None)
    if dry_run:
        _show_plan(plan(old, new), style)
        return
    shown = _Shown(live=sys.stderr.isatty() and style == "text")
    report = move(old, new, Options(jobs, bandwidth, rest, leave_damaged), told=shown.tell)
    shown.end()
    _show_report(report, target, style)


class _Shown:
    """Progress on a terminal's last line, and a line now and then elsewhere."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._began = time.monotonic()
        self._last = self._began

    def tell(self, progress: Progress) -> None:
        """Show it if it is time."""
        now = time.monotonic()
        if now - self._last < (_SHOWN_SECONDS if self._live else _LINE_SECONDS):
            return
        self._last = now
        line = self._line(progress, now - self._began)
        click.echo(f"\r\x1b[K{line}" if self._live else line, nl=not self._live, err=True)

    def end(self) -> None:
        """Leave a clean line."""
        if self._live:
            click.echo("\r\x1b[K", nl=False, err=True)

    def _line(self, progress: Progress, seconds: float) -> str:
        start = f"pass {progress.passes}, {progress.phase}:" if progress.passes else progress.phase
        if progress.phase == "rows":
            return f"{start} {progress.rows} of {progress.rows_total}"
        if progress.phase != "blobs":
            return start.rstrip(":")
        rate = progress.bytes / seconds if seconds else 0.0
        left = max(progress.bytes_total - progress.bytes, 0)
        rest = f", {left / rate:.0f} s left at most" if rate and left else ""
        return (
            f"{start} {progress.blobs} of {progress.blobs_total},"
            f" {human_size(progress.bytes)} copied ({human_size(int(rate))}/s{rest})"
        )


def _show_plan(found: Plan, style: str) -> None:
    if style == "json":
        click.echo(json.dumps(asdict(found), indent=2))
        return
    click.echo(f"index: {found.index} to {found.to_index}")
    if found.content_stays:
        click.echo(f"blobs stay in {found.content}")
    else:
        size = human_size(found.bytes)
        click.echo(f"blobs: {found.content} to {found.to_content}, {found.blobs} with {size}")
    click.echo(f"{found.repositories} repositories")


def _show_report(report: MoveReport, target: Path, style: str) -> None:
    if style == "json":
        click.echo(json.dumps(asdict(report), indent=2))
        return
    for problem in report.missing:
        click.echo(f"left behind: {problem}", err=True)
    click.echo(
        f"moved to {report.to}: {report.blobs} blobs with {human_size(report.bytes)} and"
        f" {report.rows} rows in {report.passes} passes; writes rested for {report.rested:g} s"
    )
    click.echo(f"start the servers with {target}; the old ones only answer reads")
