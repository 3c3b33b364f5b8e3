"""``lading import``, ``load`` and ``save``."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click

from images.platform import Platform
from images.reference import Reference
from lading.app import App


@click.command("import")
@click.argument("file")
@click.argument("name", required=False)
@click.option("-c", "--change", "changes", multiple=True, metavar="INSTRUCTION", help="Set config")
@click.option("-m", "--message", help="Comment in the history")
@click.option("--platform", metavar="OS/ARCH", help="Platform of the content  [default: this one]")
@click.pass_obj
def import_(
    app: App,
    file: str,
    name: str | None,
    changes: tuple[str, ...],
    message: str | None,
    platform: str | None,
) -> None:
    """Make an image of a root filesystem tarball.

    FILE is a tar archive in any usual compression, or a dash for stdin.
    """
    from images.archive import RootfsImport, import_rootfs

    request = RootfsImport(
        reference=Reference.parse(name) if name else None,
        platform=Platform.parse(platform) if platform else None,
        config=_config(changes),
        message=message or f"Imported from {file}",
        created=_now(),
    )
    with ExitStack() as stack:
        loaded = import_rootfs(_input(None if file == "-" else file, stack), app.store, request)
    click.echo(str(loaded.image_id))


@click.command()
@click.option("-i", "--input", "source", metavar="FILE", help="Archive to read  [default: stdin]")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing")
@click.pass_obj
def load(app: App, *, source: str | None, quiet: bool) -> None:
    """Load images from a tar archive or stdin."""
    from images.archive import load as read

    if source is None and sys.stdin.isatty():
        raise click.UsageError("requested load from stdin, but stdin is empty")
    with ExitStack() as stack:
        loaded = read(_input(source, stack), app.store)
    for image in [] if quiet else loaded:
        for reference in image.references:
            click.echo(f"Loaded image: {reference.familiar}")
        if not image.references:
            click.echo(f"Loaded image ID: {image.image_id or image.descriptor.digest}")


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File  [default: stdout]")
@click.pass_obj
def save(app: App, names: tuple[str, ...], output: Path | None) -> None:
    """Save one or more images to a tar archive.

    `docker load`, `podman load` and `skopeo` read it; it is an OCI layout as well.
    """
    from images.archive import save as write

    found = []
    for name in names:
        stored = app.store.lookup(name)
        named = [ref for ref in stored.names if _is_meant(ref, name)]
        found.append((stored.descriptor, tuple(named)))
    if output is None:
        if sys.stdout.isatty():
            raise click.UsageError("cowardly refusing to save to a terminal. Use the -o flag")
        write(found, app.store, sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        return
    stage = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with stage.open("wb") as file:
            write(found, app.store, file.write)
        stage.replace(output)
    finally:
        stage.unlink(missing_ok=True)


def _is_meant(reference: Reference, name: str) -> bool:
    """Whether the user typed this very name; an id means none of them."""
    from images.errors import ImagesError

    try:
        return Reference.parse(name) == reference
    except ImagesError:
        return False


def _input(source: str | None, stack: ExitStack) -> BinaryIO:
    if source is None:
        return sys.stdin.buffer
    return stack.enter_context(open(source, "rb"))


def _config(changes: tuple[str, ...]) -> dict[str, object]:
    if not changes:
        return {}
    from builder.changes import config_of

    return config_of(changes)


def _now() -> str:
    """RFC 3339, or what SOURCE_DATE_EPOCH (seconds) says."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
