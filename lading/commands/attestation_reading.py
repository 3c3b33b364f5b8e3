"""``lading attestation list`` and ``show``: the in-toto statements attached to an image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from lading.app import App
from lading.commands.declared import access_options
from lading.render.table import listing
from lading.render.units import human_size

if TYPE_CHECKING:
    from engine.attestations.manifests import Attached
    from images.platform import Platform

_HEADERS = {
    "PredicateType": "PREDICATE TYPE",
    "Platform": "PLATFORM",
    "Form": "FORM",
    "Size": "SIZE",
    "Digest": "DIGEST",
    "Subject": "SUBJECT",
    "Manifest": "MANIFEST",
}
_COLUMNS = ("PredicateType", "Platform", "Form", "Size", "Digest")
_SHORT = {"provenance": "slsa.dev/provenance", "sbom": "spdx.dev/Document"}


@click.command("list")
@click.argument("image")
@click.option("--platform", help="Only for this platform  [default: all of them]")
@click.option("--format", "template", metavar="TEMPLATE", help="Go template, table or json")
@click.option("-q", "--quiet", is_flag=True, help="Only digests")
@click.option("--remote", is_flag=True, help="Look in the registry; pull nothing")
@access_options
@click.pass_obj
def list_(
    app: App,
    image: str,
    *,
    platform: str | None,
    template: str | None,
    quiet: bool,
    remote: bool,
    insecure_registry: tuple[str, ...],
) -> None:
    """List the statements attached to an image."""
    from engine.attestations import reading
    from images.reference import Reference

    wanted = _platform(platform)
    if remote:
        access, reference = app.access(insecure_registry), Reference.parse(image)
        found = reading.list_remote(access, reference, platform=wanted)
    else:
        found = reading.list_stored(app.store, image, platform=wanted)
    text = listing(
        [_row(item) for item in found.attached],
        headers=_HEADERS,
        columns=_COLUMNS,
        template=template,
        quiet_field="Digest" if quiet else None,
    )
    click.echo(text, nl=False)
    if found.elsewhere:
        click.echo(
            f"{image}: statements about {found.elsewhere} images were not pulled with it; "
            "see them with --remote",
            err=True,
        )


@click.command()
@click.argument("image")
@click.option("--platform", help="Only for this platform  [default: all of them]")
@click.option(
    "--type",
    "kind",
    metavar="TYPE",
    help="provenance, sbom, or the beginning of a predicate's type",
)
@click.option("--predicate", is_flag=True, help="Show what is stated, without the envelope of it")
@click.option("--remote", is_flag=True, help="Look in the registry; pull nothing")
@access_options
@click.pass_obj
def show(
    app: App,
    image: str,
    *,
    platform: str | None,
    kind: str | None,
    predicate: bool,
    remote: bool,
    insecure_registry: tuple[str, ...],
) -> None:
    """Show the statements attached to an image, as JSON, one after the other."""
    from engine.attestations import reading
    from images.errors import ImageUnknownError
    from images.reference import Reference

    wanted = _platform(platform)
    if remote:
        access, reference = app.access(insecure_registry), Reference.parse(image)
        found = reading.remote_statements(access, reference, platform=wanted)
    else:
        found = reading.stored_statements(app.store, image, platform=wanted)
    shown = [item for _, item in found if kind is None or is_of(item.predicate_type, kind)]
    if not shown:
        raise ImageUnknownError(
            f"no statement{f' of type {kind}' if kind else ''} is attached",
            where=image,
            fix=f"see `lading attestation list {image}`; build with --provenance or --sbom",
        )
    for item in shown:
        document = item.predicate if predicate else json.loads(item.raw)
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _platform(text: str | None) -> Platform | None:
    from images.platform import Platform

    return None if text is None else Platform.parse(text)


def is_of(predicate_type: str, kind: str) -> bool:
    """Whether a predicate's type is meant by ``provenance``, ``sbom`` or its own beginning."""
    name = predicate_type.removeprefix("https://")
    return name.startswith(_SHORT.get(kind, kind).removeprefix("https://"))


def _row(item: Attached) -> dict[str, str]:
    return {
        "PredicateType": item.predicate_type,
        "Platform": "" if item.platform is None else str(item.platform),
        "Form": item.form,
        "Size": human_size(item.blob.size),
        "Digest": str(item.blob.digest),
        "Subject": str(item.subject),
        "Manifest": str(item.manifest),
    }
