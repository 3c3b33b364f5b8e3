"""``lading registry countersign``: the keys that the registry signs with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.app import App
from lading.commands.registry_store import store_config

if TYPE_CHECKING:
    from registry.countersign.keyring import Keyring

_CONFIG = click.option(
    "--config",
    "-c",
    "file",
    type=click.Path(path_type=Path),
    help="Configuration file (.toml, .yaml)",
)
_STORAGE = click.option(
    "--storage", "root", type=click.Path(path_type=Path), help="Folder of the store"
)


@click.group()
def countersign() -> None:
    """Manage the registry's own signing keys."""


@countersign.command()
@_CONFIG
@_STORAGE
@click.pass_obj
def rotate(app: App, file: Path | None, root: Path | None) -> None:
    """Make a new key; a server that runs signs with it from its next signature on.

    What the older keys signed stays valid: they are still shown to who verifies.
    """
    with _keyring(app, file, root) as keyring:
        key = keyring.rotate()
    click.echo(key.key.public.key_id)


@countersign.command()
@click.option("--certificates", is_flag=True, help="Certificates, for a notation trust store")
@_CONFIG
@_STORAGE
@click.pass_obj
def keys(app: App, file: Path | None, root: Path | None, *, certificates: bool) -> None:
    """Print the public keys, the newest first (PEM)."""
    with _keyring(app, file, root) as keyring:
        pem = keyring.certificates() if certificates else keyring.public_keys()
    click.echo(pem.decode(), nl=False)


@contextmanager
def _keyring(app: App, file: Path | None, root: Path | None) -> Iterator[Keyring]:
    from registry.backing import open_backing
    from registry.followers import keyring_of
    from registry.vault import FOLDER, VARIABLE, Vault

    config = store_config(app, file, root)
    with closing(open_backing(config)) as backing:
        vault = Vault.open(backing.files / FOLDER, os.environ.get(VARIABLE))
        yield keyring_of(config, vault, backing)
