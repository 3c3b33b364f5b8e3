"""What a client orders: the message that begins a build, made by one end, checked by the other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from builder.contexts import ImageContext, LocalContext
from builder.request import BuildRequest
from engine.builds.lock import BuildLock
from engine.builds.remote_cache.options import CacheSource, CacheTarget
from engine.remote.errors import ChannelError
from engine.remote.message import Message, as_text
from engine.remote.values import decode, decode_all, encode
from records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from images.digest import Digest

CONTEXTS: Final = 1000
STORED: Final = 100_000
CACHES: Final = 100
AGENTS: Final = 64
LOCK_LIMIT: Final = 4 << 20
_CLIENT: Final = re.compile(r"[0-9a-f]{32}")


class Job(Record):
    """One build of one platform.

    ``contexts`` are names and what they are called at the client, whose files follow. Sources
    without a reference are caches of the client's, numbered in their order.
    """

    request: BuildRequest
    client: str
    contexts: tuple[tuple[str, str], ...] = ()
    stored: tuple[Digest, ...] = ()
    """Blobs that the client's store has of contexts that are images."""
    cache_from: tuple[CacheSource, ...] = ()
    labels: tuple[str, ...] = ()
    """How the client calls its own caches, in their order."""
    cache_to: tuple[CacheTarget, ...] = ()
    collects: bool = False
    """The client fills caches of its own, with what is in the final image's layers,"""
    all_steps: bool = False
    """or in all of them,"""
    mounts: bool = False
    """and with cache mounts."""
    agents: tuple[str, ...] = ()
    """Names of the ssh agents that are lent."""
    lock: BuildLock | None = None
    judged: bool = False
    """The client is asked about everything that is used."""
    verify: bool = False
    """It is built twice there, apart, and is a result only if it comes out the same."""
    term: str | None = None
    """The kind of terminal on which a shell in a failed step can be shown; None for no shell."""

    def message(self) -> dict[str, Any]:
        """The fields of the message."""
        lock = None
        if self.lock is not None:
            lock = {
                "label": self.lock.label,
                "entries": as_text(self.lock.entries()),
                "refresh": self.lock.refresh,
                "frozen": self.lock.frozen,
            }
        return {
            "request": encode(self.request),
            "client": self.client,
            "contexts": [list(pair) for pair in self.contexts],
            "stored": [str(digest) for digest in self.stored],
            "cache_from": encode(self.cache_from),
            "labels": list(self.labels),
            "cache_to": encode(self.cache_to),
            "collects": self.collects,
            "all_steps": self.all_steps,
            "mounts": self.mounts,
            "agents": list(self.agents),
            "lock": lock,
            "judged": self.judged,
            "verify": self.verify,
            "term": self.term,
        }

    @classmethod
    def of(cls, message: Message) -> Job:
        """What a message asks for.

        Raises:
            ChannelError: a field is missing, of another type, too long, or leads nowhere.
            LockFileError: the lock is none.
        """
        contexts = _contexts(message)
        request: BuildRequest = decode(message.get("request"), BuildRequest)
        _check_contexts(request, {name for name, _ in contexts})
        client = message.text("client", limit=32)
        if not _CLIENT.fullmatch(client):
            raise ChannelError("the client has no number of its own")
        sources = decode_all(message.get("cache_from"), CacheSource, most=CACHES)
        targets = decode_all(message.get("cache_to"), CacheTarget, most=CACHES)
        labels = message.texts("labels", most=CACHES, limit=4096)
        every: tuple[CacheSource | CacheTarget, ...] = (*sources, *targets)
        own = [it for it in sources if it.ref is None]
        if len(own) != len(labels) or any(it.path is not None for it in every):
            raise ChannelError("the caches of the other end are not understood")
        if any(it.ref is None for it in targets):
            raise ChannelError("the other end fills its own caches")
        return cls(
            request=request,
            client=client,
            contexts=contexts,
            stored=tuple(message.digests("stored", most=STORED)),
            cache_from=sources,
            labels=tuple(labels),
            cache_to=targets,
            collects=message.flag("collects"),
            all_steps=message.flag("all_steps"),
            mounts=message.flag("mounts"),
            agents=tuple(message.texts("agents", most=AGENTS, limit=200)),
            lock=_lock(message.get("lock")),
            judged=message.flag("judged"),
            verify=message.flag("verify"),
            term=message.optional_text("term", limit=100),
        )


def _contexts(message: Message) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for item in message.many("contexts", most=CONTEXTS):
        if not (
            isinstance(item, list) and len(item) == 2 and all(isinstance(t, str) for t in item)
        ):
            raise ChannelError("a context of the other end is not understood")
        name, path = item
        if name in found or len(path) > 4096:
            raise ChannelError("a context of the other end is not understood")
        found[name] = path
    return tuple(found.items())


def _check_contexts(request: BuildRequest, known: set[str]) -> None:
    """Every directory that the request names is one of those whose files follow."""
    named = [it.path for it in request.contexts.values() if isinstance(it, LocalContext)]
    strange = [it for it in request.contexts.values() if not isinstance(it, _TRAVELLING)]
    main = [] if request.context is None else [request.context]
    if strange or not {*named, *main} <= known or not isinstance(request.dockerfile, bytes):
        raise ChannelError("the build of the other end needs files that do not come with it")
    if request.ssh or request.tags or request.register:
        raise ChannelError("the build of the other end asks for what is the client's own")


_TRAVELLING: Final = (LocalContext, ImageContext)


def _lock(value: Mapping[str, Any] | None) -> BuildLock | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ChannelError("the lock of the other end is not understood")
    fields = Message({"kind": "lock", **value})
    return BuildLock.carried(
        fields.text("label", limit=4096),
        fields.data("entries", limit=LOCK_LIMIT),
        refresh=fields.flag("refresh"),
        frozen=fields.flag("frozen"),
    )
