"""``lading history builds``: looking at one build elsewhere, in a browser or on another machine."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.app import App
from lading.commands.history_builds import LATEST, found_build
from lading.errors import UsageError

if TYPE_CHECKING:
    from engine.builds.history.archive import Entry
    from engine.builds.history.document import Document

STDIN = "-"


@click.command()
@click.argument("refs", metavar="[REF]...", nargs=-1)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Instead of stdout"
)
@click.option("--html", "as_html", is_flag=True, help="A report for people, on one page")
@click.option("--all", "everything", is_flag=True, help="All builds that are on record")
@click.option("--finalize", is_flag=True, help="Accepted: records are always complete")
@click.pass_obj
def export(
    app: App,
    refs: tuple[str, ...],
    *,
    output: Path | None,
    as_html: bool,
    everything: bool,
    finalize: bool,
) -> None:
    """Write records with their logs as JSON for `import`, or a report as HTML."""
    from engine.builds.history.archive import entries
    from engine.builds.history.bundle import bundled, record_of

    if everything and (refs or as_html):
        raise UsageError("--all is without REF and --html", where="--all")
    if as_html and len(refs) > 1:
        raise UsageError("a report is about one build", where="--html", fix="name only one")
    chosen = refs or (LATEST,)
    if as_html:
        entry, document = found_build(app, chosen[0])
        text = _report(app, entry, document)
    elif everything or len(chosen) > 1:
        listed = entries(app.state) if everything else [found_build(app, it)[0] for it in chosen]
        text = json.dumps(bundled(listed), indent=2) + "\n"
    else:
        entry, document = found_build(app, chosen[0])
        text = json.dumps(record_of(entry) or document, indent=2) + "\n"
    _write(text, output)


@click.command("import")
@click.option("-f", "--file", "files", multiple=True, metavar="FILE", help="Instead of stdin")
@click.argument("stdin", required=False, metavar="[-]")
@click.pass_obj
def import_(app: App, files: tuple[str, ...], stdin: str | None) -> None:
    """Take in records that `export` wrote, or `docker buildx history export`."""
    from engine.builds.history.bundle import read_bundle, take_in

    if stdin not in (None, STDIN) or (stdin and files):
        raise UsageError("files are named with -f", where=str(stdin), fix="use -f FILE, or -")
    read = [build for name in files or (STDIN,) for build in read_bundle(_bytes(name), name)]
    taken, there = take_in(app.state, read)
    for ref in taken:
        click.echo(ref)
    if there:
        click.echo(f"{there} were on record already", err=True)


@click.command("open")
@click.argument("ref", default=LATEST)
@click.pass_obj
def open_(app: App, ref: str) -> None:
    """Show the report of a build in the browser."""
    import tempfile
    import webbrowser

    entry, document = found_build(app, ref)
    folder = Path(tempfile.mkdtemp(prefix="lading-report-"))
    page = folder / f"{document['ref']}.html"
    page.write_text(_report(app, entry, document), "utf-8", "replace")
    click.echo(os.fspath(page))
    if not webbrowser.open(page.as_uri()):
        click.echo("no browser could be started; open the file by hand", err=True)


@click.command()
@click.argument("ref", default=LATEST)
@click.option("--compare", metavar="REF", help="Show this build beside it")
@click.option("--addr", default="127.0.0.1:0", metavar="HOST:PORT", help="Where pages are served")
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "otlp"]),
    default="html",
    help="Serve pages for a browser, or write OTLP JSON for Jaeger and its like",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Of OTLP, not stdout"
)
@click.pass_obj
def trace(
    app: App, ref: str, *, compare: str | None, addr: str, form: str, output: Path | None
) -> None:
    """Show where the time of a build went: its timeline in a browser, or a trace."""
    from engine.builds.history.otlp import trace_of

    chosen = [found_build(app, it) for it in (ref, compare) if it is not None]
    text = json.dumps(trace_of(*(document for _, document in chosen)), indent=2) + "\n"
    if form == "otlp":
        _write(text, output)
        return
    if output is not None:
        raise UsageError("pages are served, not written", where="-o", fix="use export --html")
    _serve(app, chosen, text, addr)


def _serve(app: App, chosen: list[tuple[Entry, Document]], trace: str, addr: str) -> None:
    import webbrowser

    from lading.render.report.serving import HTML, JSON, Page, server_of

    names = ["/", "/compare"][: len(chosen)]
    pages = {
        name: Page(HTML, _report(app, entry, document).encode("utf-8", "replace"))
        for name, (entry, document) in zip(names, chosen, strict=True)
    }
    pages["/trace.json"] = Page(JSON, trace.encode())
    server = server_of(addr, pages)
    host, port = server.server_address[:2]
    place = f"http://{host!s}:{port}"
    for name in pages:
        click.echo(f"{place}{name}")
    click.echo("ctrl-C ends it", err=True)
    sys.stdout.flush()
    webbrowser.open(f"{place}/")
    try:
        server.serve_forever()
    finally:
        server.server_close()


def _report(app: App, entry: Entry, document: Document) -> str:
    from lading.render.report.page import report_html

    return report_html(document, list(entry.log()), app.store)


def _bytes(name: str) -> bytes:
    """A bundle's bytes, and one more than are allowed of a longer one.

    Raises:
        OSError: it cannot be read.
    """
    from engine.builds.history.bundle import LIMIT

    if name == STDIN:
        if sys.stdin.isatty():
            raise UsageError("nothing is on standard input", where="import", fix="use -f FILE")
        return sys.stdin.buffer.read(LIMIT + 1)
    with open(name, "rb") as file:
        return file.read(LIMIT + 1)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    from lading.render.atomic import write_whole

    write_whole(output, text.encode("utf-8", "replace"))
    click.echo(os.fspath(output), err=True)


@click.command()
@click.argument("ref", default=LATEST)
@click.argument("digest", required=False)
@click.option(
    "--type", "kind", metavar="TYPE", help="index, manifest, image, provenance, sbom, or a URI"
)
@click.option("--platform", help="Of the image for this platform")
@click.pass_obj
def attachment(
    app: App, ref: str, digest: str | None, *, kind: str | None, platform: str | None
) -> None:
    """Show a document that a build made: a manifest, a config, a statement."""
    from engine.builds.history.attachments import attachments_of, chosen, imported
    from images.platform import Platform

    entry, document = found_build(app, ref)
    wanted = None if platform is None else Platform.parse(platform)
    found = imported(entry.attached()) or attachments_of(document, app.store)
    one = chosen(found, kind=kind, digest=digest, platform=wanted)
    click.echo(json.dumps(json.loads(one.raw), indent=2, ensure_ascii=False))
