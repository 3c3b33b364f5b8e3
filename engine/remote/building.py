"""A build of one image at another machine, as ``engine.builds.building`` does it here.

The result is in the local store at the end, as if it had been built here; the caller names it and
holds a lease.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from builder.contexts import ImageContext, LocalContext
from builder.errors import BuildCancelledError
from builder.inputs import LocalInputs, read_inputs
from builder.progress.events import VertexCached, VertexStarted
from builder.request import Material
from engine.remote.blobs import send_blobs, take_blobs
from engine.remote.connecting import connected
from engine.remote.errors import ChannelError, NodeError, RemoteBuildError
from engine.remote.listing import ContextListing
from engine.remote.serving import PROTOCOL
from engine.remote.values import decode, encode
from images.durable import write_durably
from images.gc import present_below
from records import replace

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from builder.contexts import NamedContext
    from builder.inputs import BuildInputs
    from builder.progress.events import Event
    from builder.progress.tracker import Tracker
    from builder.request import BuildRequest, BuildResult
    from builder.runner import Cancellation
    from engine.builds.building import Yard
    from engine.builds.remote_cache.options import CacheSource, CacheTarget
    from engine.remote.channel import Channel
    from engine.remote.nodes import Node
    from images.digest import Digest

    Caches = tuple[tuple[CacheSource, ...], tuple[CacheTarget, ...]]
    Connect = Callable[[Node], AbstractContextManager[Channel]]

MAIN = "context"
"""How the build context is called on the way; named ones follow a colon."""


def platforms_of(node: Node, *, connect: Connect = connected) -> tuple[str, ...]:
    """What a node says it can build, its own platform first.

    Raises:
        ChannelError: it cannot be reached.
    """
    with connect(node) as channel:
        hello = _hello(channel)
        channel.send("bye")
    return tuple(dict.fromkeys([str(hello["native"]), *map(str, hello["platforms"])]))


def build(
    request: BuildRequest,
    node: Node,
    yard: Yard,
    tracker: Tracker,
    *,
    cancellation: Cancellation | None = None,
    caches: Caches = ((), ()),
    connect: Connect = connected,
) -> BuildResult:
    """Build at ``node``, which reads and fills the ``caches`` itself.

    Raises:
        NodeError: the request needs something that cannot travel.
        RemoteBuildError: the build failed there.
        ChannelError: the node cannot be reached or went away.
        BuildCancelledError: ``cancellation`` fired.
    """
    inputs = read_inputs(request)
    travelling = portable(request, inputs, caches)
    try:
        with connect(node) as channel:
            stop = _stopping(channel, cancellation)
            try:
                with tracker.start(f"[internal] sending sources to {node.endpoint}"):
                    _send_sources(travelling, inputs, channel, yard, caches)
                result = _follow(channel, tracker, node)
                take_blobs(result["blobs"], channel, yard.store)
            finally:
                stop()
    except ChannelError as error:
        if cancellation is not None and cancellation.cancelled:
            raise BuildCancelledError("the build was cancelled") from error
        raise
    built: BuildResult = decode(result["result"])
    return replace(built, tags=request.tags)


def portable(request: BuildRequest, inputs: BuildInputs, caches: Caches = ((), ())) -> BuildRequest:
    """The request as it travels: no path of this machine in it.

    Raises:
        NodeError: it needs something of this machine that is no file of a context.
    """
    named: tuple[CacheSource | CacheTarget, ...] = (*caches[0], *caches[1])
    for cache in named:
        if cache.path is not None:
            raise NodeError(
                f"the cache {cache.label} is a directory of this machine",
                where="--cache-from, --cache-to",
                fix="use one in a registry, which all builders can share",
            )
    if request.ssh:
        raise NodeError(
            "an SSH agent cannot be forwarded to another builder",
            where="--ssh",
            fix="build here, or give the key as a secret",
        )
    contexts: dict[str, NamedContext] = {}
    for key, context in request.contexts.items():
        if isinstance(context, LocalContext):
            contexts[key] = LocalContext(f"{MAIN}:{key}", context.origin or context.path)
        else:
            contexts[key] = context
    local = [Material("local", path, name=name) for name, path in _directories(request, inputs)]
    return replace(
        request,
        context=None if inputs.context is None else MAIN,
        dockerfile=inputs.dockerfile,
        contexts=contexts,
        materials=(*request.materials, *local),
        # What is sent is filtered already, and is called by its name here.
        origin=request.origin or inputs.context or "",
        tags=(),
        register=False,
    )


def _directories(request: BuildRequest, inputs: BuildInputs) -> Iterator[tuple[str, str]]:
    """The user's own directories among the contexts, by name."""
    if inputs.context is not None and not request.origin:
        yield "", inputs.context
    for key, found in inputs.named.items():
        if not getattr(request.contexts[key], "origin", ""):
            yield key, found.path


def _hello(channel: Channel) -> dict[str, Any]:
    hello = channel.receive("hello")
    if hello.get("protocol") != PROTOCOL:
        raise ChannelError(
            f"the other end speaks version {hello.get('protocol')} of the protocol, not {PROTOCOL}",
            fix="use the same release of lading on both sides",
        )
    return hello


def _send_sources(
    request: BuildRequest, inputs: BuildInputs, channel: Channel, yard: Yard, caches: Caches
) -> None:
    _hello(channel)
    contexts: dict[str, LocalInputs] = {f"{MAIN}:{key}": it for key, it in inputs.named.items()}
    if inputs.main is not None:
        contexts[MAIN] = inputs.main
    state = yard.store.root / "builder"
    stored = list(_stored(request, yard))
    channel.send(
        "build",
        request=encode(request),
        caches=encode(caches),
        client=client_id(state),
        contexts=[[name, found.path] for name, found in contexts.items()],
        stored=[str(digest) for digest in stored],
    )
    if stored:
        send_blobs(_wanted(channel)["blobs"], stored, channel, yard.store)
    for found in contexts.values():
        listing = ContextListing(found, state)
        channel.send("files", rows=listing.rows())
        channel.send_stream(listing.contents(_wanted(channel)["numbers"]))


def _wanted(channel: Channel) -> dict[str, Any]:
    answer = channel.receive("want", "error")
    if answer["kind"] == "error":
        raise _failed(answer, "the other end")
    return answer


def _stored(request: BuildRequest, yard: Yard) -> Iterator[Digest]:
    """The blobs of the contexts that are images of the store here."""
    for context in request.contexts.values():
        if isinstance(context, ImageContext) and context.stored is not None:
            yield from present_below(yard.store.blobs, context.stored.digest)


def _follow(channel: Channel, tracker: Tracker, node: Node) -> Mapping[str, Any]:
    """Show what happens there until the result is there."""
    numbers: dict[int, int] = {}
    while True:
        message = channel.receive("event", "result", "error")
        if message["kind"] == "result":
            return message
        if message["kind"] == "error":
            raise _failed(message, node.endpoint)
        show(decode(message["event"]), tracker, numbers)


def show(event: Event, tracker: Tracker, numbers: dict[int, int]) -> None:
    """Repeat an event under the numbers and by the clock of this display."""
    if isinstance(event, VertexStarted | VertexCached):
        inputs = tuple(numbers[it] for it in event.inputs if it in numbers)
        if isinstance(event, VertexCached):
            number = tracker.cached(event.name, event.reason, where=event.where, inputs=inputs)
        else:
            number = tracker.start(
                event.name,
                event.reason,
                where=event.where,
                inputs=inputs,
                changes=event.changes,
            ).number
        numbers[event.vertex] = number
        return
    changes: dict[str, Any] = {}
    if hasattr(event, "vertex"):
        changes["vertex"] = numbers.get(event.vertex, 0)
    if hasattr(event, "time"):
        changes["time"] = tracker.now()
    tracker.send(replace(event, **changes))


def _stopping(channel: Channel, cancellation: Cancellation | None) -> Callable[[], None]:
    """Tell the other end when the build is cancelled here; returns the undo."""

    def tell() -> None:
        with suppress(ChannelError):
            channel.send("cancel")

    return cancellation.subscribe(tell) if cancellation is not None else lambda: None


def _failed(message: Mapping[str, Any], node: str) -> RemoteBuildError:
    return RemoteBuildError(
        str(message["what"]),
        where=message["where"],
        fix=message["fix"],
        code=str(message["code"]),
        shown=str(message["shown"]),
        node=node,
    )


def client_id(state: Path) -> str:
    """What tells this store from others to a builder: random, made once."""
    path = state / "client-id"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        state.mkdir(parents=True, exist_ok=True)
        made = os.urandom(16).hex()
        write_durably(path, made.encode() + b"\n")
        return made
