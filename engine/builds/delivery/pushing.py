"""A build's result into registries: all content first, to every repository at the same time; then
the names.

So a name that was pushed is complete, and no name is moved where one of the repositories refuses.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from images.client.progress import LayerEvent, LayerState
from images.client.threads import in_thread, is_cancellation, run_bounded
from records import Record, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Any, TypeAlias

    from builder.progress.tracker import Tracker, Vertex
    from engine.access import Access
    from engine.builds.remote_cache.line import Line
    from images.client import RegistryClient
    from images.client.progress import Event
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.reference import Reference
    from images.store import ImageStore

    Job: TypeAlias = Callable[[Vertex], Coroutine[Any, Any, None]]
    There: TypeAlias = Callable[[str, str, Digest], bool]
    """Whether a registry's repository had a blob just now."""

AT_ONCE: Final = 4
"""Repositories, and names, at the same time."""
_ENDS: Final = (LayerState.DONE, LayerState.EXISTS, LayerState.MOUNTED)


class Push(Record):
    """What to send where: ``root`` and all below it, then, unless ``by_digest``, the names."""

    root: Descriptor
    names: tuple[Reference, ...]
    by_digest: bool = False
    insecure: bool = False
    """Plain HTTP and any certificate will do."""


def push_all(
    push: Push, store: ImageStore, way: Access | Line, tracker: Tracker
) -> tuple[Reference, ...]:
    """Send it; returns what it is called at the registries. A line knows what was sent ahead.

    Raises:
        RegistryError: a registry refuses, after the retries. Nothing was named, unless it was the
        naming that failed.
    """
    from engine.access import Access
    from engine.registries import plainly

    hosts = {name.registry for name in push.names}
    access = way if isinstance(way, Access) else way.access
    if isinstance(way, Access) or (push.insecure and not hosts <= access.insecure):
        if push.insecure:
            access = replace(access, insecure=access.insecure | hosts)
        return plainly(access, lambda client: _push(push, store, client, tracker, _unheard_of))
    return way.call(lambda client: _push(push, store, client, tracker, way.has))


def _unheard_of(_registry: str, _repository: str, _digest: Digest) -> bool:
    """Nothing was sent ahead."""
    return False


async def _push(
    push: Push, store: ImageStore, client: RegistryClient, tracker: Tracker, there: There
) -> tuple[Reference, ...]:
    repositories: dict[str, Reference] = {}
    for name in push.names:
        repositories.setdefault(name.name, replace(name, tag=None, digest=push.root.digest))
    # Where there is but one name, its manifest need not be there before it.
    alone = len(push.names) == 1 and not push.by_digest
    await _at_once(
        tracker,
        {
            f"pushing layers to {pinned.familiar_name}": partial(
                _send_content, pinned, push.root, store, client, there, whole=not alone
            )
            for pinned in repositories.values()
        },
    )
    if push.by_digest:
        return tuple(repositories.values())
    raw = await in_thread(lambda: store.blobs.read(push.root.digest))

    async def send_name(name: Reference, _: Vertex) -> None:
        await client.put_manifest(name, raw, push.root.media_type)

    await _at_once(
        tracker,
        {
            f"pushing manifest for {name.familiar}@{push.root.digest}": partial(send_name, name)
            for name in push.names
        },
    )
    return push.names


async def _send_content(
    pinned: Reference,
    root: Descriptor,
    store: ImageStore,
    client: RegistryClient,
    there: There,
    vertex: Vertex,
    *,
    whole: bool,
) -> None:
    """All below the root, and if ``whole`` the root by its digest, into one repository."""

    def show(event: Event) -> None:
        if isinstance(event, LayerEvent) and event.state in _ENDS:
            line = f"{event.digest} {event.total} bytes: {event.state.value}\n"
            vertex.output(1, line.encode())

    await client.push(
        pinned,
        store,
        root,
        there=partial(there, pinned.registry, pinned.repository),
        whole=whole,
        progress=show,
    )


async def _at_once(tracker: Tracker, jobs: Mapping[str, Job]) -> None:
    """Run jobs by their titles, several at the same time, each shown as a step."""

    async def shown(title: str, job: Job) -> None:
        vertex = tracker.start(title)
        try:
            await job(vertex)
        except BaseException as error:
            if is_cancellation(error):
                vertex.failed("another one failed", cancelled=True)
            else:
                vertex.failed(str(error))
            raise
        vertex.done()

    await run_bounded([partial(shown, *item) for item in jobs.items()], AT_ONCE)
