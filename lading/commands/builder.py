"""``lading builder``: what the build cache holds, and making it smaller; other verbs by name."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from lading.app import App
from lading.cli import LazyGroup
from lading.errors import UsageError
from lading.render.table import listing
from lading.render.units import human_duration, human_size

if TYPE_CHECKING:
    from builder.usage import CacheEntry

_TABLE = {
    "create": (
        "builder_nodes:create",
        "Set up the builder NAME with a node at ENDPOINT, or add a node to it",
    ),
    "dial-stdio": (
        "builder_nodes:dial_stdio",
        "Build for the client at the other end of stdin and stdout; what ssh starts",
    ),
    "inspect": (
        "builder_nodes:inspect_builder",
        "Ask the nodes of a builder whether they answer, and what they can build",
    ),
    "ls": (
        "builder_nodes:list_builders",
        "List builders and their nodes; a star marks the one that is used",
    ),
    "rm": ("builder_nodes:remove", "Forget builders; nothing is removed at their nodes"),
    "serve": (
        "builder_nodes:serve",
        "Build for clients on other machines, over TLS with certificates of both sides",
    ),
    "use": (
        "builder_nodes:use",
        "Build at the builder NAME from now on; `default` is this machine",
    ),
    "binfmt": ("binfmt:binfmt", "List the platforms whose RUN steps can be executed here"),
    "du": ("builder:du", "Show what the build cache holds"),
    "prune": ("builder:prune", "Remove build cache"),
}
_HEADERS = {
    "ID": "ID",
    "Reclaimable": "RECLAIMABLE",
    "Size": "SIZE",
    "LastUsed": "LAST ACCESSED",
    "Type": "TYPE",
    "Description": "DESCRIPTION",
    "Created": "CREATED",
    "Shared": "SHARED",
    "Mutable": "MUTABLE",
    "InUse": "IN USE",
}
_COLUMNS = ("ID", "Reclaimable", "Size", "LastUsed")
_VERBOSE = (
    ("ID", "ID"),
    ("Created at", "CreatedAt"),
    ("Mutable", "Mutable"),
    ("Reclaimable", "Reclaimable"),
    ("Shared", "Shared"),
    ("Size", "Size"),
    ("Description", "Description"),
    ("Last used", "LastUsed"),
    ("Type", "Type"),
)


@click.group(cls=LazyGroup, table=_TABLE)
def builder() -> None:
    """Manage the build cache and the machines that build."""


@click.command()
@click.option("--filter", "filters", multiple=True, metavar="K=V", help="Narrow the list")
@click.option("--format", "template", metavar="TEMPLATE", help="Go template, table or json")
@click.option("--verbose", is_flag=True, help="Every field of every entry, records included")
@click.pass_obj
def du(app: App, *, filters: tuple[str, ...], template: str | None, verbose: bool) -> None:
    """Show what the build cache holds.

    Small records of earlier builds (type=internal) are counted, but listed only with --verbose,
    --format or a filter. Filters: until=24h, id=, type=, description~=, shared, private, inuse,
    mutable, immutable.
    """
    from builder.pruning import parse_filters
    from builder.usage import INTERNAL, entries

    if verbose and template is not None:
        raise UsageError("--format and --verbose exclude each other", where="--verbose")
    wanted = parse_filters(filters, time.time())
    found = [entry for entry in entries(app.store) if wanted(entry)]
    if template is not None:
        click.echo(_table(found, template), nl=False)
        return
    if verbose:
        for row in _rows(found):
            click.echo("".join(f"{title}:\t{row[name]}\n" for title, name in _VERBOSE))
    else:
        listed = [entry for entry in found if filters or entry.type != INTERNAL]
        click.echo(_table(listed), nl=False)
    click.echo(_summary(found), nl=False)


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Also records and shared layers")
@click.option("--filter", "filters", multiple=True, metavar="K=V", help="What may go")
@click.option("--max-used-space", metavar="BYTES|N%", help="Remove until no more is used")
@click.option(
    "--reserved-space",
    "--keep-storage",
    "reserved_space",
    metavar="BYTES|N%",
    help="Never remove below this",
)
@click.option("--min-free-space", metavar="BYTES|N%", help="Remove until the disk has this free")
@click.option("-f", "--force", is_flag=True, help="Do not ask")
@click.option("--verbose", is_flag=True, help="List what went")
@click.pass_obj
def prune(
    app: App,
    *,
    everything: bool,
    filters: tuple[str, ...],
    max_used_space: str | None,
    reserved_space: str | None,
    min_free_space: str | None,
    force: bool,
    verbose: bool,
) -> None:
    """Remove build cache.

    The least recently used goes first; what a build has in use stays.

    Filters are those of `lading builder du`, for example until=24h or type=exec.cachemount.
    """
    from builder.pruning import Bounds, parse_filters
    from builder.pruning import prune as remove
    from engine.builds.bounds import disk_size, space
    from images.blobs import RENEW_AFTER

    total = disk_size(app.store)
    bounds = Bounds(
        *(
            None if text is None else space(text, flag, total)
            for flag, text in (
                ("--max-used-space", max_used_space),
                ("--reserved-space", reserved_space),
                ("--min-free-space", min_free_space),
            )
        )
    )
    wanted = parse_filters(filters, time.time())
    if not force and sys.stdin.isatty():
        what = "all build cache" if everything else "build cache that nothing else needs"
        click.confirm(f"This removes {what}. Go on?", abort=True)
    limited = None if bounds == Bounds() else bounds
    pruned = remove(
        app.store, wanted=wanted, everything=everything, bounds=limited, grace=RENEW_AFTER
    )
    if verbose or pruned.removed:
        shown = [entry for entry in pruned.removed if verbose or entry.type != "internal"]
        click.echo(_table(shown), nl=False)
    click.echo(f"Total:\t{human_size(pruned.freed)}")


def _table(found: Sequence[CacheEntry], template: str | None = None) -> str:
    return listing(_rows(found), headers=_HEADERS, columns=_COLUMNS, template=template)


def _rows(found: Sequence[CacheEntry]) -> list[dict[str, str]]:
    """Docker's fields; a star marks what may change, and sizes that images share."""
    now = datetime.now(UTC)
    rows = []
    for entry in found:
        used = datetime.fromtimestamp(entry.used, UTC)
        created = datetime.fromtimestamp(entry.created, UTC)
        rows.append(
            {
                "ID": entry.id + ("*" if entry.mutable else ""),
                "Reclaimable": _truth(not entry.in_use),
                "Size": human_size(entry.size) + ("*" if entry.shared else ""),
                "LastUsed": f"{human_duration(max(now - used, timedelta(0)))} ago",
                "LastUsedAt": used.isoformat(),
                "CreatedAt": created.isoformat(),
                "Created": f"{human_duration(max(now - created, timedelta(0)))} ago",
                "Type": entry.type,
                "Description": entry.description,
                "Shared": _truth(entry.shared),
                "Mutable": _truth(entry.mutable),
                "InUse": _truth(entry.in_use),
            }
        )
    return rows


def _summary(found: Sequence[CacheEntry]) -> str:
    sums = {
        "Shared": sum(entry.size for entry in found if entry.shared),
        "Private": sum(entry.size for entry in found if not entry.shared),
        "Reclaimable": sum(e.size for e in found if not (e.in_use or e.shared)),
        "Total": sum(entry.size for entry in found),
    }
    if not sums["Shared"]:
        del sums["Shared"], sums["Private"]
    return "".join(f"{name}:\t{human_size(size)}\n" for name, size in sums.items())


def _truth(value: object) -> str:
    return "true" if value else "false"
