"""``lading trust key``: generate, load, certify, rotate, list and remove signing keys."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from images.errors import InputError
from images.reference import Reference
from lading.app import App
from lading.commands.declared import access_options
from lading.passphrase import passphrase
from lading.render.table import listing
from trust.keystore import KeyStore, StoredKey

if TYPE_CHECKING:
    from trust.keys import Algorithm

_HEADERS = {
    "Name": "NAME",
    "KeyID": "KEY ID",
    "Algorithm": "ALGORITHM",
    "PublicKey": "PUBLIC KEY",
    "Certificate": "CERTIFICATE",
}
_ROLES = ("root", "targets", "snapshot", "timestamp")
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
    chosen = _algorithm(algorithm)
    assert chosen is not None
    secret = passphrase(f"the new key {name}", confirm=True, descriptor=passphrase_fd)
    stored = KeyStore(app.root).generate(name, secret, algorithm=chosen)
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
            "Certificate": str(path) if (path := stored.certificate_path).exists() else "",
        }
        for stored in KeyStore(app.root).list()
    ]
    text = listing(
        items,
        headers=_HEADERS,
        columns=("Name", "KeyID", "Algorithm", "Certificate"),
        template=template,
        quiet_field="Name" if quiet else None,
    )
    click.echo(text, nl=False)


@key.command()
@click.argument("name", metavar="NAME|REPOSITORY")
@click.option("--role", type=click.Choice(_ROLES), help="A role of a Notary repository")
@click.option("--server", is_flag=True, help="With --role: let the trust server keep the key")
@click.option("--algorithm", help="Kind of the new key  [default: the old one's]")
@click.option("--passphrase-fd", type=int, help=_FD_HELP)
@access_options
@click.pass_obj
def rotate(
    app: App,
    name: str,
    role: str | None,
    algorithm: str | None,
    passphrase_fd: int | None,
    insecure_registry: tuple[str, ...],
    *,
    server: bool,
) -> None:
    """Give a key of the store, or with --role a role of a repository, a new key.

    In the store the old key, its public key and certificate stay as NAME.1, NAME.2 and so on. In a
    repository's trust data the new key takes the old one's place; a new root key is signed by the
    old one.
    """
    if role is not None:
        _rotate_role(app, name, role, insecure_registry, server=server)
        return
    if server:
        raise InputError("--server is for the roles of a repository", fix="name one: --role ROLE")
    secret = passphrase(f"the new key {name}", confirm=True, descriptor=passphrase_fd)
    old, new = KeyStore(app.root).rotate(name, secret, algorithm=_algorithm(algorithm))
    _share(app, name, secret)
    click.echo(f"old key {old.name}: {old.public.key_id}")
    _announce(new, None)


@key.command()
@click.argument("name")
@click.option("--subject", required=True, metavar="C=..,ST=..,O=..,CN=..", help="Who signs")
@click.option("--days", type=click.IntRange(1, 36500), default=365, show_default=True)
@click.option("--passphrase-fd", type=int, help=_FD_HELP)
@click.pass_obj
def certify(app: App, name: str, subject: str, days: int, passphrase_fd: int | None) -> None:
    """Make a self-signed certificate of a key, for signatures in notation's format.

    It is kept beside the key as NAME.crt. Verifiers put it into a trust store of kind ca.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    from trust.notation.signing import self_signed

    store = KeyStore(app.root)
    private = store.private(name, passphrase(f"key {name}", descriptor=passphrase_fd))
    certificate = self_signed(
        private, subject, now=datetime.now(UTC), validity=timedelta(days=days)
    )
    stored = store.certify(name, certificate.public_bytes(Encoding.PEM))
    click.echo(f"certificate of {name}: {certificate.subject.rfc4514_string()}")
    click.echo(f"valid until {certificate.not_valid_after_utc:%Y-%m-%d}")
    click.echo(f"certificate: {stored.certificate_path}")


@key.command()
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def rm(app: App, names: tuple[str, ...]) -> None:
    """Remove keys from the key store."""
    store = KeyStore(app.root)
    for name in names:
        click.echo(store.rm(name).name)


def _rotate_role(
    app: App, repository: str, role: str, insecure: tuple[str, ...], *, server: bool
) -> None:
    from engine.content_trust import session
    from lading.content_trust import trust_keys

    # notary's rule: who may sign tags is the publisher's, when that was is the server's.
    if server and role in ("root", "targets"):
        raise InputError(f"the {role} key stays with the publisher", fix="leave --server out")
    if not server and role == "timestamp":
        raise InputError("the timestamp key is the trust server's", fix="add --server")
    reference = Reference.parse(repository)
    fresh = session.with_collection(
        app.access(insecure),
        reference,
        trust_keys(),
        lambda collection: collection.rotate(role, server=server),
    )
    click.echo(f"Successfully rotated {role} key for repository {reference.name}")
    click.echo(f"new key: {fresh.id}")


def _algorithm(name: str | None) -> Algorithm | None:
    from trust.keys import Algorithm

    choices = {member.value: member for member in Algorithm}
    if name is not None and name not in choices:
        raise click.BadParameter(f"choose one of {', '.join(choices)}", param_hint="--algorithm")
    return None if name is None else choices[name]


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
