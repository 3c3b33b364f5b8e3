"""``lading trust revoke``: signatures taken back, in every format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from images.errors import InputError
from images.reference import Reference
from lading.app import App
from lading.commands.declared import access_options

if TYPE_CHECKING:
    from engine.access import Access
    from trust.keys import PublicKey

_NOTARY = "notary"
_OTHERS = ("cosign", "bundle", "notation")


@click.command()
@click.argument("image")
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice((_NOTARY, *_OTHERS)),
    help="What to remove, may be repeated  [default: notary; with --key all others]",
)
@click.option("--key", "location", help="Only this key's: a name in the key store, or a PEM file")
@click.option("-y", "--yes", is_flag=True, help="Do not prompt for confirmation")
@access_options
@click.pass_obj
def revoke(
    app: App,
    image: str,
    formats: tuple[str, ...],
    location: str | None,
    insecure_registry: tuple[str, ...],
    *,
    yes: bool,
) -> None:
    """Remove signatures of an image from its registry.

    In Notary's format the trust data of a tag, or of every tag, is signed anew without it. In the
    others the signatures of the image and of every platform's manifest are deleted, all of them,
    the registry's own included, or those of one key.
    """
    chosen = formats or ((_NOTARY,) if location is None else _OTHERS)
    if _NOTARY in chosen and location is not None:
        raise InputError(
            "a key's signatures cannot be taken from Notary's trust data alone",
            fix="revoke the tag without --key, or take the signer away: lading trust signer remove",
        )
    access = app.access(insecure_registry)
    if _NOTARY in chosen:
        _from_trust_data(access, image, yes=yes)
    others = [form for form in _OTHERS if form in chosen]
    if others:
        _from_registry(access, Reference.parse(image), others, _public_key(app, location))


def _from_trust_data(access: Access, image: str, *, yes: bool) -> None:
    from engine.content_trust import session
    from lading.content_trust import trust_keys

    reference = Reference.parse(image, default_tag=None)
    if reference.digest is not None:
        raise InputError("cannot use a digest reference for IMAGE:TAG", where=image)
    question = f"Confirm you would like to delete all signature data for {image}?"
    if reference.tag is None and not yes and not click.confirm(question):
        raise click.Abort
    session.with_collection(
        access, reference, trust_keys(), lambda collection: collection.revoke(reference.tag)
    )
    click.echo(f"Successfully deleted signature for {image}")


def _from_registry(
    access: Access, reference: Reference, formats: list[str], key: PublicKey | None
) -> None:
    from engine import revoking
    from engine.registries import call
    from engine.trusting import Format

    wanted = [Format(form) for form in formats]
    done = call(access, lambda client: revoking.revoke(client, reference, formats=wanted, key=key))
    for item in done:
        how = ", ".join(f"{count} {form.value}" for form, count in item.removed.items())
        click.echo(f"revoked {item.descriptor.digest} ({how})")


def _public_key(app: App, location: str | None) -> PublicKey | None:
    """The key of a name in the store, or of a file; None for none."""
    if location is None:
        return None
    from trust.keys import PublicKey
    from trust.keystore import KeyStore
    from trust.policyfile import read_key

    if not Path(location).is_file():
        return KeyStore(app.root).get(location).public
    return PublicKey.from_pem(read_key(location), where=location)
