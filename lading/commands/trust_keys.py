"""``lading trust key``: generate, load, list and remove signing keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from lading.app import App
from lading.passphrase import passphrase
from lading.render.table import listing
from trust.keystore import KeyStore, StoredKey

_HEADERS = {"Name": "NAME", "KeyID": "KEY ID", "Algorithm": "ALGORITHM", "PublicKey": "PUBLIC KEY"}
_FD_HELP = "Read the passphrase from this file descriptor"


@click.group()
def key() -> None:
    """Manage signing keys."""


@key.command()
@click.argument("name")
@click.option("--algorithm", default="ecdsa-p256", show_default=True, help="Kind of key")
@click.option(
    "--output", "--dir", type=click.Path(path_type=Path), help="Also write NAME.pub to this folder"
)
@click.option("--passphrase-fd", type=int, help=_FD_HELP)
@click.pass_obj
def generate(
    app: App, name: str, algorithm: str, output: Path | None, passphrase_fd: int | None
) -> None:
    """Make a signing key and keep it, encrypted, in the key store.

    Docker's own key store gets it too, for signer NAME, if docker knows such names and keys.
    """
    from trust.keys import Algorithm

    choices = {member.value: member for member in Algorithm}
    if algorithm not in choices:
        raise click.BadParameter(f"choose one of {', '.join(choices)}", param_hint="--algorithm")
    secret = passphrase(f"the new key {name}", confirm=True, descriptor=passphrase_fd)
    stored = KeyStore(app.root).generate(name, secret, algorithm=choices[algorithm])
    _share(app, name, secret)
    _announce(stored, output)


@key.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Name in the key store  [default: the file's]")
@click.option("--passphrase-fd", type=int, help=_FD_HELP)
@click.pass_obj
def load(app: App, file: Path, name: str | None, passphrase_fd: int | None) -> None:
    """Take a private key (cosign's, docker's or PKCS#8) into the key store, and docker's."""
    from trust.tuf.keyfile import to_pkcs8

    secret = passphrase(str(file), descriptor=passphrase_fd)
    chosen = name or file.stem
    pem = to_pkcs8(file.read_bytes(), secret, where=str(file))
    stored = KeyStore(app.root).load(chosen, pem, secret)
    _share(app, chosen, secret)
    _announce(stored, None)


@key.command("list")
@click.option("--format", "template", metavar="TEMPLATE", help="Go template, or json")
@click.option("-q", "--quiet", is_flag=True, help="Only names")
@click.pass_obj
def list_(app: App, template: str | None, *, quiet: bool) -> None:
    """List the keys of the key store."""
    items = [
        {
            "Name": stored.name,
            "KeyID": stored.public.key_id,
            "Algorithm": stored.public.algorithm.value,
            "PublicKey": str(stored.public_path),
        }
        for stored in KeyStore(app.root).list()
    ]
    text = listing(
        items,
        headers=_HEADERS,
        columns=("Name", "KeyID", "Algorithm"),
        template=template,
        quiet_field="Name" if quiet else None,
    )
    click.echo(text, nl=False)


@key.command()
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def rm(app: App, names: tuple[str, ...]) -> None:
    """Remove keys from the key store."""
    store = KeyStore(app.root)
    for name in names:
        click.echo(store.rm(name).name)


def _share(app: App, name: str, secret: Callable[[], bytes]) -> None:
    from lading.content_trust import share_key

    share_key(KeyStore(app.root), name, secret)


def _announce(stored: StoredKey, output: Path | None) -> None:
    public = stored.public_path
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        public = output / f"{stored.name}.pub"
        public.write_bytes(stored.public.pem)
    click.echo(f"key {stored.name}: {stored.public.key_id}")
    click.echo(f"public key: {public}")
