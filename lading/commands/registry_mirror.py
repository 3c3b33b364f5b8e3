"""``lading registry mirror``: copies from and to other registries."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lading.app import App
from lading.commands.registry_store import store_config, with_store
from lading.errors import FAILED_STATUS
from lading.render.units import human_size

if TYPE_CHECKING:
    from registry.config import RegistryConfig
    from registry.mirroring.report import Report
    from registry.mirroring.settings import MirrorRule


@click.group()
def mirror() -> None:
    """Copy from and to other registries, as [[mirror]] in the configuration says."""


@mirror.command()
@with_store
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_obj
def run(
    app: App, /, *, file: Path | None, root: Path | None, style: str, names: tuple[str, ...]
) -> int:
    """Run mirrors now: all, or those of these names; the registry may serve meanwhile.

    Exit status 1 says that something was not copied; the rest was.
    """
    config = store_config(app, file, root)
    reports = asyncio.run(_run(config, _chosen(config, names)))
    if style == "json":
        _print_json(reports)
    else:
        for name, report in reports.items():
            for problem in report.problems:
                click.echo(f"{name}: {problem}", err=True)
            click.echo(f"{name}: {_outcome(report)}")
    return FAILED_STATUS if any(report.error for report in reports.values()) else 0


@mirror.command()
@with_store
@click.pass_obj
def status(app: App, /, *, file: Path | None, root: Path | None, style: str) -> None:
    """Show the latest run of each mirror, and what went wrong."""
    from registry.backing import open_backing
    from registry.mirroring.report import read

    config = store_config(app, file, root)
    with closing(open_backing(config)) as backing:
        reports = {rule.name: read(backing.files, rule.name) for rule in config.mirror}
    if style == "json":
        _print_json(reports)
        return
    for rule in config.mirror:
        report = reports[rule.name]
        click.echo(f"{rule.name}: {rule.direction.value} {rule.upstream}, {_when(report)}")
        click.echo(f"  {_outcome(report)}")
        for problem in report.problems:
            click.echo(f"  {problem}")


def _chosen(config: RegistryConfig, names: tuple[str, ...]) -> list[MirrorRule]:
    from registry.errors import RegistryConfigError

    known = {rule.name: rule for rule in config.mirror}
    unknown = [name for name in names if name not in known]
    if unknown or not known:
        what = f"no mirror is called {unknown[0]!r}" if unknown else "there is no mirror"
        raise RegistryConfigError(
            what, where="mirror", fix="write a [[mirror]] into the configuration; see --config"
        )
    return [known[name] for name in names or known]


async def _run(config: RegistryConfig, rules: list[MirrorRule]) -> dict[str, Report]:
    from registry.mirroring.front import Mirrors
    from registry.service import open_registry

    registry = await asyncio.to_thread(open_registry, config)
    try:
        mirrors = registry.mirrors
        assert isinstance(mirrors, Mirrors), "there are rules"
        return {rule.name: await mirrors.run(registry, rule) for rule in rules}
    finally:
        for room in (registry.mirrors, registry.proxy):
            if room is not None:
                await room.close()
        await asyncio.to_thread(registry.close)


def _print_json(reports: dict[str, Report]) -> None:
    shown: dict[str, Any] = {name: report.as_json() for name, report in reports.items()}
    click.echo(json.dumps(shown, indent=2))


def _when(report: Report) -> str:
    if not report.started:
        return "never run"
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(report.started))
    if report.ended < report.started:
        return f"begun {moment}, not ended"
    return f"run {moment}, {'failed' if report.error else 'succeeded'}"


def _outcome(report: Report) -> str:
    return (
        f"{report.runs} runs, {report.failures} with problems; {report.manifests} manifests and"
        f" {report.blobs} blobs ({human_size(report.bytes)}) copied, {report.deleted} tags deleted,"
        f" {report.refused} refused by policy"
    )
