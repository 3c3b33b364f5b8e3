"""The other end of a remote build: one session is one build of one platform.

The client is one that may build, which is to say, one that may run commands here as the store's
owner: ssh's login or a certificate decides. Its sources go to a replica, its secrets stay in
memory, and when it goes away the build is stopped.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any, Final

from builder.progress.tracker import Tracker
from builder.runner import Cancellation
from engine.builds import building
from engine.builds.binfmt import executes, interpreter_of, read_entries
from engine.builds.order import BuildOrder
from engine.remote.blobs import send_blobs, take_blobs
from engine.remote.channel import Channel
from engine.remote.errors import ChannelError, PeerGoneError
from engine.remote.listing import read_rows
from engine.remote.replica import replica
from engine.remote.values import decode, encode
from images.digest import Digest
from images.errors import EnvironmentFault, ImagesError
from images.platform import Platform
from records import replace

if TYPE_CHECKING:
    from builder.progress.events import Event
    from builder.request import BuildRequest, BuildResult
    from engine.builds.building import Yard

PROTOCOL: Final = 1
PLATFORMS: Final = ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64", "linux/s390x")
"""Those that a node is asked about; others are built where a user said so."""


def serve_session(channel: Channel, yard: Yard) -> None:
    """Build for the client at the other end; what goes wrong with the build is told to it.

    Raises:
        PeerGoneError: the client went away.
        ChannelError: it is no client of ours.
    """
    channel.send("hello", protocol=PROTOCOL, native=str(Platform.host()), platforms=platforms())
    order = channel.receive("build", "bye")
    if order["kind"] == "bye":
        return
    places: dict[str, str] = {}
    try:
        with ExitStack() as stack:
            stack.enter_context(yard.store.lease("build for a client"))
            if order["stored"]:
                take_blobs(order["stored"], channel, yard.store)
            request = _take_sources(order, channel, yard, stack, places)
            client = _Client(channel)
            tracker = Tracker(_Forwarded(channel))
            with _caches(order, request, yard, tracker) as cached:
                result = building.build(request, cached, tracker, cancellation=client.cancellation)
            blobs = _blobs(result, yard)
            channel.send("result", result=encode(result), blobs=[str(digest) for digest in blobs])
            send_blobs(client.wanted(), blobs, channel, yard.store)
    except ChannelError:
        raise
    except ImagesError as error:
        channel.send("error", **_told(error, places))
    except OSError as error:
        channel.send("error", **_told(EnvironmentFault(str(error)), places))


def platforms() -> list[str]:
    """The platforms whose RUN steps this machine can execute."""
    host, entries = Platform.host(), read_entries()
    asked = [Platform.parse(text) for text in PLATFORMS]
    return [
        str(platform)
        for platform in asked
        if executes(platform, host) or interpreter_of(platform, entries) is not None
    ]


def _take_sources(
    order: dict[str, Any],
    channel: Channel,
    yard: Yard,
    stack: ExitStack,
    places: dict[str, str],
) -> BuildRequest:
    """The client's request, with its contexts in replicas here.

    ``places`` is told which directory of the client each replica stands for.
    """
    request: BuildRequest = decode(order["request"])
    base = yard.store.root / "builder/replicas"
    copies: dict[str, str] = {}
    for name, path in order["contexts"]:
        rows = read_rows(channel.receive("files")["rows"])
        copy = stack.enter_context(replica(base, str(order["client"]), str(path)))
        wanted = copy.begin(rows)
        channel.send("want", numbers=wanted)
        copy.complete(wanted, channel.receive_stream())
        copies[name] = str(copy.files)
        places[str(copy.files)] = str(path)
    contexts = {
        key: replace(context, path=copies[context.path]) if hasattr(context, "path") else context
        for key, context in request.contexts.items()
    }
    main = None if request.context is None else copies[str(request.context)]
    return replace(request, context=main, contexts=contexts, register=False)


def _caches(
    order: dict[str, Any], request: BuildRequest, yard: Yard, tracker: Tracker
) -> AbstractContextManager[Yard]:
    """The yard with the caches that the client named."""
    sources, targets = decode(order["caches"])
    if not (sources or targets):
        return nullcontext(yard)
    from engine.builds.remote_cache.station import remote_caches

    # The client gets every layer, so all must be here.
    whole = replace(request, register=True)
    return remote_caches(BuildOrder(whole, cache_from=sources, cache_to=targets), yard, tracker)


class _Client:
    """What the client says while the build runs: stop, or that it is gone."""

    def __init__(self, channel: Channel) -> None:
        self.cancellation = Cancellation()
        self._channel = channel
        self._wish: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="client", daemon=True).start()

    def wanted(self) -> list[str]:
        """What the client says it lacks.

        Raises:
            PeerGoneError: it is gone.
        """
        message = self._wish.get()
        if message is None:
            raise PeerGoneError("the client went away")
        return list(message["blobs"])

    def _listen(self) -> None:
        try:
            while (message := self._channel.receive("cancel", "want"))["kind"] == "cancel":
                self.cancellation.cancel()
            self._wish.put(message)
        except ChannelError:
            self.cancellation.cancel()
            self._wish.put(None)


class _Forwarded:
    """A progress sink at the other end of a channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def emit(self, event: Event) -> None:
        """Send it on; a client that is gone is noticed by who listens."""
        try:
            self._channel.send("event", event=encode(event))
        except ChannelError:
            return

    def close(self) -> None:
        """Nothing: the session goes on."""


def _blobs(result: BuildResult, yard: Yard) -> list[Digest]:
    image = yard.store.image(result.descriptor)
    layers = [layer.digest for layer in image.manifest.layers]
    return list(dict.fromkeys([*layers, image.manifest.config.digest, result.descriptor.digest]))


def _told(error: ImagesError, places: Mapping[str, str]) -> dict[str, Any]:
    """An error as it travels, in the client's names."""
    excerpt = getattr(error, "excerpt", None)
    texts = {
        "what": error.what,
        "where": error.where,
        "fix": error.fix,
        "shown": excerpt() if callable(excerpt) else "",
    }
    for here, there in places.items():
        texts = {key: text and text.replace(here, there) for key, text in texts.items()}
    return {**texts, "code": error.code}
