"""Pull, push and login as plain calls, policy and credentials joined in.

This is the choke point for trust on the way in (design D10): every image that comes from a registry
comes through ``pull``, which hands the resolved digest to the policy before any layer is fetched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from images.client.progress import ProgressSink, ignore

if TYPE_CHECKING:
    from engine.access import Access
    from images.client import RegistryClient
    from images.client.progress import Event
    from images.credentials import Credentials
    from images.descriptor import Descriptor
    from images.platform import Platform
    from images.reference import Reference
    from images.store import ImageStore

_T = TypeVar("_T")


def pull(
    reference: Reference,
    store: ImageStore,
    access: Access,
    *,
    platform: Platform | None = None,
    all_platforms: bool = False,
    progress: ProgressSink = ignore,
) -> Descriptor:
    """Bring an image into the store if the policy accepts it; returns what the name points to.

    With content trust a tag is taken for the digest that its repository's trust data gives it.

    Raises:
        TrustError: the policy or the trust data refuses; nothing of the image is kept.
        RegistryError, ImagesError: as ``RegistryClient.pull``.
    """
    if access.content_trust and reference.digest is None:
        return _pull_signed(
            reference,
            store,
            access,
            platform=platform,
            all_platforms=all_platforms,
            progress=progress,
        )
    return _pull(
        reference,
        store,
        access,
        platform=platform,
        all_platforms=all_platforms,
        progress=progress,
    )


def _pull_signed(
    reference: Reference, store: ImageStore, access: Access, *, progress: ProgressSink, **how: Any
) -> Descriptor:
    """Pull the digest that the trust data names, and give it the tag; in docker's words."""
    from engine.content_trust.session import resolve
    from images.client.progress import StatusEvent

    signed = resolve(access, reference)
    pinned = reference.with_digest(signed.digest)
    name = f"{reference.familiar_name}@{signed.digest}"
    progress(StatusEvent(f"Pull (1 of 1): {pinned.familiar}"))
    descriptor = _pull(pinned, store, access, progress=progress, **how)
    progress(StatusEvent(f"Tagging {name} as {reference.familiar}"))
    store.tag(reference, descriptor)
    return descriptor


def _pull(
    reference: Reference,
    store: ImageStore,
    access: Access,
    *,
    platform: Platform | None,
    all_platforms: bool,
    progress: ProgressSink,
) -> Descriptor:
    from engine.admitting import verifier_of

    return plainly(
        access,
        lambda client: client.pull(
            reference,
            store,
            platform=platform,
            all_platforms=all_platforms,
            verify=verifier_of(access, client),
            progress=_in_turn(progress),
        ),
        reading=True,
    )


def push(
    reference: Reference,
    store: ImageStore,
    access: Access,
    *,
    platform: Platform | None = None,
    progress: ProgressSink = ignore,
) -> Descriptor:
    """Send a stored image under its own name; returns what is in the registry now.

    Raises:
        ImageUnknownError: nothing of this name is stored.
        RegistryError: the registry's side.
    """
    descriptor = store.resolve(reference)
    if descriptor is None:
        from images.errors import ImageUnknownError

        raise ImageUnknownError(
            f"An image does not exist locally with the tag: {reference.familiar_name}",
            fix=f"`lading images` lists names; `lading tag IMAGE {reference.familiar}` gives one",
        )

    return plainly(
        access,
        lambda client: client.push(
            reference, store, descriptor, platform=platform, progress=_in_turn(progress)
        ),
    )


def login(registry: str, credentials: Credentials, access: Access) -> None:
    """Prove credentials to a registry and keep them.

    Raises:
        UnauthorizedError: they are refused; nothing is kept.
    """
    from images.credentials import CredentialStore

    proven = plainly(access, lambda client: client.login(registry, credentials))
    CredentialStore.from_environment(access.environ).store(registry, proven)


class Caller:
    """A client, and whatever carries its coroutines out; safe to use from any thread.

    Mostly nothing more than the calling thread: most of a short command would be an event loop's
    and its HTTP library's import.
    """

    def __init__(self, access: Access, *, reading: bool = False) -> None:
        """``reading`` is that of ``Access.client``; raises as that."""
        from images.client.proxy import through_tls

        self._open = partial(access.client, reading=reading)
        self._plain = None if through_tls(access.environ) else self._open(plain=True)

    def call(self, action: Callable[[RegistryClient], Coroutine[Any, Any, _T]]) -> _T:
        """Run one action with the client and wait for it; nothing in it may need an event loop.

        Raises:
            images.client.scope.Cancelled: the current scope was.
        """
        if self._plain is not None:
            from images.client.scope import run

            return run(action(self._plain))
        return on_event_loop(self._open, action)

    def close(self) -> None:
        """Close the connections."""
        if self._plain is not None:
            from images.client.scope import run

            run(self._plain.close())


def plainly(
    access: Access,
    action: Callable[[RegistryClient], Coroutine[Any, Any, _T]],
    *,
    reading: bool = False,
) -> _T:
    """As ``call``, where nothing in the action needs an event loop; that starts sooner."""
    caller = Caller(access, reading=reading)
    try:
        return caller.call(action)
    finally:
        caller.close()


def call(
    access: Access,
    action: Callable[[RegistryClient], Coroutine[Any, Any, _T]],
    *,
    reading: bool = False,
) -> _T:
    """Run one action with a client of its own, in an event loop of its own.

    ``reading`` is that of ``Access.client``.
    """
    return on_event_loop(partial(access.client, reading=reading), action)


def on_event_loop(
    make: Callable[[], RegistryClient],
    action: Callable[[RegistryClient], Coroutine[Any, Any, _T]],
) -> _T:
    """Run one action with the client that ``make`` makes there."""
    import asyncio

    async def run() -> _T:
        async with make() as client:
            return await action(client)

    return asyncio.run(run())


def _in_turn(progress: ProgressSink) -> ProgressSink:
    """A sink that threads may call, for one that hears of one thing at a time."""
    lock = threading.Lock()

    def tell(event: Event, /) -> None:
        with lock:
            progress(event)

    return tell
