"""``lading trust pin``: which root keys of Notary repositories are believed, before first use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from images.errors import InputError
from images.reference import Reference
from lading.render.table import listing

if TYPE_CHECKING:
    from trust.tuf.pinfile import PinFile

_HEADERS = {"Name": "REPOSITORY", "Kind": "KIND", "Pin": "PIN"}


@click.group()
def pin() -> None:
    """Pin root keys of Notary repositories.

    NAME is a repository, or the beginning of names with a * at the end. Where something is pinned,
    nothing else is trusted, neither on first use nor from before.
    """


@pin.command()
@click.argument("name")
@click.option("--id", "ids", multiple=True, help="Id of a root key or certificate, may be repeated")
@click.option(
    "--certificate",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A root certificate or its public key (PEM), may be repeated",
)
@click.option(
    "--ca", type=click.Path(path_type=Path), help="An authority (PEM) that issues root certificates"
)
def add(name: str, ids: tuple[str, ...], files: tuple[Path, ...], ca: Path | None) -> None:
    """Believe only these roots for NAME."""
    from lading.commands.trust_docker import read_signer_key
    from trust.tuf.pinfile import PinFile, is_id

    known = (*ids, *(read_signer_key(file).id for file in files))
    if not known and ca is None:
        raise InputError("nothing to pin", fix="give --id, --certificate or --ca")
    wrong = [word for word in ids if not is_id(word)]
    if wrong:
        raise InputError(
            f"{wrong[0][:80]!r} is no key id",
            fix="an id has 64 hex digits; `lading trust inspect REPOSITORY` shows the root's",
        )
    pins = PinFile.load(_folder())
    if known:
        pins = pins.with_ids(_name(name), known)
    if ca is not None:
        if not ca.is_file():
            raise InputError("there is no such file", where=str(ca))
        pins = pins.with_authority(_name(name), str(ca.absolute()))
    pins.save(_folder())
    click.echo(f"pinned {_name(name)}")


@pin.command("list")
@click.option("--format", "template", metavar="TEMPLATE", help="Go template, or json")
def list_(template: str | None) -> None:
    """List what is pinned."""
    from trust.tuf.pinfile import PinFile

    pins = PinFile.load(_folder())
    click.echo(
        listing(_rows(pins), headers=_HEADERS, columns=("Name", "Kind", "Pin"), template=template),
        nl=False,
    )
    if template is None and pins.disable_tofu:
        click.echo("Other repositories are not trusted on first use.")


@pin.command()
@click.argument("names", nargs=-1, required=True)
def rm(names: tuple[str, ...]) -> None:
    """Remove what is pinned for NAMES; the roots that were trusted since stay trusted."""
    from trust.tuf.pinfile import PinFile

    for name in names:
        pins = PinFile.load(_folder()).without(_name(name))
        if pins is None:
            raise InputError(f"nothing is pinned for {_name(name)}", fix="lading trust pin list")
        pins.save(_folder())
        click.echo(_name(name))


@pin.command("first-use")
@click.argument("setting", type=click.Choice(("on", "off")))
def first_use(setting: str) -> None:
    """Trust the first root seen of a repository without a pin (on), or refuse it (off)."""
    from dataclasses import replace

    from trust.tuf.pinfile import PinFile

    replace(PinFile.load(_folder()), disable_tofu=setting == "off").save(_folder())
    click.echo(f"trust on first use: {setting}")


def _rows(pins: PinFile) -> list[dict[str, str]]:
    ids = [
        {"Name": name, "Kind": "key", "Pin": key}
        for name in sorted(pins.certs)
        for key in pins.certs[name]
    ]
    return [
        *ids,
        *({"Name": f"{name}*", "Kind": "ca", "Pin": pins.ca[name]} for name in sorted(pins.ca)),
    ]


def _name(word: str) -> str:
    """The full name of a repository; a beginning of names stays as it is."""
    return word if word.endswith("*") else Reference.parse(word).name


def _folder() -> Path:
    from engine.content_trust.settings import trust_folder

    return trust_folder(os.environ)
