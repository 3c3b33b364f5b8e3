"""``lading lint``: findings in Dockerfiles, and mending them.

Exit status: 0 nothing found, 1 findings are left, 2 a file cannot be read or is no Dockerfile.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.errors import BuildInputError
from builder.inputs import NAMES
from lading.app import App

if TYPE_CHECKING:
    from builder.lint.fixing import Mended
    from builder.lint.report import LintReport
    from images.store import ImageStore

FOUND, FAULTY = 1, 2
STDIN = "-"
FORMATS = ("text", "json", "sarif", "github")


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--fix", is_flag=True, help="Mend what can be mended without a decision")
@click.option("--unsafe-fixes", is_flag=True, help="Mend also what changes the build as advised")
@click.option("--diff", is_flag=True, help="Show what --fix would change, and change nothing")
@click.option("--check-rules", "rules", metavar="SET|RULE|-RULE,...", help="Rules to look for")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="text", help="How to show findings"
)
@click.option("--build-arg", "build_args", multiple=True, metavar="K=V", help="Build argument")
@click.option("--target", metavar="STAGE", help="Only this stage and what it needs")
@click.option(
    "--context",
    metavar="DIR",
    type=click.Path(file_okay=False, exists=True),
    help="The build context, for rules about its files",
)
@click.pass_obj
def lint(
    app: App,
    *,
    files: tuple[str, ...],
    fix: bool,
    unsafe_fixes: bool,
    diff: bool,
    rules: str | None,
    form: str,
    build_args: tuple[str, ...],
    target: str | None,
    context: str | None,
) -> int:
    """Look for mistakes in Dockerfiles, and mend them.

    FILE is ./Dockerfile unless named, a dash is stdin. Nothing is built, pulled or looked up; with
    --fix the files are changed in place, and a Dockerfile from stdin is written to stdout.
    """
    try:
        look = _looker(app, rules, dict(_pair(word) for word in build_args), target, context)
    except BuildInputError as error:
        _complain("--check-rules", error)
        return FAULTY
    mending = fix or unsafe_fixes or diff
    reports: list[LintReport] = []
    changed = faulty = False
    for name in files or (_usual(),):
        try:
            source = _read(name)
            mended = _mended(source, name, look, mending=mending, unsafe=unsafe_fixes)
        except (BuildInputError, OSError) as error:
            _complain(name, error)
            faulty = True
            continue
        if diff:
            changed |= _show_difference(name, source, mended.source)
        elif mending:
            _put(name, source, mended.source)
        reports.append(mended.report)
        faulty |= mended.report.fault is not None and not mended.report.fault.parsed
    if reports and not diff:
        to_stderr = mending and STDIN in files
        print(_rendered(reports, form), end="", file=sys.stderr if to_stderr else sys.stdout)
    if faulty:
        return FAULTY
    return FOUND if changed or not all(report.clean for report in reports) else 0


def _looker(
    app: App, rules: str | None, build_args: dict[str, str], target: str | None, context: str | None
) -> Callable[[bytes, str], LintReport]:
    """What looks at one file: its bytes and its name."""
    from builder.lint.check import check
    from builder.lint.offline import OfflineBases
    from builder.lint.selection import selected
    from builder.request import BuildRequest

    selection = selected(rules, usual="recommended")
    bases = OfflineBases(_store(app))

    def look(source: bytes, name: str) -> LintReport:
        request = BuildRequest(context, source, build_args=build_args, target=target)
        report = check(request, resolver=bases, selection=selection, unknown=bases.unknown)
        return replace(report, filename=name)

    return look


def _store(app: App) -> ImageStore | None:
    """The store, if there is one that can be read; looking at a file makes none."""
    if not os.path.exists(os.path.join(app.state, "lading.db")):
        return None
    try:
        return app.store
    except OSError:
        return None


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


def _usual() -> str:
    """The Dockerfile of this directory, by the names that a build looks for."""
    return next((name for name in NAMES if os.path.isfile(name)), NAMES[0])


def _read(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()


def _mended(
    source: bytes,
    name: str,
    look: Callable[[bytes, str], LintReport],
    *,
    mending: bool,
    unsafe: bool,
) -> Mended:
    from builder.lint.fixing import Mended, mend

    shown = "Dockerfile" if name == STDIN else name
    if not mending:
        return Mended(source, look(source, shown), 0)
    return mend(source, lambda text: look(text, shown), unsafe=unsafe)


def _put(name: str, before: bytes, after: bytes) -> None:
    """Replace a file in one step, behind a link as well, with its mode."""
    if name == STDIN:
        sys.stdout.buffer.write(after)
        sys.stdout.buffer.flush()
        return
    if before == after:
        return
    from lading.render.atomic import write_whole

    path = Path(name).resolve()
    mode = path.stat().st_mode & 0o7777
    write_whole(path, after, mode=mode)


def _show_difference(name: str, before: bytes, after: bytes) -> bool:
    lines = difflib.unified_diff(
        before.decode(errors="replace").splitlines(keepends=True),
        after.decode(errors="replace").splitlines(keepends=True),
        fromfile=name,
        tofile=name,
    )
    text = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
    print(text, end="")
    return before != after


def _complain(name: str, error: Exception) -> None:
    from lading.errors import render_error

    if isinstance(error, OSError) and error.filename is None:
        error.filename = name
    render_error(error, sys.stderr)


def _rendered(reports: Iterable[LintReport], form: str) -> str:
    from builder.lint import listing

    reports = list(reports)
    if form == "sarif":
        from builder.lint.sarif import sarif
        from lading import __version__

        return json.dumps(sarif(reports, version=__version__, project=_project()), indent=2) + "\n"
    if form == "json":
        found = [entry for report in reports for entry in listing.report_list(report)]
        return json.dumps(found, indent=2) + "\n"
    show = listing.lines_github if form == "github" else listing.lines_text
    lines = [line for report in reports for line in show(report)]
    if form == "text":
        lines.append(listing.summary_text(reports))
    return "".join(f"{line}\n" for line in lines)


def _project() -> str:
    """The project's address below which its files are, from its metadata; empty where unknown."""
    try:
        urls = metadata("lading").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    named = dict(url.split(", ", 1) for url in urls if ", " in url)
    address = named.get("Source") or named.get("Repository") or ""
    return f"{address.rstrip('/')}/blob/main/" if address else ""
