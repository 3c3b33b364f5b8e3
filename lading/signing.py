"""``lading trust sign`` in each format: which are written, with which keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from engine.registries import call
from images.errors import ImagesError, InputError
from lading.passphrase import passphrase

if TYPE_CHECKING:
    from engine.access import Access
    from images.descriptor import Descriptor
    from images.reference import Reference
    from trust.keystore import KeyStore
    from trust.signers.signer import Signer

NOTARY = "notary"


class Wishes(NamedTuple):
    """What was asked for: ``key`` is a name in the store or a file, ``formats`` may be empty."""

    key: str | None
    formats: tuple[str, ...]
    annotations: dict[str, str]
    timestamp: bool
    passphrase_fd: int | None


def sign(access: Access, reference: Reference, wishes: Wishes, *, store: KeyStore) -> None:
    """Sign what ``reference`` points to in its registry, and say what was done.

    Without a wish, Notary's format is written where the registry serves it, and cosign's where a
    key is given; then a missing Notary key is told and is no failure.

    Raises:
        InputError: nothing could be written, or a format lacks its key.
        SigningError, TrustError, RegistryError: see the formats.
    """
    from trust.signers.opening import open_signer

    secret = passphrase(f"key {wishes.key}", descriptor=wishes.passphrase_fd)
    others = [form for form in wishes.formats if form != NOTARY]
    if others and wishes.key is None:
        raise InputError(f"{others[0]} signatures need a key", fix="name one: --key NAME")
    if wishes.key is not None and (others or not wishes.formats):
        key = open_signer(wishes.key, store, secret)
        _in_cosigns_formats(access, reference, wishes, others, key)
    if NOTARY in wishes.formats:
        _in_notarys_format(access, reference, wishes, secret)
    elif not wishes.formats:
        _where_served(access, reference, wishes, secret)


def _where_served(
    access: Access, reference: Reference, wishes: Wishes, secret: Callable[[], bytes]
) -> None:
    from engine.content_trust.session import served

    if reference.tag is None or not served(access, reference):
        if wishes.key is None:
            raise InputError(
                f"{reference.registry} serves no Notary trust data for {reference.familiar}",
                fix="sign in cosign's formats: --key NAME",
            )
        return
    try:
        _in_notarys_format(access, reference, wishes, secret)
    except ImagesError as error:
        if wishes.key is None:
            raise
        click.echo(f"not signed in Notary's format: {error}", err=True)


def _in_notarys_format(
    access: Access, reference: Reference, wishes: Wishes, secret: Callable[[], bytes]
) -> None:
    from lading.content_trust import default_signer, sign_as
    from trust.tuf import roles

    descriptor: Descriptor = call(access, lambda client: client.resolve(reference))
    name = wishes.key if wishes.key is not None and roles.is_signer(wishes.key) else ""
    sign_as(
        access,
        reference,
        descriptor,
        signer=name or default_signer(access, reference),
        secret=None if wishes.key is None else secret,
    )


def _in_cosigns_formats(
    access: Access, reference: Reference, wishes: Wishes, formats: list[str], key: Signer
) -> None:
    from engine import trusting
    from trust.signature import TIMESTAMP

    annotations = wishes.annotations
    if wishes.timestamp:
        annotations = {**annotations, TIMESTAMP: str(int(trusting.utc_now().timestamp()))}
    chosen: dict[str, Any] = {}
    if formats:
        chosen["formats"] = tuple(trusting.Format(form) for form in formats)
    signed = call(
        access,
        lambda client: trusting.sign(
            client, reference, key, annotations=annotations or None, **chosen
        ),
    )
    for item in signed:
        how = " and ".join(form.value for form in item.added) or "already signed"
        click.echo(f"signed {item.descriptor.digest} ({how})")
