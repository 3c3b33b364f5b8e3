"""``lading trust log``: watch a registry's transparency log."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from images.reference import Reference
from lading.app import App
from lading.commands.declared import access_options

if TYPE_CHECKING:
    from engine.transparency import LogWatch
    from trust.keys import PublicKey
    from trust.transparency.entry import Entry

_T = TypeVar("_T")

_KEY = click.option(
    "--key",
    type=click.Path(path_type=Path),
    help="The log's public key  [default: the one it showed first]",
)


@click.group()
def log() -> None:
    """Watch a registry's transparency log."""


@log.command()
@click.argument("place")
@_KEY
@access_options
@click.pass_obj
def verify(app: App, place: str, key: Path | None, insecure_registry: tuple[str, ...]) -> None:
    """Prove that the log of PLACE only grew since it was last seen.

    PLACE is a registry (registry.example.com) or an image; of an image it is also proven that its
    tag serves what the log says.
    """
    reference = Reference.parse(place) if "/" in place else None
    registry = place if reference is None else reference.registry

    async def check(watch: LogWatch) -> Any:
        return await (watch.watch() if reference is None else watch.watch_tag(reference))

    found = _watch(app, registry, _read(key), insecure_registry, check)
    how = "first seen, its key is pinned now" if found.first else f"{found.new} new"
    click.echo(f"{found.origin}: {found.size} entries ({how}), consistent")
    if found.entry is not None:
        click.echo(f"{place}: {_line(found.entry)}")


@log.command()
@click.argument("registry")
@click.option("--start", type=int, default=0, show_default=True, help="Number of the first entry")
@access_options
@click.pass_obj
def show(app: App, registry: str, start: int, insecure_registry: tuple[str, ...]) -> None:
    """Print entries of a registry's log, as it tells them."""

    async def read(watch: LogWatch) -> list[Entry]:
        return await watch.entries(start)

    for number, entry in enumerate(
        _watch(app, registry, None, insecure_registry, read), start=start
    ):
        click.echo(f"{number:>8}  {entry.repository}  {_line(entry)}")


def _watch(
    app: App,
    registry: str,
    key: PublicKey | None,
    insecure: tuple[str, ...],
    action: Callable[[LogWatch], Coroutine[Any, Any, _T]],
) -> _T:
    from engine.registries import call
    from engine.transparency import LogWatch

    return call(
        app.access(insecure),
        lambda client: action(LogWatch(client, registry, app.root, key=key)),
    )


def _read(path: Path | None) -> PublicKey | None:
    if path is None:
        return None
    from trust.keys import PublicKey
    from trust.policyfile import read_key

    return PublicKey.from_pem(read_key(str(path)), where=str(path))


def _line(entry: Entry) -> str:
    what = f"{entry.event.value} {entry.tag}".rstrip()
    moved = f"{entry.previous or '-'} -> {entry.digest or '-'}"
    return f"{entry.time}  {what}  {moved}  {entry.actor or '-'}"
