"""``lading trust sign|verify|inspect|policy``: signatures of images in their registries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.registries import call
from images.reference import Reference
from lading.app import App
from lading.commands.declared import access_options, trust_options
from trust.keystore import KeyStore

if TYPE_CHECKING:
    from images.client import RegistryClient


FORMATS = ("notary", "cosign", "bundle", "notation", "simple")


def _annotations(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    if any(not separator for _, separator, _ in pairs):
        raise click.BadParameter("write KEY=VALUE")
    return {key: value for key, _, value in pairs}


@click.command()
@click.argument("image")
@click.option(
    "--key",
    "location",
    help="Name in the key store, a private key file, pkcs11:URI, command:PROGRAM or gpg:KEY",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(FORMATS),
    help="What to write, may be repeated  "
    "[default: notary where it is served; with --key cosign and bundle too]",
)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path),
    help="The key's certificate chain (PEM), for notation  [default: NAME.crt in the key store]",
)
@click.option(
    "-a", "--annotation", multiple=True, callback=_annotations, metavar="K=V", help="Signed too"
)
@click.option("--timestamp", is_flag=True, help="Sign the time too, for policies that limit age")
@click.option("--passphrase-fd", type=int, help="Read the passphrase from this file descriptor")
@access_options
@click.pass_obj
def sign(
    app: App,
    image: str,
    location: str | None,
    formats: tuple[str, ...],
    certificate: Path | None,
    annotation: dict[str, str],
    *,
    timestamp: bool,
    passphrase_fd: int | None,
    insecure_registry: tuple[str, ...],
) -> None:
    """Sign an image in its registry.

    What the name points to there is signed. In cosign's formats and notation's, which take --key,
    so is the manifest of every platform. In Notary's format, which docker reads, the tag is signed.
    With --key gpg:KEY simple signatures are made, by the registry's signature extension.
    """
    from lading import signing

    wishes = signing.Wishes(location, formats, annotation, timestamp, passphrase_fd, certificate)
    signing.sign(
        app.access(insecure_registry), Reference.parse(image), wishes, store=KeyStore(app.root)
    )


@click.command()
@click.argument("image")
@access_options
@trust_options
@click.pass_obj
def verify(
    app: App,
    image: str,
    insecure_registry: tuple[str, ...],
    policy: Path | None,
    verify_key: tuple[Path, ...],
) -> None:
    """Verify an image in its registry.

    Prints the digest that was verified, or says which rule refused and why.
    """
    from engine import trusting

    access = app.access(insecure_registry, policy=policy, verify_key=verify_key)
    rules = access.policy()
    found = call(
        access,
        lambda client: trusting.verify_reference(
            client, Reference.parse(image), rules, notary=access.trust_data()
        ),
    )
    click.echo(f"{Reference.parse(image).familiar_name}@{found.digest}")


@click.command()
@click.argument("images", nargs=-1, required=True)
@click.option("--pretty", is_flag=True, help="Tables for people")
@access_options
@trust_options
@click.pass_obj
def inspect(
    app: App,
    images: tuple[str, ...],
    *,
    pretty: bool,
    insecure_registry: tuple[str, ...],
    policy: Path | None,
    verify_key: tuple[Path, ...],
) -> None:
    """Show who signed an image, and the policy's verdict."""
    from engine import trust_inspection
    from lading.content_trust import collection_report

    access = app.access(insecure_registry, policy=policy, verify_key=verify_key)
    rules = access.policy()
    known = {stored.name: stored.public for stored in KeyStore(app.root).list()}

    async def look(client: RegistryClient) -> list[trust_inspection.Inspection | None]:
        references = [Reference.parse(image) for image in images]
        return [
            await trust_inspection.inspect_if_there(
                client, reference, rules, known=known, notary=access.trust_data()
            )
            for reference in references
        ]

    reports = [
        trust_inspection.joined(seen, collection_report(access, image), image)
        for image, seen in zip(images, call(access, look), strict=True)
    ]
    if pretty:
        click.echo("\n".join(report.pretty() for report in reports), nl=False)
    else:
        click.echo(json.dumps([report.to_json() for report in reports], indent=4))


@click.group()
def policy() -> None:
    """Check the policy, or explain its decision."""


@policy.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.pass_obj
def check(app: App, file: Path | None) -> None:
    """Say whether a policy file is understood completely."""
    rules = app.access(policy=file).policy()
    click.echo(f"{rules.source}: understood, {len(rules.scopes)} scopes besides the default")


@policy.command()
@click.argument("image")
@trust_options
@click.pass_obj
def explain(app: App, image: str, *, policy: Path | None, verify_key: tuple[Path, ...]) -> None:
    """Say which rule decides about an image, and what it wants."""
    rules = app.access(policy=policy, verify_key=verify_key).policy()
    click.echo(rules.explain(Reference.parse(image)))
