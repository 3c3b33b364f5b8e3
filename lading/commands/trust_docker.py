"""``lading trust signer``: docker's verbs on who signs for a repository."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from images.errors import ImagesError, InputError
from images.reference import Reference
from lading.app import App
from lading.commands.declared import access_options

if TYPE_CHECKING:
    from engine.content_trust.collection import Collection
    from trust.tuf.keys import Key


class SignerError(InputError):
    """A signer's name or key file cannot be used, or some repository could not be changed."""

    code = "signer"


@click.group()
def signer() -> None:
    """Manage who may sign for a repository."""


@signer.command()
@click.argument("name")
@click.argument("repositories", nargs=-1, required=True)
@click.option(
    "--key",
    "files",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="The signer's public key or certificate (PEM); may be repeated",
)
@access_options
@click.pass_obj
def add(
    app: App,
    name: str,
    repositories: tuple[str, ...],
    files: tuple[Path, ...],
    insecure_registry: tuple[str, ...],
) -> None:
    """Let a signer sign tags of repositories; trust data is made where there is none."""
    _check_name(name)
    keys = [read_signer_key(file) for file in files]

    async def act(collection: Collection) -> None:
        if not await collection.exists():
            click.echo(f"Initializing signed repository for {collection.gun}...")
            await collection.initialize()
            click.echo(f'Successfully initialized "{collection.gun}"')
        await collection.add_signer(name, keys)

    failed = []
    for repository in repositories:
        click.echo(f'Adding signer "{name}" to {repository}...')
        if _succeeds(app, repository, insecure_registry, act):
            click.echo(f"Successfully added signer: {name} to {repository}\n")
        else:
            failed.append(repository)
    if failed:
        raise SignerError(f"failed to add signer to: {', '.join(failed)}")


@signer.command()
@click.argument("name")
@click.argument("repositories", nargs=-1, required=True)
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation")
@access_options
@click.pass_obj
def remove(
    app: App,
    name: str,
    repositories: tuple[str, ...],
    *,
    force: bool,
    insecure_registry: tuple[str, ...],
) -> None:
    """Take a signer away; what it alone had released is not released any more."""
    question = (
        f'The signer "{name}" will no longer be able to sign, and what it signed may become '
        "unsigned. Are you sure you want to continue?"
    )
    if not force and sys.stdin.isatty() and not click.confirm(question):
        raise click.Abort
    failed = []
    for repository in repositories:
        click.echo(f'Removing signer "{name}" from {repository}...')
        if _succeeds(app, repository, insecure_registry, lambda c: c.remove_signer(name)):
            click.echo(f"Successfully removed {name} from {repository}\n")
        else:
            failed.append(repository)
    if failed:
        raise SignerError(f"error removing signer from: {', '.join(failed)}")


@signer.command("list")
@click.argument("repository")
@click.option("--format", "template", metavar="TEMPLATE", help="Go template, table or json")
@access_options
@click.pass_obj
def list_signers(
    app: App, repository: str, *, template: str | None, insecure_registry: tuple[str, ...]
) -> None:
    """List who may sign for a repository, with the ids of their keys."""
    from lading.content_trust import collection_report
    from lading.render.table import listing

    report = collection_report(app.access(insecure_registry), repository)
    if report is None:
        raise SignerError(
            "no trust data: nobody may sign",
            where=repository,
            fix=f"lading trust signer add --key KEY.pub NAME {repository}",
        )
    rows = [
        {"Signer": name, "KeyIDs": ", ".join(report.signers[name])}
        for name in sorted(report.signers)
    ]
    headers = {"Signer": "SIGNER", "KeyIDs": "KEYS"}
    click.echo(listing(rows, headers=headers, columns=tuple(headers), template=template), nl=False)


def _succeeds(app: App, repository: str, insecure: tuple[str, ...], act: object) -> bool:
    from engine.content_trust import session
    from lading.content_trust import trust_keys
    from lading.errors import render_error

    try:
        reference = Reference.parse(repository)
        session.with_collection(app.access(insecure), reference, trust_keys(), act)  # type: ignore[arg-type]
    except ImagesError as error:
        render_error(error, sys.stderr)
        return False
    return True


def _check_name(name: str) -> None:
    from trust.tuf import roles

    if name == "releases":
        raise SignerError("releases is a reserved keyword, use a different signer name")
    if not roles.is_signer(name):
        raise SignerError(
            f'signer name "{name}" must start with lowercase alphanumeric characters and can '
            'include "-" or "_" after the first character'
        )


def read_signer_key(file: Path) -> Key:
    """A signer's public key or certificate; raises ``SignerError`` or ``KeyFileError``."""
    from trust.tuf.publickey import read_public_key

    try:
        data = file.read_bytes()
    except OSError as error:
        raise SignerError(
            f"unable to read public key from file: {error.strerror}", where=str(file)
        ) from error
    return read_public_key(data, where=str(file))
