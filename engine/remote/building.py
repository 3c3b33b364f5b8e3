"""A build of one image at another machine, as ``engine.builds.building`` does it here.

The result is in the local store at the end, as if it had been built here; the caller names it and
holds a lease.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final, cast

from builder.contexts import ImageContext, LocalContext
from builder.errors import BuildCancelledError
from builder.inputs import read_inputs
from builder.progress.events import VertexCached, VertexDone, VertexFailed, VertexStarted
from builder.remote.index import CachedMount
from builder.request import BuildResult, Material
from builder.solver.elsewhere import Solved
from engine.remote.blobs import send_blobs, take_blobs
from engine.remote.connecting import connected
from engine.remote.errors import ChannelError, PeerGoneError, RemoteBuildError
from engine.remote.job import LOCK_LIMIT, STORED, Job
from engine.remote.lending import Lending
from engine.remote.listing import ContextListing
from engine.remote.serving import PROTOCOL
from engine.remote.terminal import ShellHere
from engine.remote.values import EVENTS, decode, decode_all
from images.durable import write_durably
from images.gc import present_below
from records import replace

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from builder.contexts import NamedContext
    from builder.inputs import BuildInputs, LocalInputs
    from builder.progress.events import Event
    from builder.progress.tracker import Tracker
    from builder.request import BuildRequest
    from builder.runner import Cancellation
    from builder.solver.elsewhere import SolvedStep
    from engine.builds.building import Yard
    from engine.builds.lock import BuildLock
    from engine.remote.channel import Channel
    from engine.remote.message import Message
    from engine.remote.nodes import Node
    from engine.remote.placing import Elsewhere
    from images.digest import Digest

    Connect = Callable[[Node], AbstractContextManager[Channel]]

_PLATFORM: Final = 100
_BUILDS: Final = 1000
_MOUNTS: Final = 10_000
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
    known = (
        hello.text("native", limit=_PLATFORM),
        *hello.texts("platforms", most=100, limit=_PLATFORM),
    )
    return tuple(dict.fromkeys(known))


def build(
    request: BuildRequest,
    node: Node,
    yard: Yard,
    tracker: Tracker,
    *,
    elsewhere: Elsewhere,
    cancellation: Cancellation | None = None,
    lock: BuildLock | None = None,
    shell: bool = False,
    connect: Connect = connected,
) -> BuildResult:
    """Build at ``node``, with the caches of ``elsewhere``.

    ``lock`` is obeyed and told, ``shell`` opens one in a failed step on this process's terminal.

    Raises:
        NodeError: the request needs something that cannot travel.
        RemoteBuildError: the build failed there.
        ChannelError: the node cannot be reached or went away.
        BuildCancelledError: ``cancellation`` fired.
    """
    inputs = read_inputs(request)
    job = _job(request, inputs, yard, elsewhere, lock, shell=shell)
    access = yard.access
    try:
        with (
            connect(node) as channel,
            closing(
                Lending(
                    channel,
                    agents=request.ssh,
                    caches=[it for it in elsewhere.cache_from if it.path is not None],
                    access=access if job.judged else None,
                )
            ) as lending,
            closing(_Display(tracker, ShellHere(channel) if shell else None)) as display,
        ):
            stop = _stopping(channel, cancellation)
            try:
                with tracker.start(f"[internal] sending sources to {node.endpoint}"):
                    _send_sources(job, inputs, channel, yard, node)
                result = _follow(channel, display, lending, node)
                return _take(result, request, channel, yard, elsewhere, lock)
            finally:
                stop()
    except PeerGoneError as error:
        if cancellation is not None and cancellation.cancelled:
            raise BuildCancelledError("the build was cancelled") from error
        raise


def _job(
    request: BuildRequest,
    inputs: BuildInputs,
    yard: Yard,
    elsewhere: Elsewhere,
    lock: BuildLock | None,
    *,
    shell: bool,
) -> Job:
    travelling = portable(request, inputs)
    own = () if elsewhere.collected is None else elsewhere.collected.targets
    access = yard.access
    return Job(
        request=travelling,
        client=client_id(yard.store.root / "builder"),
        contexts=tuple((name, found.path) for name, found in _contexts(inputs).items()),
        stored=tuple(_stored(travelling, yard)),
        cache_from=tuple(replace(it, path=None) for it in elsewhere.cache_from),
        labels=tuple(it.label for it in elsewhere.cache_from if it.path is not None),
        cache_to=elsewhere.cache_to,
        collects=bool(own),
        all_steps=any(it.mode == "max" for it in own),
        mounts=any(it.mounts for it in own),
        agents=tuple(request.ssh),
        lock=lock,
        judged=access.explicit or access.content_trust,
        verify=elsewhere.verify,
        term=os.environ.get("TERM", "xterm") if shell else None,
    )


def _take(
    result: Message,
    request: BuildRequest,
    channel: Channel,
    yard: Yard,
    elsewhere: Elsewhere,
    lock: BuildLock | None,
) -> BuildResult:
    """Take over what was built, and what caches and the lock are to have of it."""
    built = decode(result.get("result"), BuildResult)
    solved = decode_all(result.get("solved"), Solved, most=_BUILDS)
    mounts = decode_all(result.get("mounts"), CachedMount, most=_MOUNTS)
    take_blobs(result.digests("blobs", most=STORED), channel, yard.store)
    if lock is not None:
        lock.note_all(result.data("lock", limit=LOCK_LIMIT))
    if elsewhere.collected is not None:
        # What was not handed over cannot be in a cache of ours.
        whole = [replace(it, steps=tuple(_present(it, yard))) for it in solved]
        elsewhere.collected.take(whole, mounts)
    return replace(built, tags=request.tags)


def _present(solved: Solved, yard: Yard) -> Iterator[SolvedStep]:
    for step in solved.steps:
        digests = (layer.descriptor.digest for layer in step.layers)
        if all(digest in solved.bases or yard.store.blobs.has(digest) for digest in digests):
            yield step


def portable(request: BuildRequest, inputs: BuildInputs) -> BuildRequest:
    """The request as it travels: no path of this machine in it."""
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
        ssh={},
        register=False,
    )


def _directories(request: BuildRequest, inputs: BuildInputs) -> Iterator[tuple[str, str]]:
    """The user's own directories among the contexts, by name."""
    if inputs.context is not None and not request.origin:
        yield "", inputs.context
    for key, found in inputs.named.items():
        if not getattr(request.contexts[key], "origin", ""):
            yield key, found.path


def _contexts(inputs: BuildInputs) -> dict[str, LocalInputs]:
    """Every directory of the build, by its name on the way."""
    found = {f"{MAIN}:{key}": it for key, it in inputs.named.items()}
    if inputs.main is not None:
        found[MAIN] = inputs.main
    return found


def _hello(channel: Channel) -> Message:
    hello = channel.receive("hello")
    if hello.get("protocol") != PROTOCOL:
        raise ChannelError(
            f"the other end speaks version {hello.get('protocol')!s:.20} of the protocol,"
            f" not {PROTOCOL}",
            fix="use the same release of lading on both sides",
        )
    return hello


def _send_sources(job: Job, inputs: BuildInputs, channel: Channel, yard: Yard, node: Node) -> None:
    _hello(channel)
    try:
        channel.send("build", **job.message())
        if job.stored:
            wanted = _wanted(channel, node).texts("blobs", most=len(job.stored), limit=200)
            send_blobs(wanted, job.stored, channel, yard.store)
        for found in _contexts(inputs).values():
            listing = ContextListing(found, yard.store.root / "builder")
            rows = listing.rows()
            channel.send("files", rows=rows)
            numbers = _wanted(channel, node).numbers("numbers", below=len(rows))
            channel.send_stream(listing.contents(numbers))
    except PeerGoneError as gone:
        # A builder that refuses, on a full disk say, reads no further: what it said is still there.
        with suppress(ChannelError):
            raise _failed(channel.receive("error"), node.endpoint) from gone
        raise


def _wanted(channel: Channel, node: Node) -> Message:
    answer = channel.receive("want", "error")
    if answer.kind == "error":
        raise _failed(answer, node.endpoint)
    return answer


def _stored(request: BuildRequest, yard: Yard) -> Iterator[Digest]:
    """The blobs of the contexts that are images of the store here."""
    for context in request.contexts.values():
        if isinstance(context, ImageContext) and context.stored is not None:
            yield from present_below(yard.store.blobs, context.stored.digest)


def _follow(channel: Channel, display: _Display, lending: Lending, node: Node) -> Message:
    """Show what happens there, and lend what is asked for, until the result is there."""
    while True:
        try:
            message = channel.receive(*_HEARD)
        except PeerGoneError as error:
            raise PeerGoneError(
                "the builder went away in the middle of the build",
                where=node.endpoint,
                fix="see whether lading was killed there, or its machine; build again, or name "
                "more nodes: lading builder create --append",
            ) from error
        if message.kind == "result":
            return message
        if message.kind == "error":
            raise _failed(message, node.endpoint)
        if message.kind == "ask":
            lending.answer(message)
        else:
            display.take(message)


_HEARD = ("event", "ask", "shell", "terminal", "shell-end", "result", "error")


class _Display:
    """What is shown here of a build there; ``shell`` is the terminal for one in a failed step."""

    def __init__(self, tracker: Tracker, shell: ShellHere | None) -> None:
        self._tracker = tracker
        self._shell = shell
        self._numbers: dict[int, int] = {}
        self._running: set[int] = set()

    def take(self, message: Message) -> None:
        """Show what a message says.

        Raises:
            ChannelError: that makes no sense.
        """
        if message.kind == "event":
            event = cast("Event", decode(message.get("event"), *EVENTS))
            show(event, self._tracker, self._numbers)
            self._note(event)
        elif self._shell is None:
            raise ChannelError("the other end opens a shell that nobody asked for")
        elif message.kind == "shell":
            self._shell.begin()
        elif message.kind == "terminal":
            self._shell.show(message)
        else:
            self._shell.end()

    def close(self) -> None:
        """Nothing runs there any more."""
        if self._shell is not None:
            self._shell.end()
        for vertex in sorted(self._running):
            number, now = self._numbers[vertex], self._tracker.now()
            self._tracker.send(VertexFailed(number, "its builder went away", now, cancelled=True))

    def _note(self, event: Event) -> None:
        if isinstance(event, VertexStarted):
            self._running.add(event.vertex)
        elif isinstance(event, VertexDone | VertexFailed):
            self._running.discard(event.vertex)


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


def _failed(message: Message, node: str) -> RemoteBuildError:
    return RemoteBuildError(
        message.text("what"),
        where=message.optional_text("where"),
        fix=message.optional_text("fix"),
        code=message.text("code", limit=100),
        shown=message.text("shown"),
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
