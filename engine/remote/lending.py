"""What a client lends to its build at another machine: ssh agents, caches in its directories, and
its verdict.

An agent's keys, a cache and a policy stay here; the other end asks, and is answered for the names
that were lent and nothing else.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from engine.builds.remote_cache.in_directory import DirectoryCache
from engine.remote.errors import ChannelError
from engine.remote.message import TEXT_LIMIT, Message, as_text
from images.digest import Digest
from images.errors import EnvironmentFault, ImagesError
from images.reference import Reference

if TYPE_CHECKING:
    from pathlib import Path

    from builder.remote.index import CacheIndex
    from engine.access import Access
    from engine.builds.remote_cache.options import CacheSource
    from engine.remote.channel import Channel

AT_ONCE: Final = 16
"""Questions that are worked on at the same time."""
AGENT_LIMIT: Final = 256 << 10
"""Bytes of a message to or from an agent, as OpenSSH has it (AGENT_MAX_LEN)."""
AGENT_CONNECTIONS: Final = 64
CACHE_PIECE: Final = 1 << 20
"""Bytes of a blob that are sent at once."""
_LENGTH: Final = struct.Struct(">I")


class AgentError(EnvironmentFault):
    """An ssh agent cannot be talked to."""

    code = "ssh-agent"


class Verdict:
    """What the client's policy and trust data say; a ``engine.access.Judge``."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def image(self, reference: Reference, digest: Digest) -> None:
        """As ``Judge.image``.

        Raises:
            TrustError, RegistryError: refused, or the registry does not tell.
        """
        from engine.registries import call
        from engine.trusting import verify_digest

        access = self._access
        if access.content_trust and reference.digest is None:
            self._check_signed(reference, digest)
        if not access.explicit:
            return
        policy, notary = access.policy(), access.trust_data()
        if not policy.decide(reference).needs_signatures:
            from trust.signature import Signatures
            from trust.verify import verify

            verify(reference, digest, policy, Signatures())
            return
        call(
            access,
            lambda client: verify_digest(client, reference, digest, policy, notary=notary),
            reading=True,
        )

    def url(self, url: str, *, pinned: bool) -> None:
        """As ``Judge.url``; raises ``VerificationError``."""
        if self._access.explicit:
            from trust.urls import check_url

            check_url(self._access.policy(), url, pinned=pinned)

    def _check_signed(self, reference: Reference, digest: Digest) -> None:
        from engine.content_trust.session import resolve
        from trust.errors import VerificationError

        signed = resolve(self._access, reference)
        if signed.digest != digest:
            raise VerificationError(
                f"its trust data names {signed.digest}, the builder found {digest}",
                where=reference.familiar,
                fix="let the builder pull it anew, with --pull",
            )


class Lending:
    """Answers the other end's questions, each in a thread of its own."""

    def __init__(
        self,
        channel: Channel,
        *,
        agents: Mapping[str, Path],
        caches: Sequence[CacheSource],
        access: Access | None,
    ) -> None:
        """``caches`` are those in directories; ``access`` says what is demanded, None nothing."""
        self._channel = channel
        self._agents = agents
        self._caches = [_LentCache(it) for it in caches]
        self._verdict = None if access is None else Verdict(access)
        self._connections: dict[int, _Agent] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE, "lending")
        self._answers: Mapping[str, Callable[[Message], dict[str, Any]]] = {
            "agent": self._agent,
            "agent-end": self._agent_end,
            "cache-index": self._cache_index,
            "cache-piece": self._cache_piece,
            "image": self._image,
            "url": self._url,
        }

    def answer(self, message: Message) -> None:
        """Begin to answer.

        Raises:
            ChannelError: it is no question.
        """
        number = message.number("call", high=1 << 62)
        work = self._answers.get(message.text("about", limit=40))
        if work is None:
            raise ChannelError("the other end asks for what is not known here")
        self._pool.submit(self._work, number, work, message)

    def close(self) -> None:
        """Answer nothing more, and hang up."""
        with self._lock:
            connections, self._connections = list(self._connections.values()), {}
        for connection in connections:
            connection.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(
        self, number: int, work: Callable[[Message], dict[str, Any]], message: Message
    ) -> None:
        # An end that is gone is noticed by who listens to it.
        with suppress(ChannelError):
            try:
                fields = work(message)
            except ChannelError as error:
                self._refuse(number, error)
            except ImagesError as error:
                self._refuse(number, error)
            except OSError as error:
                self._refuse(number, EnvironmentFault(str(error)))
            else:
                self._channel.send("answer", call=number, **fields)

    def _refuse(self, number: int, error: ImagesError) -> None:
        self._channel.send(
            "refusal",
            call=number,
            what=error.what[:TEXT_LIMIT],
            where=error.where,
            fix=error.fix,
            code=error.code,
        )

    # what can be asked

    def _agent(self, message: Message) -> dict[str, Any]:
        name = message.text("name", limit=200)
        number = message.number("connection", high=1 << 62)
        body = message.data("data", limit=AGENT_LIMIT)
        with self._lock:
            connection = self._connections.get(number)
            if connection is None:
                path = self._agents.get(name)
                if path is None or len(self._connections) >= AGENT_CONNECTIONS:
                    raise AgentError(f"no agent {name!r} is lent", where="--ssh")
                connection = self._connections[number] = _Agent(path)
        return {"data": as_text(connection.ask(body))}

    def _agent_end(self, message: Message) -> dict[str, Any]:
        with self._lock:
            found = self._connections.pop(message.number("connection", high=1 << 62), None)
        if found is not None:
            found.close()
        return {}

    def _cache_index(self, message: Message) -> dict[str, Any]:
        return {"data": as_text(self._cache(message).index())}

    def _cache_piece(self, message: Message) -> dict[str, Any]:
        offset = message.number("offset", high=1 << 62)
        digest = message.digest("digest")
        return {"data": as_text(self._cache(message).piece(digest, offset))}

    def _image(self, message: Message) -> dict[str, Any]:
        digest = message.digest("digest")
        if self._verdict is not None:
            self._verdict.image(Reference.parse(message.text("reference")), digest)
        return {}

    def _url(self, message: Message) -> dict[str, Any]:
        if self._verdict is not None:
            self._verdict.url(message.text("url"), pinned=message.flag("pinned"))
        return {}

    def _cache(self, message: Message) -> _LentCache:
        number = message.number("cache", high=1 << 30)
        if number >= len(self._caches):
            raise ChannelError("a cache is asked for that is not lent")
        return self._caches[number]


class _LentCache:
    """A cache in a directory: its index, and the blobs that this names."""

    def __init__(self, source: CacheSource) -> None:
        assert source.path is not None
        self._cache = DirectoryCache(source.path, source.tag, digest=source.digest)
        self._label = source.label
        self._index: CacheIndex | None = None

    def index(self) -> bytes:
        """As in the directory."""
        from builder.remote.index import encode

        self._index = self._cache.read()
        return encode(self._index)

    def piece(self, digest: Digest, offset: int) -> bytes:
        """A part of a blob, empty at its end."""
        if self._index is None or digest not in self._index.kept():
            raise ChannelError(f"{digest} is not in the cache", where=self._label)
        with self._cache.open(digest) as file:
            file.seek(offset)
            return file.read(CACHE_PIECE)


class _Agent:
    """One connection to an agent; request and answer alternate (draft-miller-ssh-agent)."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = path
        self._lock = threading.Lock()
        self._connected = False

    def ask(self, body: bytes) -> bytes:
        """One answer.

        Raises:
            AgentError: there is none.
        """
        with self._lock:
            try:
                if not self._connected:
                    self._socket.connect(str(self._path))
                    self._connected = True
                self._socket.sendall(_LENGTH.pack(len(body)) + body)
                (size,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
                if size > AGENT_LIMIT:
                    raise AgentError(f"it answers with {size} bytes", where=str(self._path))
                return self._exactly(size)
            except OSError as error:
                raise AgentError(
                    f"the agent does not answer: {error.strerror or error}",
                    where=str(self._path),
                    fix="see that it runs: ssh-add -l",
                ) from error

    def close(self) -> None:
        """Hang up; an answer that is waited for does not come."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            piece = self._socket.recv(size - len(found))
            if not piece:
                raise ConnectionResetError("it hung up")
            found += piece
        return found
