"""``lading attestation sign`` and ``verify``: statements under a key's signature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lading.app import App
from lading.commands.attestation_reading import is_of
from lading.commands.declared import access_options

if TYPE_CHECKING:
    from engine.access import Access
    from engine.attestations.statement import Statement
    from images.reference import Reference

TYPE_HELP = "provenance, sbom, or the beginning of a predicate's type"


@click.command()
@click.argument("image")
@click.option(
    "--key",
    "location",
    required=True,
    help="Name in the key store, a private key file, pkcs11:URI or command:PROGRAM",
)
@click.option("--type", "kind", metavar="TYPE", help=f"Only these: {TYPE_HELP}")
@click.option(
    "--predicate",
    type=click.Path(path_type=Path),
    help="State what is in this JSON file, in place of what is attached; --type is its type",
)
@click.option("--passphrase-fd", type=int, help="Read the passphrase from this file descriptor")
@access_options
@click.pass_obj
def sign(
    app: App,
    image: str,
    *,
    location: str,
    kind: str | None,
    predicate: Path | None,
    passphrase_fd: int | None,
    insecure_registry: tuple[str, ...],
) -> None:
    """Sign statements about an image in its registry.

    The statements attached to it, or one made of a file, get a signature in cosign's form: a
    sigstore bundle that refers to the image.
    """
    from engine.attestations.signing import sign_statements
    from engine.registries import call
    from images.reference import Reference
    from lading.passphrase import passphrase
    from trust.keystore import KeyStore
    from trust.signers.opening import open_signer

    access, reference = app.access(insecure_registry), Reference.parse(image)
    if predicate is not None:
        statements = _from_file(access, reference, predicate, kind)
    else:
        statements = _attached(access, reference, kind)
    secret = passphrase(f"key {location}", descriptor=passphrase_fd)
    key = open_signer(location, KeyStore(app.root), secret)
    signed = call(access, lambda client: sign_statements(client, reference, statements, key))
    for statement in signed:
        click.echo(f"signed {statement.predicate_type} about {statement.subjects[0]}")
    if not signed:
        click.echo("already signed")


@click.command()
@click.argument("image")
@click.option(
    "--key",
    "locations",
    multiple=True,
    required=True,
    help="Name in the key store, or a public key file; may be repeated",
)
@click.option("--type", "kind", metavar="TYPE", help=f"Only these: {TYPE_HELP}")
@click.option("--show", "shown", is_flag=True, help="Print the statements, as JSON")
@access_options
@click.pass_obj
def verify(
    app: App,
    image: str,
    *,
    locations: tuple[str, ...],
    kind: str | None,
    shown: bool,
    insecure_registry: tuple[str, ...],
) -> None:
    """Verify signed statements about an image.

    Every image that the name stands for must have one that was signed by one of the keys.
    """
    from engine.attestations.signing import verify_statements
    from engine.registries import call
    from images.reference import Reference
    from trust.keys import PublicKey
    from trust.keystore import KeyStore
    from trust.policyfile import read_key

    reference = Reference.parse(image)
    keys = [
        PublicKey.from_pem(read_key(location), where=location)
        if Path(location).is_file()
        else KeyStore(app.root).get(location).public
        for location in locations
    ]
    found = call(
        app.access(insecure_registry),
        lambda client: verify_statements(
            client, reference, keys, lambda item: kind is None or is_of(item.predicate_type, kind)
        ),
    )
    for item in found:
        if shown:
            click.echo(json.dumps(json.loads(item.statement.raw), indent=2, ensure_ascii=False))
        else:
            click.echo(f"verified {item.statement.predicate_type} about {item.subject}")


def _attached(access: Access, reference: Reference, kind: str | None) -> list[Statement]:
    from engine.attestations.manifests import BUNDLE
    from engine.attestations.reading import remote_statements
    from images.errors import ImageUnknownError

    found = [
        statement
        for item, statement in remote_statements(access, reference)
        if item.form != BUNDLE and (kind is None or is_of(statement.predicate_type, kind))
    ]
    if not found:
        raise ImageUnknownError(
            "no such statement is attached in the registry",
            where=str(reference),
            fix="build with --provenance or --sbom and push, or name a file: --predicate FILE",
        )
    return found


def _from_file(
    access: Access, reference: Reference, path: Path, kind: str | None
) -> list[Statement]:
    """One statement for each image that the name stands for."""
    from engine.attestations.manifests import images_in
    from engine.attestations.statement import make
    from engine.registries import call
    from lading.errors import UsageError

    if not kind or ":" not in kind:
        raise UsageError(
            "a predicate needs a type", where="--type", fix="name it by a URI: --type https://..."
        )
    try:
        predicate: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", where="--predicate") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON: {error}", where="--predicate") from error
    if not isinstance(predicate, dict):
        raise UsageError(f"{path} does not hold a JSON object", where="--predicate")
    fetched = call(access, lambda client: client.read_manifest(reference))
    images = images_in(fetched.document, fetched.descriptor)
    return [make(kind, predicate, digest) for digest in images]
