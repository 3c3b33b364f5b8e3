"""``lading history builds``: what was built here, how it went, and what has changed since."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import click

from lading.app import App
from lading.cli import LazyGroup
from lading.errors import UsageError
from lading.render.table import listing

if TYPE_CHECKING:
    from engine.builds.history.archive import Entry
    from engine.builds.history.document import Document

_TABLE = {
    "attachment": (
        "history_records:attachment",
        "Show a document that a build made: a manifest, a config, a statement",
    ),
    "compare": (
        "history_builds:compare",
        "Show what differs between two builds, by default the last two",
    ),
    "export": (
        "history_records:export",
        "Write records with their logs as JSON for `import`, or a report as HTML",
    ),
    "import": (
        "history_records:import_",
        "Take in records that `export` wrote, or `docker buildx history export`",
    ),
    "inspect": ("history_builds:inspect", "Show one build, by default the latest"),
    "logs": ("history_builds:logs", "Show what the steps of a build wrote"),
    "ls": ("history_builds:ls", "List builds, the latest first"),
    "open": ("history_records:open_", "Show the report of a build in the browser"),
    "rm": ("history_builds:rm", "Forget builds; images and cache stay"),
    "trace": (
        "history_records:trace",
        "Show where the time of a build went: its timeline in a browser, or a trace",
    ),
}
_HEADERS = {
    "Ref": "BUILD ID",
    "Name": "NAME",
    "Status": "STATUS",
    "CreatedAt": "CREATED AT",
    "Duration": "DURATION",
    "Steps": "STEPS",
    "Cached": "CACHED",
    "Target": "TARGET",
    "Digest": "DIGEST",
    "Error": "ERROR",
}
_COLUMNS = ("Ref", "Name", "Status", "CreatedAt", "Duration")
LATEST = "^0"
"""The build that is meant where none is named."""


@click.group(cls=LazyGroup, table=_TABLE, invoke_without_command=True)
@click.pass_context
def builds(ctx: click.Context) -> None:
    """Look at earlier builds.

    REF is a build id, its beginning, or ^N for the Nth build before the last.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(ls, filters=(), template=None, quiet=False, no_trunc=False)


@click.command()
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="K=V",
    help="status=failed, name=, ref=, duration>1m, startedAt<24h...",
)
@click.option("--format", "template", metavar="TEMPLATE", help="Go template, table or json")
@click.option("-q", "--quiet", is_flag=True, help="Only build ids")
@click.option("--no-trunc", is_flag=True, help="Show whole names")
@click.pass_obj
def ls(
    app: App, *, filters: tuple[str, ...], template: str | None, quiet: bool, no_trunc: bool
) -> None:
    """List builds, the latest first."""
    from engine.builds.history.archive import entries
    from engine.builds.history.filters import matcher
    from lading.render.builds import row

    passes = matcher(filters, time.time())
    rows = [
        row(document, whole=no_trunc or template is not None)
        for entry in entries(app.state)
        if (document := entry.document()) is not None and passes(document)
    ]
    field = "Ref" if quiet else None
    text = listing(rows, headers=_HEADERS, columns=_COLUMNS, template=template, quiet_field=field)
    click.echo(text, nl=False)


@click.command()
@click.argument("ref", default=LATEST)
@click.option(
    "--format",
    "template",
    default="pretty",
    metavar="TEMPLATE",
    help="pretty, json or Go template",
)
@click.pass_obj
def inspect(app: App, ref: str, *, template: str) -> None:
    """Show one build, by default the latest."""
    from lading.render.builds import inspected, pretty
    from lading.render.gotemplate import Template

    _, document = found_build(app, ref)
    if template == "pretty":
        click.echo(pretty(document), nl=False)
    elif template == "json":
        click.echo(json.dumps(inspected(document), indent=2))
    else:
        click.echo(Template.parse(template).render(inspected(document)))


@click.command()
@click.argument("ref", default=LATEST)
@click.argument("step", required=False)
@click.option(
    "--progress",
    default="plain",
    type=click.Choice(["plain", "rawjson"]),
    help="Lines for people, or JSON for programs",
)
@click.pass_obj
def logs(app: App, ref: str, step: str | None, *, progress: str) -> None:
    """Show what the steps of a build wrote.

    STEP is the number of a step, or a part of its name.
    """
    from builder.progress.render import make_progress
    from engine.builds.history.replaying import events_of

    entry, document = found_build(app, ref)
    only = None if step is None else _steps(document, step)
    sink = make_progress(progress, sys.stdout)
    for event in events_of(document, list(entry.log()), only=only):
        sink.emit(event)
    sink.close()


@click.command()
@click.argument("before", default="^1")
@click.argument("after", default=LATEST)
@click.option("--format", "template", default="text", type=click.Choice(["text", "json"]))
@click.pass_obj
def compare(app: App, before: str, after: str, *, template: str) -> None:
    """Show what differs between two builds, by default the last two."""
    from engine.builds.history.comparing import compare as differences
    from lading.render.builds import comparison_json, comparison_text

    documents = [found_build(app, ref)[1] for ref in (before, after)]
    found = differences(*documents)
    if template == "json":
        click.echo(json.dumps(comparison_json(found), indent=2))
    else:
        click.echo(comparison_text(found, *documents), nl=False)


@click.command()
@click.argument("refs", metavar="REF...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Forget all builds that are over")
@click.pass_obj
def rm(app: App, refs: tuple[str, ...], *, everything: bool) -> None:
    """Forget builds; images and cache stay."""
    from engine.builds.history.archive import BuildUnknownError, entries, find

    if everything == bool(refs):
        raise UsageError("name the builds to forget, or use --all", where="rm")
    for entry in entries(app.state) if everything else [find(app.state, ref) for ref in refs]:
        if entry.remove():
            click.echo(entry.ref)
        elif not everything:
            raise BuildUnknownError("the build still runs", where=entry.ref, fix="stop it first")


def found_build(app: App, ref: str) -> tuple[Entry, Document]:
    """A build and its record.

    Raises:
        BuildUnknownError: there is none of that name, or it cannot be read.
    """
    from engine.builds.history.archive import BuildUnknownError, find

    entry = find(app.state, ref)
    document = entry.document()
    if document is None:
        raise BuildUnknownError("the record cannot be read", where=entry.ref, fix="remove it: rm")
    return entry, document


def _steps(document: Document, wanted: str) -> set[int]:
    from engine.builds.history.archive import BuildUnknownError
    from engine.builds.history.steps import steps_of

    steps = steps_of(document)
    if wanted.removeprefix("#").isdecimal():
        found = {step.number for step in steps if step.number == int(wanted.removeprefix("#"))}
    else:
        found = {step.number for step in steps if wanted in step.name}
    if not found:
        raise BuildUnknownError(
            "the build has no such step", where=wanted, fix="see them: inspect REF"
        )
    return found
