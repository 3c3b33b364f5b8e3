"""``lading trust sign`` in each format: which are written, with which keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
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
    from trust.notation.signing import CertifiedKey
    from trust.signers.signer import Signer

NOTARY = "notary"
NOTATION = "notation"
SIMPLE = "simple"
GPG = "gpg:"
"""Before the name of a key that gpg holds."""


class Wishes(NamedTuple):
    """What was asked for: ``key`` is a name in the store or a file, ``formats`` may be empty.

    ``certificate`` is the file with the key's chain, for notation's format.
    """

    key: str | None
    formats: tuple[str, ...]
    annotations: dict[str, str]
    timestamp: bool
    passphrase_fd: int | None
    certificate: Path | None = None


def sign(access: Access, reference: Reference, wishes: Wishes, *, store: KeyStore) -> None:
    """Sign what ``reference`` points to in its registry, and say what was done.

    Without a wish, Notary's format is written where the registry serves it, and cosign's where a
    key is given; then a missing Notary key is told and is no failure.

    Raises:
        InputError: nothing could be written, or a format lacks its key.
        SigningError, TrustError, RegistryError: see the formats.
    """
    from trust.signers.opening import open_signer

    if wishes.formats == (SIMPLE,) or (wishes.key or "").startswith(GPG):
        _by_gpg(access, reference, wishes)
        return
    secret = passphrase(f"key {wishes.key}", descriptor=wishes.passphrase_fd)
    others = [form for form in wishes.formats if form != NOTARY]
    if others and wishes.key is None:
        raise InputError(f"{others[0]} signatures need a key", fix="name one: --key NAME")
    if wishes.key is not None and (others or not wishes.formats):
        key = open_signer(wishes.key, store, secret)
        certified = _certified(wishes, store, key) if NOTATION in others else None
        _with_key(access, reference, wishes, others, key, certified)
    if NOTARY in wishes.formats:
        _in_notarys_format(access, reference, wishes, secret)
    elif not wishes.formats:
        _where_served(access, reference, wishes, secret)


def _by_gpg(access: Access, reference: Reference, wishes: Wishes) -> None:
    """Simple signatures of the image and of every platform's manifest, by a key that gpg holds."""
    key = (wishes.key or "").removeprefix(GPG)
    if not key or not (wishes.key or "").startswith(GPG) or wishes.formats not in ((), (SIMPLE,)):
        raise InputError(
            "simple signatures, and no others, are made with a key of gpg",
            where="--key",
            fix="lading trust sign --format simple --key gpg:ME@EXAMPLE.COM IMAGE",
        )
    if wishes.annotations:
        raise InputError("simple signatures take no annotations", where="--annotation")
    from engine.trusting import sign_simply

    for digest in call(access, lambda client: sign_simply(client, reference, key)):
        click.echo(f"signed {digest} ({SIMPLE})")


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


def _certified(wishes: Wishes, store: KeyStore, key: Signer) -> CertifiedKey:
    """The key with its chain: the one named, else the one that is kept beside the key.

    Raises:
        InputError: no chain, or a key that does not leave its device.
        CertificateError, KeyFileError: the chain may not sign, is another key's or not valid now.
    """
    from engine.trusting import utc_now
    from trust.errors import KeyFileError
    from trust.keys import PrivateKey
    from trust.notation.certificates import check_validity
    from trust.notation.signing import CertifiedKey
    from trust.notation.store import read_certificates

    name = wishes.key or ""
    if not isinstance(key, PrivateKey):
        raise InputError(
            "keys in tokens and external programs do not make notation signatures",
            where=name,
            fix="use a key of the store or a key file: ECDSA, or RSA with 2048, 3072 or 4096 bits",
        )
    path = wishes.certificate
    if path is None and not Path(name).is_file():
        path = store.get(name).certificate_path
    if path is None or not path.exists():
        raise InputError(
            f"the key {name} has no certificate, and notation's format needs one",
            where=None if path is None else str(path),
            fix="name its chain: --certificate CHAIN.pem; or make one: "
            "lading trust key certify NAME --subject C=..,ST=..,O=..,CN=..",
        )
    try:
        chain = read_certificates(path)
    except KeyFileError as error:
        raise InputError(
            "the file holds no certificate chain",
            where=str(path),
            fix="give PEM certificates, the key's own first",
        ) from error
    certified = CertifiedKey.join(key, chain, where=str(path))
    check_validity(certified.chain, utc_now())
    return certified


def _with_key(
    access: Access,
    reference: Reference,
    wishes: Wishes,
    formats: list[str],
    key: Signer,
    certified: CertifiedKey | None,
) -> None:
    """cosign's formats, and notation's where a chain came with the key."""
    from engine import trusting
    from trust.signature import TIMESTAMP

    annotations = wishes.annotations
    if wishes.timestamp:
        annotations = {**annotations, TIMESTAMP: str(int(trusting.utc_now().timestamp()))}
    chosen: dict[str, Any] = {}
    if formats:
        chosen["formats"] = tuple(trusting.Format(form) for form in formats if form != NOTATION)
    signed = call(
        access,
        lambda client: trusting.sign(
            client, reference, key, annotations=annotations or None, certified=certified, **chosen
        ),
    )
    for item in signed:
        how = " and ".join(form.value for form in item.added) or "already signed"
        click.echo(f"signed {item.descriptor.digest} ({how})")
