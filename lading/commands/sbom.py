"""``lading sbom`` and ``lading image packages``: what software an image holds, by whom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lading import __version__
from lading.app import App
from lading.commands.declared import access_options
from lading.render.table import listing
from lading.render.units import human_size

if TYPE_CHECKING:
    from engine.attestations.sbom import Sbom
    from images.packages.inventory import Found, LayerUse

TOOL = f"lading-{__version__}"
_HEADERS = {
    "Name": "NAME",
    "Version": "VERSION",
    "Type": "TYPE",
    "License": "LICENSE",
    "Purl": "PURL",
    "Step": "STEP",
    "Size": "SIZE",
    "Layer": "LAYER",
}
_COLUMNS = ("Name", "Version", "Type", "License")
_STEP_WIDTH = 72
_LICENSE_WIDTH = 48


@click.command()
@click.argument("image")
@click.option("--platform", help="Platform of the image  [default: this machine's]")
@click.option(
    "--format",
    "form",
    default="table",
    show_default=True,
    metavar="FORMAT",
    help="spdx-json, json, table, or a Go template over Name, Version, Type, License, Purl",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file")
@click.option("--scan", is_flag=True, help="Look into the layers even if an SBOM is attached")
@click.option("--remote", is_flag=True, help="Read what is attached in the registry; pull nothing")
@access_options
@click.pass_obj
def sbom(
    app: App,
    image: str,
    *,
    platform: str | None,
    form: str,
    output: Path | None,
    scan: bool,
    remote: bool,
    insecure_registry: tuple[str, ...],
) -> None:
    """List the packages of an image.

    An SBOM that is attached to the image is shown as it is; otherwise the package databases in its
    layers are read. Nothing of the image is executed.
    """
    from images.platform import Platform

    wanted = None if platform is None else Platform.parse(platform)
    if remote:
        found = _remote(app, image, wanted, insecure_registry)
    else:
        from engine.attestations.sbom import sbom_of

        found = sbom_of(app.store, image, tool=TOOL, platform=wanted, scan=scan)
    _say_origin(image, found)
    _write(_rendered(found, form), output)


def _remote(app: App, image: str, platform: Any, insecure_registry: tuple[str, ...]) -> Sbom:
    from engine.attestations.reading import remote_statements
    from engine.attestations.sbom import sbom_in
    from images.errors import ImageUnknownError
    from images.reference import Reference

    access = app.access(insecure_registry)
    for item, statement in remote_statements(access, Reference.parse(image), platform=platform):
        found = sbom_in(statement, item.blob.digest)
        if found is not None:
            return found
    raise ImageUnknownError(
        "the registry has no SBOM for this image",
        where=image,
        fix=f"pull it, then: lading sbom {image}",
    )


def _say_origin(image: str, found: Sbom) -> None:
    if found.attached is not None:
        click.echo(f"{image}: the SBOM attached to it, {found.attached}", err=True)
    else:
        click.echo(f"{image}: made from the package databases in its layers", err=True)
    if found.document.get("comment"):
        click.echo(f"{found.document['comment']}", err=True)


def _rendered(found: Sbom, form: str) -> str:
    if form == "spdx-json":
        return json.dumps(found.document, indent=2, ensure_ascii=False) + "\n"
    from engine.attestations.sbom import rows

    items = rows(found.document)
    if form == "json":
        return json.dumps(items, indent=2, ensure_ascii=False) + "\n"
    if form == "table":
        items = [{**item, "License": _cut(item["License"], _LICENSE_WIDTH)} for item in items]
    template = None if form == "table" else form
    return listing(items, headers=_HEADERS, columns=_COLUMNS, template=template)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    from lading.render.atomic import write_whole

    write_whole(output, text.encode())


@click.command()
@click.argument("image")
@click.option("--platform", help="Platform of the image  [default: this machine's]")
@click.option("--format", "template", metavar="TEMPLATE", help="Go template, table or json")
@click.option("--steps", is_flag=True, help="One line per step, with its packages added up")
@click.option("--no-trunc", is_flag=True, help="Show whole steps and digests")
@click.pass_obj
def packages(
    app: App,
    image: str,
    *,
    platform: str | None,
    template: str | None,
    steps: bool,
    no_trunc: bool,
) -> None:
    """Show which step brought which package, and how many bytes each takes."""
    from engine.attestations.sbom import inventory_of
    from images.packages.inventory import by_layer
    from images.platform import Platform

    wanted = None if platform is None else Platform.parse(platform)
    found = app.store.image(app.store.lookup(image).descriptor, wanted)
    inventory = inventory_of(app.store, found)
    groups = list(by_layer(inventory))
    if steps:
        items = [_step(layer, brought, whole=no_trunc) for layer, brought in groups]
        columns: tuple[str, ...] = ("Step", "Packages", "Owned", "Files", "Size", "CreatedBy")
    else:
        items = [
            _line(layer, item, whole=no_trunc) for layer, brought in groups for item in brought
        ]
        columns = ("Step", "Name", "Version", "Type", "Size")
    headers = {
        **_HEADERS,
        "Packages": "PACKAGES",
        "Owned": "OF PACKAGES",
        "Files": "OF FILES",
        "CreatedBy": "CREATED BY",
    }
    click.echo(listing(items, headers=headers, columns=columns, template=template), nl=False)
    for path, what in inventory.problems:
        click.echo(f"/{path}: {what}", err=True)


def _step(layer: LayerUse, brought: list[Found], *, whole: bool) -> dict[str, Any]:
    return {
        "Step": layer.number or "",
        "Packages": len(brought),
        "Owned": human_size(layer.owned),
        "Files": human_size(layer.files_size),
        "Size": human_size(layer.size),
        "CreatedBy": _cut(layer.created_by, None if whole else _STEP_WIDTH),
        "Layer": str(layer.diff_id) if whole else layer.diff_id.short,
    }


def _line(layer: LayerUse, item: Found, *, whole: bool) -> dict[str, Any]:
    package = item.package
    return {
        "Step": layer.number or "",
        "Name": f"{package.namespace}/{package.name}" if package.namespace else package.name,
        "Version": package.version,
        "Type": package.type,
        "License": " AND ".join(package.licenses),
        "Purl": item.purl,
        "Size": human_size(item.size),
        "Bytes": item.size,
        "Where": f"/{item.where}",
        "CreatedBy": _cut(layer.created_by, None if whole else _STEP_WIDTH),
        "Layer": str(layer.diff_id) if whole else layer.diff_id.short,
    }


def _cut(text: str, width: int | None) -> str:
    text = " ".join(text.split())
    return text if width is None or len(text) <= width else f"{text[: width - 1]}…"
