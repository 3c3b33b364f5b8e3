"""What the end that builds uses of its client's: see ``engine.remote.lending``."""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from builder.remote.index import INDEX_LIMIT, decode
from engine.remote.errors import ChannelError
from engine.remote.lending import AGENT_LIMIT, CACHE_PIECE
from engine.remote.message import as_text
from images.errors import ImagesError

if TYPE_CHECKING:
    from builder.remote.index import CacheIndex
    from engine.remote.calls import Calls
    from images.blobs import BlobStore
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.reference import Reference

_LENGTH: Final = struct.Struct(">I")
_FAILURE: Final = b"\x05"
"""SSH_AGENT_FAILURE of draft-miller-ssh-agent."""


class ClientJudge:
    """The client's verdict; a ``engine.access.Judge``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def image(self, reference: Reference, digest: Digest) -> None:
        """As ``Judge.image``; raises ``ClientError`` with what the client's policy says."""
        self._calls.ask("image", reference=str(reference), digest=str(digest))

    def url(self, url: str, *, pinned: bool) -> None:
        """As ``Judge.url``; raises as ``image``."""
        self._calls.ask("url", url=url, pinned=pinned)


class ClientCache:
    """A cache in a directory of the client's; a ``places.Cache``."""

    def __init__(self, calls: Calls, number: int, label: str) -> None:
        self._calls = calls
        self._number = number
        self.label = label
        self.reference: Reference | None = None

    def read(self) -> CacheIndex:
        """As ``Cache.read``."""
        answer = self._calls.ask("cache-index", cache=self._number)
        return decode(answer.data("data", limit=INDEX_LIMIT))

    def fetch(self, descriptor: Descriptor, blobs: BlobStore) -> None:
        """As ``Origin.fetch``."""
        with blobs.writer(expected=descriptor.digest, size=descriptor.size) as writer:
            offset = 0
            while offset < descriptor.size:
                answer = self._calls.ask(
                    "cache-piece",
                    cache=self._number,
                    digest=str(descriptor.digest),
                    offset=offset,
                )
                piece = answer.data("data", limit=CACHE_PIECE)
                if not piece:
                    break
                writer.write(piece)
                offset += len(piece)
            writer.commit()


@contextmanager
def lent_agents(calls: Calls, names: Sequence[str]) -> Iterator[Mapping[str, Path]]:
    """A socket for each of the client's agents, for the length of the block."""
    if not names:
        yield {}
        return
    numbers = count(1)
    with tempfile.TemporaryDirectory(prefix="agents-") as folder:
        relays = [
            _Relay(Path(folder) / str(place), name, calls, lambda: next(numbers))
            for place, name in enumerate(names)
        ]
        try:
            yield {name: relay.path for name, relay in zip(names, relays, strict=True)}
        finally:
            for relay in relays:
                relay.close()


class _Relay:
    """A listening socket that stands for one agent; each connection has a thread."""

    def __init__(self, path: Path, name: str, calls: Calls, number: Callable[[], int]) -> None:
        self.path = path
        self._name = name
        self._calls = calls
        self._number = number
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(16)
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name="agent", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more connections, and end those that there are."""
        for one in (self._listener, *list(self._open)):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        threads = []
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.add(connection)
                threads.append(threading.Thread(target=self._serve, args=(connection,)))
                threads[-1].daemon = True
                threads[-1].start()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, connection: socket.socket) -> None:
        number = self._number()
        # Whoever asked learns from the end of the connection that there is no answer.
        with connection, suppress(OSError, ChannelError):
            while (request := _read(connection)) is not None:
                answer = self._ask(number, request)
                connection.sendall(_LENGTH.pack(len(answer)) + answer)
            self._calls.ask("agent-end", connection=number)
        self._open.discard(connection)

    def _ask(self, number: int, request: bytes) -> bytes:
        try:
            answer = self._calls.ask(
                "agent", name=self._name, connection=number, data=as_text(request)
            )
        except ChannelError:
            raise
        except ImagesError:
            return _FAILURE
        return answer.data("data", limit=AGENT_LIMIT)


def _read(connection: socket.socket) -> bytes | None:
    """One message of an agent's client; None at the end, and for what is none."""
    head = _exactly(connection, _LENGTH.size)
    if head is None:
        return None
    (size,) = _LENGTH.unpack(head)
    return _exactly(connection, size) if 0 < size <= AGENT_LIMIT else None


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    found = b""
    while len(found) < size:
        piece = connection.recv(size - len(found))
        if not piece:
            return None
        found += piece
    return found
