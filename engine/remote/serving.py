"""The other end of a remote build: one session is one build of one platform.

The client is one that may build, which is to say, one that may run commands here as the store's
owner: ssh's login or a certificate decides. Its sources go to a replica, its secrets stay in
memory, and when it goes away the build is stopped.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from builder.errors import BuildCancelledError
from builder.progress.tracker import Tracker
from builder.request import Site
from builder.runner import Cancellation
from engine.builds import building
from engine.builds.attesting.station import program_version
from engine.builds.binfmt import executes, interpreter_of, read_entries
from engine.builds.order import BuildOrder
from engine.remote.blobs import send_blobs, take_blobs
from engine.remote.borrowing import ClientCache, ClientJudge, lent_agents
from engine.remote.calls import Calls
from engine.remote.channel import Channel
from engine.remote.errors import ChannelError, PeerGoneError
from engine.remote.job import STORED, Job
from engine.remote.listing import read_rows
from engine.remote.message import Message, as_text
from engine.remote.replica import replica
from engine.remote.terminal import ShellThere
from engine.remote.values import encode
from images.digest import Digest
from images.errors import EnvironmentFault, ImagesError
from images.platform import Platform
from records import replace

if TYPE_CHECKING:
    from builder.progress.events import Event
    from builder.remote.index import CachedMount
    from builder.request import BuildRequest, BuildResult
    from builder.solver.elsewhere import Solved
    from engine.builds.building import Yard
    from engine.builds.remote_cache.cache import RemoteCaches
    from engine.builds.remote_cache.line import Line
    from engine.builds.remote_cache.options import CacheSource
    from engine.builds.remote_cache.places import Cache

    Opening = Callable[[CacheSource, Line], Cache]

PROTOCOL: Final = 3
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
    if order.kind == "bye":
        return
    places: dict[str, str] = {}
    try:
        with ExitStack() as stack:
            stack.enter_context(yard.store.lease("build for a client"))
            _Session(channel, yard, Job.of(order), places).build(stack)
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


class _Session:
    """One job; ``places`` is told which directory of the client each replica stands for."""

    def __init__(self, channel: Channel, yard: Yard, job: Job, places: dict[str, str]) -> None:
        self._channel = channel
        self._yard = yard
        self._job = job
        self._places = places

    def build(self, stack: ExitStack) -> None:
        """Take the sources, build, hand over; raises as ``serve_session`` and a build."""
        channel, yard, job = self._channel, self._yard, self._job
        if job.stored:
            take_blobs(job.stored, channel, yard.store)
        request = self._take_sources(stack)
        calls, shell = Calls(channel), None
        if job.term is not None:
            shell = ShellThere(channel, Path(yard.runtime_dir), term=job.term)
        client = _Client(channel, calls, shell)
        if job.judged:
            yard = replace(yard, access=replace(yard.access, judge=ClientJudge(calls)))
        tracker = Tracker(_Forwarded(channel))
        with (
            client.blamed(),
            lent_agents(calls, job.agents) as agents,
            self._caches(request, yard, tracker, calls) as cached,
        ):
            request = replace(request, ssh=agents)
            result = building.build(
                request,
                cached,
                tracker,
                cancellation=client.cancellation,
                on_failure=shell,
                lock=job.lock,
            )
            if job.verify:
                from engine.builds.reproducing import verify

                verify(
                    request,
                    result,
                    yard,
                    tracker,
                    cancellation=client.cancellation,
                    lock=job.lock,
                )
            solved, mounts = self._collected(cached.caches, tracker)
        site = Site(socket.gethostname(), Platform.host(), program_version())
        blobs = list(dict.fromkeys([*_blobs(result, yard), *_layers(solved, mounts)]))
        channel.send(
            "result",
            result=encode(replace(result, site=site)),
            blobs=[str(digest) for digest in blobs],
            lock=None if job.lock is None else as_text(job.lock.added()),
            solved=encode(solved),
            mounts=encode(mounts),
        )
        send_blobs(client.wanted(), blobs, channel, yard.store)

    def _take_sources(self, stack: ExitStack) -> BuildRequest:
        """The client's request, with its contexts in replicas here."""
        request, channel = self._job.request, self._channel
        base = self._yard.store.root / "builder/replicas"
        copies: dict[str, str] = {}
        for name, path in self._job.contexts:
            rows = read_rows(channel.receive("files").get("rows"))
            copy = stack.enter_context(replica(base, self._job.client, path))
            wanted = copy.begin(rows)
            channel.send("want", numbers=wanted)
            copy.complete(wanted, channel.receive_stream())
            copies[name] = str(copy.files)
            self._places[str(copy.files)] = path
        contexts = {
            key: replace(context, path=copies[context.path])
            if hasattr(context, "path")
            else context
            for key, context in request.contexts.items()
        }
        main = None if request.context is None else copies[str(request.context)]
        return replace(request, context=main, contexts=contexts, register=False)

    @contextmanager
    def _caches(
        self, request: BuildRequest, yard: Yard, tracker: Tracker, calls: Calls
    ) -> Iterator[Yard]:
        """The yard with the caches that the client named."""
        job = self._job
        if not (job.cache_from or job.cache_to or job.collects):
            yield yard
            return
        from engine.builds.remote_cache.station import remote_caches

        # The client gets every layer, so all must be here.
        order = BuildOrder(
            replace(request, register=True),
            cache_from=job.cache_from,
            cache_to=job.cache_to,
            verify=job.verify,
        )
        opening = self._opening(calls)
        with remote_caches(order, yard, tracker, opening=opening) as cached:
            assert cached.caches is not None
            cached.caches.collecting = job.collects
            yield cached

    def _opening(self, calls: Calls) -> Opening:
        from engine.builds.remote_cache.station import open_source

        lent = iter(enumerate(self._job.labels))

        def opening(source: CacheSource, line: Line) -> Cache:
            return open_source(source, line) if source.ref else ClientCache(calls, *next(lent))

        return opening

    def _collected(
        self, caches: RemoteCaches | None, tracker: Tracker
    ) -> tuple[tuple[Solved, ...], tuple[CachedMount, ...]]:
        """What the client's own caches are to have, as far as its content is here."""
        job = self._job
        if caches is None or not job.collects:
            return (), ()
        from engine.builds.remote_cache.exports import packed_mounts

        has = self._yard.store.blobs.has
        found = []
        for solved in caches.finished:
            steps = tuple(
                step
                for step in solved.steps
                if (step.final or job.all_steps)
                and all(
                    it.descriptor.digest in solved.bases or has(it.descriptor.digest)
                    for it in step.layers
                )
            )
            found.append(replace(solved, steps=steps))
        mounts = packed_mounts(found, self._yard.store, tracker) if job.mounts else ()
        return tuple(found), mounts


class _Client:
    """What the client says while the build runs: answers, stop, or that it is gone."""

    def __init__(self, channel: Channel, calls: Calls, shell: ShellThere | None) -> None:
        self.cancellation = Cancellation()
        self._channel = channel
        self._calls = calls
        self._shell = shell
        self._fault: ChannelError | None = None
        self._wish: queue.SimpleQueue[list[str] | ChannelError] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="client", daemon=True).start()

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """A build that was stopped because of the client ends in the client's fault.

        Raises:
            PeerGoneError: it is gone.
            ChannelError: it said what makes no sense.
        """
        try:
            yield
        except BuildCancelledError as error:
            if self._fault is not None:
                raise self._fault from error
            raise

    def wanted(self) -> list[str]:
        """What the client says it lacks.

        Raises:
            PeerGoneError: it is gone.
            ChannelError: it said what makes no sense.
        """
        found = self._wish.get()
        if isinstance(found, ChannelError):
            raise found
        return found

    def _listen(self) -> None:
        try:
            while (message := self._channel.receive(*_HEARD)).kind != "want":
                self._take(message)
            self._wish.put(message.texts("blobs", most=STORED, limit=200))
        except ChannelError as error:
            # Its end is no news; what makes no sense is, once the build has ended for it.
            gone = isinstance(error, PeerGoneError)
            self._fault = PeerGoneError("the client went away") if gone else error
            self._wish.put(self._fault)
            self.cancellation.cancel()
            self._calls.end()
            if self._shell is not None:
                self._shell.end()

    def _take(self, message: Message) -> None:
        if message.kind == "cancel":
            self.cancellation.cancel()
        elif message.kind in ("answer", "refusal"):
            self._calls.answer(message)
        elif self._shell is not None:
            self._shell.take(message)


_HEARD: Final = ("cancel", "want", "answer", "refusal", "input", "size")


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
    return [*layers, image.manifest.config.digest, result.descriptor.digest]


def _layers(solved: tuple[Solved, ...], mounts: tuple[CachedMount, ...]) -> Iterator[Digest]:
    """The blobs of steps and mounts that are not those of base images."""
    for one in solved:
        for step in one.steps:
            digests = (layer.descriptor.digest for layer in step.layers)
            yield from (digest for digest in digests if digest not in one.bases)
    yield from (mount.layer.descriptor.digest for mount in mounts)


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
