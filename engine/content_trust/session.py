"""Content trust as plain calls: one event loop each, docker's environment joined in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from engine.content_trust import settings
from trust.tuf.cache import MetadataCache

if TYPE_CHECKING:
    from engine.access import Access
    from engine.content_trust.collection import Collection
    from engine.content_trust.server import TrustServer
    from images.reference import Reference
    from images.store import ImageStore
    from trust.tuf.keystore import TrustKeys
    from trust.tuf.pinning import Pins
    from trust.tuf.tags import SignedTag

_T = TypeVar("_T")


def open_server(access: Access, reference: Reference) -> TrustServer:
    """The trust server of a repository, to be closed by ``async with``.

    Raises:
        TrustServerError: the environment names no server.
    """
    from engine.content_trust.server import BorrowedCredentials, TrustServer
    from images.client import ClientOptions
    from images.client.retry import Effects
    from images.client.threads import on_loop
    from images.client.transport import Transport
    from images.credentials import CredentialStore

    server = settings.server_of(reference.registry, access.environ)
    credentials = BorrowedCredentials(
        CredentialStore.from_environment(access.environ),
        registry=reference.registry,
        server=server,
    )
    options = ClientOptions(access.insecure, environ=access.environ)
    wire = None
    if not on_loop():
        from images.client.plain_wire import PlainWire

        wire = PlainWire(options)
    transport = Transport(credentials, options, Effects(), wire=wire)
    return TrustServer(transport, server, reference.name)


def resolve(access: Access, reference: Reference) -> SignedTag:
    """The digest that a tag means by its repository's trust data.

    Raises:
        TufError: no trust data, an unsigned tag, or what is wrong with the data.
        RegistryError: the trust server's side.
    """
    import asyncio

    from engine.content_trust.updating import Updater
    from trust.tuf.tags import resolve as resolve_tag

    async def look() -> SignedTag:
        async with open_server(access, reference) as server:
            updater = Updater(server, open_cache(access, reference), open_pins(access))
            trusted = await updater.update()
            return resolve_tag(trusted, reference.tag or "latest")

    return asyncio.run(look())


def served(access: Access, reference: Reference) -> bool:
    """Whether the trust server of a repository answers, with trust data or without."""
    import asyncio

    async def look() -> bool:
        async with open_server(access, reference) as server:
            return await server.available()

    return asyncio.run(look())


def must_pull(access: Access, reference: Reference, store: ImageStore) -> bool:
    """Whether the store lacks what a tag means by its trust data, and so has to be given it.

    Raises as ``resolve``.
    """
    local = store.resolve(reference)
    return resolve(access, reference).digest != (None if local is None else local.digest)


def with_collection(
    access: Access,
    reference: Reference,
    keys: TrustKeys,
    action: Callable[[Collection], Awaitable[_T]],
) -> _T:
    """Run one action on the trust data of a repository, in an event loop of its own."""
    import asyncio

    from engine.content_trust.collection import Collection

    async def run() -> _T:
        async with open_server(access, reference) as server:
            cache = open_cache(access, reference)
            return await action(Collection(server, cache, keys, pins=open_pins(access)))

    return asyncio.run(run())


def open_pins(access: Access) -> Pins:
    """Which roots were pinned, and whether others are trusted on first use; ``PinFileError``."""
    from trust.tuf.pinfile import PinFile

    folder = settings.trust_folder(access.environ)
    return PinFile.load(folder).pins(folder)


def open_cache(access: Access, reference: Reference) -> MetadataCache:
    """Docker's cache for a repository."""
    return MetadataCache(settings.trust_folder(access.environ), reference.name)
