"""Docker's content trust on the command line: its passphrases, its key store, its words."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click

from engine.content_trust import session, settings
from images.errors import InputError
from images.reference import Reference
from lading.app import App
from lading.passphrase import passphrase
from trust.tuf import roles
from trust.tuf.keystore import Locked, TrustKeys

if TYPE_CHECKING:
    from engine.access import Access
    from engine.content_trust.collection import Collection
    from engine.content_trust.report import CollectionReport
    from images.descriptor import Descriptor
    from trust.keystore import KeyStore

_SHORT: Final = 7
"""Characters of a key id in docker's prompts."""

_IMAGE_ID: Final = 64


class NotSignedHereError(InputError):
    """The signed image is not in the store, and may not be pulled."""

    code = "signed-image-missing"


def trust_keys(secret: Callable[[], bytes] | None = None) -> TrustKeys:
    """Docker's key store; passphrases come from docker's variables, else from ``secret``, else as
    for any key.
    """
    return TrustKeys(settings.trust_folder(os.environ), _asker(secret))


def share_key(store: KeyStore, name: str, secret: Callable[[], bytes]) -> None:
    """Put a key of the store into docker's as well, for the signer of that name.

    Names that docker refuses, and keys without a passphrase, stay out.
    """
    from trust.tuf.keys import Signer

    if roles.is_signer(name) and secret():
        trust_keys(secret).add(Signer.of_private(store.private(name, secret)), name)


def signed_only(app: App, insecure: tuple[str, ...], image: str, pull: str) -> str:
    """The pull policy under which ``image`` is the one that its trust data names.

    Raises:
        NotSignedHereError: it would have to be pulled, and ``pull`` is ``never``.
        TufError, RegistryError: see ``session.resolve``.
    """
    if len(image.removeprefix("sha256:")) == _IMAGE_ID and "/" not in image:
        return pull
    reference = Reference.parse(image)
    if reference.digest is not None:
        return pull
    if not session.must_pull(app.access(insecure), reference, app.store):
        return pull
    if pull == "never":
        raise NotSignedHereError(
            f"the signed image of {reference.familiar} is not here",
            fix=f"pull it: lading pull {reference.familiar}",
        )
    return "always"


def sign_pushed(access: Access, reference: Reference, descriptor: Descriptor) -> None:
    """Sign what was pushed, as ``docker push`` does with content trust.

    Raises:
        TrustError: a key is missing or does not open, or the trust data cannot be believed.
    """
    click.echo("Signing and pushing trust metadata")
    tag = _tag_of(reference)

    async def act(collection: Collection) -> None:
        if not await collection.exists():
            await collection.initialize()
            click.echo(f'Finished initializing "{reference.name}"')
        await collection.sign(tag, descriptor)

    session.with_collection(access, reference, trust_keys(), act)
    click.echo(f"Successfully signed {reference.name}:{tag}")


def sign_as(
    access: Access,
    reference: Reference,
    descriptor: Descriptor,
    *,
    signer: str,
    secret: Callable[[], bytes] | None = None,
) -> None:
    """Sign a tag in Notary's format, as ``docker trust sign`` does.

    The first signing makes the trust data, with ``signer`` (where there is one) as its signer.
    """
    tag, keys = _tag_of(reference), trust_keys(secret)

    async def act(collection: Collection) -> None:
        if not await collection.exists():
            await collection.initialize()
            if signer:
                found = keys.find(signer)
                made = keys.create(signer) if found is None else keys.open(found.id)
                await collection.add_signer(signer, [made.key])
                click.echo(f"Created signer: {signer}")
            click.echo(f"Finished initializing signed repository for {reference.familiar}")
        click.echo(f"Signing and pushing trust metadata for {reference.familiar}")
        await collection.sign(tag, descriptor)

    session.with_collection(access, reference, keys, act)
    click.echo(f"Successfully signed {reference.name}:{tag}")


def collection_report(access: Access, image: str) -> CollectionReport | None:
    """The Notary trust data of an image's repository, of its tag or of all; None: there is none.

    Raises:
        TufError: there is some, and it cannot be believed.
    """
    from engine.content_trust.report import report
    from images.client.errors import RegistryError
    from trust.tuf.errors import NoTrustDataError

    reference = Reference.parse(image, default_tag=None)
    try:
        trusted = session.with_collection(
            access, reference, trust_keys(), lambda collection: collection.read()
        )
    except (NoTrustDataError, RegistryError):
        # A registry without the service answers in many ways; its images may be signed otherwise.
        return None
    return report(trusted, name=image, tag=reference.tag)


def default_signer(access: Access, reference: Reference) -> str:
    """Docker's first signer: the login's user, where a role can have that name; else none."""
    from images.credentials import CredentialStore

    credentials = CredentialStore.from_environment(access.environ).get(reference.registry)
    name = "" if credentials is None else credentials.username
    return name if roles.is_signer(name) else ""


def _tag_of(reference: Reference) -> str:
    if reference.tag is None:
        raise InputError("cannot use a digest reference for IMAGE:TAG", where=str(reference))
    return reference.tag


def _asker(secret: Callable[[], bytes] | None) -> Callable[[Locked], bytes]:
    known: dict[Locked, int] = {}

    def ask(locked: Locked) -> bytes:
        known[locked] = known.get(locked, 0) + 1
        again = known[locked] > 1
        root = locked.role == roles.ROOT
        variable = settings.ROOT_PASSPHRASE if root else settings.REPOSITORY_PASSPHRASE
        value = os.environb.get(variable.encode())
        if value and not again:
            return value
        if secret is not None and not again:
            return secret()
        alias = "repository" if locked.role in (roles.TARGETS, roles.SNAPSHOT) else locked.role
        new = "new " if locked.new else ""
        if again and sys.stdin.isatty():
            click.echo("Passphrase incorrect. Please retry.", err=True)
        what = f"{new}{alias} key with ID {locked.key_id[:_SHORT]}"
        return passphrase(what, confirm=locked.new)()

    return ask
