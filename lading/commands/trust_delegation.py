"""``lading trust delegation`` and ``witness``: who signs which tags of a Notary repository."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from images.errors import InputError
from images.reference import Reference
from lading.app import App
from lading.commands.declared import access_options
from lading.render.table import listing

if TYPE_CHECKING:
    from engine.content_trust.collection import Collection

_HEADERS = {"Role": "ROLE", "Paths": "PATHS", "KeyIDs": "KEY IDS", "Threshold": "THRESHOLD"}
_KEYS = click.option(
    "--key",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A public key or certificate (PEM), may be repeated",
)
_PATHS = click.option("--path", "paths", multiple=True, help="Names that begin so, may be repeated")


@click.group()
def delegation() -> None:
    """Manage the roles that sign for a repository."""


@delegation.command()
@click.argument("repository")
@click.argument("role")
@_KEYS
@_PATHS
@click.option("--all-paths", is_flag=True, help="The role may sign every name")
@click.option("--threshold", type=click.IntRange(1), help="So many of its keys must sign")
@access_options
@click.pass_obj
def add(
    app: App,
    repository: str,
    role: str,
    files: tuple[Path, ...],
    paths: tuple[str, ...],
    threshold: int | None,
    insecure_registry: tuple[str, ...],
    *,
    all_paths: bool,
) -> None:
    """Create a delegation, or add keys and paths to one.

    ROLE is targets/NAME, or NAME for short; targets/releases is the one whose tags docker pulls.
    """
    from lading.commands.trust_docker import read_signer_key

    if not (files or paths or all_paths or threshold):
        raise InputError("nothing to add", fix="give --key, --path, --all-paths or --threshold")
    keys = [read_signer_key(file) for file in files]
    name = _role(role)
    opened = ("", *paths) if all_paths else paths
    gun = _act(
        app,
        repository,
        insecure_registry,
        lambda collection: collection.delegate(name, keys, paths=opened, threshold=threshold),
    )
    click.echo(f"Successfully changed delegation {name} of {gun}")


@delegation.command()
@click.argument("repository")
@click.argument("role")
@_KEYS
@click.option("--key-id", "ids", multiple=True, help="A key by its id, may be repeated")
@_PATHS
@access_options
@click.pass_obj
def remove(
    app: App,
    repository: str,
    role: str,
    files: tuple[Path, ...],
    ids: tuple[str, ...],
    paths: tuple[str, ...],
    insecure_registry: tuple[str, ...],
) -> None:
    """Take keys or paths from a delegation, or all of it where none are given."""
    from lading.commands.trust_docker import read_signer_key

    keys = (*ids, *(read_signer_key(file).bare().id for file in files))
    name = _role(role)
    gun = _act(
        app,
        repository,
        insecure_registry,
        lambda collection: collection.undelegate(name, keys=keys, paths=paths),
    )
    click.echo(f"Successfully changed delegation {name} of {gun}")


@delegation.command("list")
@click.argument("repository")
@click.option("--format", "template", metavar="TEMPLATE", help="Go template, or json")
@access_options
@click.pass_obj
def list_(
    app: App, repository: str, template: str | None, insecure_registry: tuple[str, ...]
) -> None:
    """List the delegations of a repository, with those below them."""
    found: list[dict[str, object]] = []

    async def read(collection: Collection) -> None:
        trusted = await collection.read()
        for role, targets in sorted({**trusted.lapsed, **trusted.targets}.items()):
            for item in targets.delegations:
                ids = [targets.keys[key].bare().id for key in item.who.key_ids]
                found.append(
                    {
                        "Role": item.name,
                        "Parent": role,
                        "Paths": ", ".join(path or '""' for path in item.paths),
                        "KeyIDs": ", ".join(ids),
                        "Threshold": item.who.threshold,
                    }
                )

    _act(app, repository, insecure_registry, read)
    columns = ("Role", "Paths", "KeyIDs", "Threshold")
    click.echo(listing(found, headers=_HEADERS, columns=columns, template=template), nl=False)


@click.command()
@click.argument("repository")
@click.argument("roles", nargs=-1, required=True)
@access_options
@click.pass_obj
def witness(
    app: App, repository: str, roles: tuple[str, ...], insecure_registry: tuple[str, ...]
) -> None:
    """Sign delegations again as they are.

    The keys that they have now sign, as far as they are here.
    """
    names = [_role(role) for role in roles]
    gun = _act(app, repository, insecure_registry, lambda collection: collection.witness(names))
    click.echo(f"Successfully signed {', '.join(names)} of {gun}")


def _act(
    app: App,
    repository: str,
    insecure: tuple[str, ...],
    action: Callable[[Collection], Awaitable[None]],
) -> str:
    """Run one action on a repository's trust data; returns the repository's full name."""
    from engine.content_trust import session
    from lading.content_trust import trust_keys

    reference = Reference.parse(repository)
    session.with_collection(app.access(insecure), reference, trust_keys(), action)
    return reference.name


def _role(word: str) -> str:
    return word if word.startswith("targets") else f"targets/{word}"
