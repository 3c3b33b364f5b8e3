"""``lading imagetools``: lists made of what registries have, as buildx's command of that name."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from images.platform import Platform
from images.reference import Reference
from lading.app import App
from lading.commands.declared import access_options
from lading.commands.foreign import SwitchCommand
from lading.errors import UsageError

if TYPE_CHECKING:
    from engine.access import Access
    from engine.manifests.assembling import Assembled
    from images.client import RegistryClient


_COSTLY = ("Image", "Provenance", "SBOM")
"""Fields that are fetched only when a template asks for them."""
_EVERYTHING = re.compile(r"[\s({]\.\s*(?:\}|\||\))")
"""The dot alone: all fields that cost little."""
_WHOLE = re.compile(r"\{\{\s*\.Manifest\s*\}\}")
"""A template that asks for the text for people, as buildx has it."""


@click.group()
def imagetools() -> None:
    """Put lists together from what registries have.

    Only documents are read; nothing is pulled.
    """


@imagetools.command(cls=SwitchCommand)
@click.argument("sources", metavar="[SOURCE...]", nargs=-1)
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME", help="What to call the result")
@click.option(
    "-f", "--file", "files", multiple=True, metavar="FILE", help="Read a source from a file"
)
@click.option("--append", is_flag=True, help="Add to what the first tag names")
@click.option("--annotation", "annotations", multiple=True, metavar="LEVEL:K=V")
@click.option("--dry-run", is_flag=True, help="Print the result, push nothing")
@click.option(
    "--prefer-index/--no-prefer-index",
    default=True,
    help="Make a list of a single image, too, rather than copy it as it is",
)
@click.option(
    "-p", "--platform", "platforms", multiple=True, metavar="OS/ARCH", help="Take only these"
)
@click.option(
    "--referrers/--no-referrers",
    default=True,
    help="Copy what points to the images (signatures, statements), too",
)
@click.option(
    "--metadata-file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Write the digest and names as JSON",
)
@access_options
@click.pass_obj
def create(
    app: App,
    sources: tuple[str, ...],
    *,
    tags: tuple[str, ...],
    files: tuple[str, ...],
    append: bool,
    annotations: tuple[str, ...],
    dry_run: bool,
    prefer_index: bool,
    platforms: tuple[str, ...],
    referrers: bool,
    metadata_file: Path | None,
    insecure_registry: tuple[str, ...],
) -> None:
    """Make a list of images and lists that are at registries.

    A source is a name, a digest in the repository of the tags, or a descriptor in JSON. Names may
    be oci-layout://PATH:TAG.
    """
    from engine.manifests.layouts import parse_place

    names = [parse_place(tag) for tag in tags]
    if not (names or dry_run):
        raise UsageError(
            "can't push with no tags specified", where="imagetools create", fix="add -t NAME"
        )
    if append and not names:
        raise UsageError("--append needs a tag to add to", where="--append", fix="add -t NAME")
    texts = (*sources, *(_read(file) for file in files))
    if not (texts or append):
        raise UsageError("no sources specified", where="imagetools create")
    if metadata_file is not None:
        from lading.render.atomic import check_writable

        check_writable(metadata_file)
    assembled = _assemble(
        app.access(insecure_registry),
        names,
        texts,
        append=append,
        annotations=annotations,
        prefer_index=prefer_index,
        platforms=Platform.parse_list(platforms),
        dry_run=dry_run,
        referrers=referrers,
    )
    if metadata_file is not None and not dry_run:
        _write_metadata(metadata_file, assembled, names)
    if dry_run:
        click.echo(json.dumps(json.loads(assembled.raw), indent=2))


def _assemble(
    access: Access,
    names: Sequence[Reference],
    texts: Sequence[str],
    *,
    append: bool,
    annotations: Sequence[str],
    prefer_index: bool,
    platforms: Sequence[Platform],
    dry_run: bool,
    referrers: bool,
) -> Assembled:
    """Put the list together, and push it under every name unless this is a rehearsal."""
    from engine.builds.delivery.annotations import parse_annotations
    from engine.manifests import assembling
    from engine.manifests.layouts import WithLayouts
    from engine.registries import call

    found = [assembling.parse_source(text, names) for text in texts]
    notes = parse_annotations(annotations)

    async def work(registries: RegistryClient) -> Assembled:
        client = WithLayouts(registries)
        before = await assembling.existing(client, names[0]) if append else ()
        assembled = await assembling.assemble(
            client,
            [*before, *found],
            annotations=notes,
            prefer_index=prefer_index,
            platforms=platforms,
        )
        for name in () if dry_run else names:
            await assembling.publish(client, assembled, name, referrers=referrers, told=_tell)
            click.echo(f"pushed {assembled.digest} to {name}", err=True)
        return assembled

    return call(access, work)


def _write_metadata(path: Path, assembled: Assembled, names: Sequence[Reference]) -> None:
    """buildx's keys."""
    from lading.render.atomic import write_whole

    told = {
        "containerimage.descriptor": {
            "mediaType": assembled.media_type,
            "digest": str(assembled.digest),
            "size": len(assembled.raw),
        },
        "image.name": ",".join(str(name) for name in names),
    }
    write_whole(path, json.dumps(told, indent=2).encode() + b"\n")


@imagetools.command(cls=SwitchCommand)
@click.argument("name")
@click.option("--format", "template", metavar="TEMPLATE", help="Go template, or json")
@click.option("--raw", is_flag=True, help="The document as it is, byte for byte")
@access_options
@click.pass_obj
def inspect(
    app: App,
    name: str,
    *,
    template: str | None,
    raw: bool,
    insecure_registry: tuple[str, ...],
) -> None:
    """Show an image or a list in a registry, or in oci-layout://PATH:TAG.

    Fields of a template are .Name, .Manifest, .Image (the config), .Provenance (.SLSA) and .SBOM
    (.SPDX); the last three are by platform where a list has several. {{json .}} has the first
    three, as with buildx, and json has them all.
    """
    from engine.manifests import looking
    from engine.manifests.layouts import WithLayouts, parse_place
    from engine.registries import call
    from lading.render.gonames import go_names
    from lading.render.gotemplate import Template

    if raw and template is not None:
        raise UsageError("--raw and --format exclude each other", where="--raw")
    reference, access = parse_place(name), app.access(insecure_registry)
    if raw:
        document = call(access, lambda client: looking.raw(WithLayouts(client), reference))
        sys.stdout.buffer.write(document)
        return
    if template is None or _WHOLE.fullmatch(template.strip()):
        shown = call(access, lambda client: looking.text(WithLayouts(client), reference))
        click.echo(shown, nl=False)
        return
    text = "{{json .}}" if template == "json" else template
    wanted = [name.lower() for name in _COSTLY if template == "json" or f".{name}" in text]
    if _EVERYTHING.search(text):
        wanted.append("image")
    compiled = Template.parse(text)
    data = call(
        access, lambda client: looking.fields(WithLayouts(client), reference, wanted=wanted)
    )
    click.echo(compiled.render(go_names(data)))


def _read(file: str) -> str:
    return sys.stdin.read() if file == "-" else Path(file).read_text()


def _tell(target: Reference) -> None:
    click.echo(f"copied {target}", err=True)
