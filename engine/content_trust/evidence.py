"""What a repository's trust data says about a digest, as evidence for a policy that asks for it.

The trust data is believed here (``updating``), under the roots that the policy or the user pinned;
``trust.verify`` judges what it says. That there is none, or that it cannot be believed, is damage:
it refuses, with its own reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.content_trust import settings
from engine.content_trust.session import open_cache, open_pins, open_server
from engine.content_trust.updating import Updater
from engine.signatures import Found
from images.client.threads import to_thread
from images.digest import Digest
from images.reference import Reference
from records import replace as with_fields
from trust.errors import VerificationError
from trust.requirements import NotarySigned
from trust.signature import NotaryEvidence
from trust.tuf import roles
from trust.tuf.errors import ThresholdError
from trust.tuf.pinfile import is_id
from trust.tuf.publickey import read_public_key
from trust.tuf.tags import released

if TYPE_CHECKING:
    from engine.access import Access
    from trust.tuf.pinning import Pins
    from trust.tuf.trusted import TrustedSet


def gatherer(
    access: Access, *, read_key: Callable[[str], bytes]
) -> Callable[[Reference, Digest, NotarySigned], Awaitable[Found]]:
    """The ``notary`` argument of ``engine.trusting``; ``read_key`` reads the file of a root."""

    async def gather(reference: Reference, digest: Digest, wanted: NotarySigned) -> Found:
        try:
            pins = _pins(access, reference, wanted, read_key)
            trusted = await _trusted(access, reference, wanted, pins)
        except VerificationError as error:
            return Found(damage=(error,))
        return Found(tuple(await to_thread(_evidence, trusted, digest, wanted)))

    return gather


async def _trusted(
    access: Access, reference: Reference, wanted: NotarySigned, pins: Pins
) -> TrustedSet:
    environ = dict(access.environ)
    if wanted.server:
        environ[settings.SERVER] = wanted.server
    async with open_server(with_fields(access, environ=environ), reference) as server:
        updater = Updater(server, open_cache(access, reference), pins)
        trusted = await updater.update(everything=bool(wanted.signers))
    if roles.RELEASES in trusted.lapsed:
        raise ThresholdError(f"{roles.RELEASES} of {trusted.gun} is not signed as it must be now")
    return trusted


def _pins(
    access: Access, reference: Reference, wanted: NotarySigned, read_key: Callable[[str], bytes]
) -> Pins:
    """The user's pins, where the policy pins the root of this repository that one alone."""
    pins = open_pins(access)
    if not wanted.root:
        return pins
    ids: tuple[str, ...] = (wanted.root,)
    if not is_id(wanted.root):
        key = read_public_key(read_key(wanted.root), where=wanted.root)
        ids = (key.id, key.bare().id)
    return replace(pins, keys={**pins.keys, reference.name: ids})


def _evidence(trusted: TrustedSet, digest: Digest, wanted: NotarySigned) -> list[NotaryEvidence]:
    """One for each released tag of this digest; without such a tag, one for each other tag."""
    timestamp = trusted.timestamp
    assert timestamp is not None
    tags = released(trusted)
    same = [tag for tag in tags if tag.digest == digest]
    return [
        NotaryEvidence(
            repository=trusted.gun,
            tag=tag.name,
            digest=tag.digest,
            signers=frozenset(tag.signers),
            expires=timestamp.expires,
            asked=(wanted.server, wanted.root),
        )
        for tag in (same or tags)
    ]
