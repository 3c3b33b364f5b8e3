"""The wire without an event loop: http.client on blocking sockets, one connection a thread.

It is imported in a fraction of the time that an event loop and its HTTP library take, which is most
of the time of a build that everything is known of. RFC 9112 is http.client's to read; what is here
is connections: proxies, TLS, keeping them, giving them up when the scope is cancelled.
"""

from __future__ import annotations

import errno
import ipaddress
import select
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, InvalidURL
from typing import TYPE_CHECKING, Final, overload
from urllib.parse import urlencode

from images.client.proxy_hop import address, login, read_proxy, tunnel
from images.client.scope import Cancelled, current
from images.client.threads import ThreadLock
from images.client.wire import (
    AddressError,
    CertificateError,
    ConnectError,
    HandshakeError,
    Response,
    UnknownHostError,
    WireError,
)

if TYPE_CHECKING:
    import ssl

    from images.client.options import ClientOptions
    from images.client.url import Url
    from images.client.wire import Data

    _Place = tuple[str, str, int, str | None, ssl.SSLContext | None]

PIECE: Final = 256 << 10
"""Bytes of a body that are read at once."""
DRAINED: Final = 64 << 10
"""Bytes of an unwanted body that are read to keep its connection."""
IDLE: Final = 16
"""Connections of one place that are kept."""
DRAIN_SECONDS: Final = 1.0
"""How long that may take at each step."""


class PlainWire:
    """A ``Wire`` for coroutines that ``scope.run`` carries out, in any number of threads."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._idle: dict[_Place, list[HTTPConnection]] = {}
        self._lock = threading.Lock()
        self._closed = False

    async def open(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        *,
        data: Data,
        tls: ssl.SSLContext | None,
        proxy: str | None,
    ) -> Response:
        """As ``Wire.open``; raises ``Cancelled`` as well."""
        all_headers = {"User-Agent": self._options.user_agent, **headers}
        place = (url.scheme, url.host, url.port, proxy, tls)
        while True:
            connection = self._kept(place)
            reused = connection is not None
            with _translated():
                exchange = _Exchange(self, place, connection or await self._connect(place))
                try:
                    return await exchange.begin(method, url, all_headers, data)
                except (HTTPException, OSError):
                    exchange.give_up()
                    # It may have been closed just now, because it was idle for long.
                    if not (reused and method in ("GET", "HEAD")):
                        raise
                except BaseException:
                    exchange.give_up()
                    raise

    def lock(self) -> ThreadLock:
        """As ``Wire.lock``."""
        return ThreadLock()

    async def close(self) -> None:
        """As ``Wire.close``; those in use are closed when they are released."""
        with self._lock:
            self._closed = True
            kept = [one for many in self._idle.values() for one in many]
            self._idle.clear()
        for connection in kept:
            connection.close()

    def keep(self, place: _Place, connection: HTTPConnection) -> None:
        """Take back a connection that the next request can use."""
        connection.sock.settimeout(self._options.read_timeout)
        with self._lock:
            kept = self._idle.setdefault(place, [])
            if not self._closed and len(kept) < IDLE:
                kept.append(connection)
                return
        connection.close()

    def _kept(self, place: _Place) -> HTTPConnection | None:
        """A connection from before that the other side has not closed meanwhile."""
        while True:
            with self._lock:
                kept = self._idle.get(place)
                if not kept:
                    return None
                connection = kept.pop()
            if connection.sock is not None and not _readable(connection.sock):
                return connection
            connection.close()

    async def _connect(self, place: _Place) -> HTTPConnection:
        scheme, host, port, proxy, tls = place
        way = None if proxy is None else read_proxy(proxy)
        sock = await self._dial(*((host, port) if way is None else address(way)))
        if scheme == "https":
            assert tls is not None
            try:
                if way is not None:
                    with current().ending(partial(_shut, sock)):
                        tunnel(sock, host, port, way)
                # It takes the socket over, with its timeout.
                sock = secure = tls.wrap_socket(
                    sock, server_hostname=host, do_handshake_on_connect=False
                )
                with current().ending(partial(_shut, sock)):
                    secure.do_handshake()
            except OSError as error:
                sock.close()
                raise _tls_fault(error) from error
            except BaseException:
                sock.close()
                raise

        connection = HTTPConnection(host, port, blocksize=PIECE)
        connection.sock = sock
        connection.auto_open = 0
        return connection

    async def _dial(self, host: str, port: int) -> socket.socket:
        """A connected socket, to the first of the host's addresses that answers."""
        failure = OSError(errno.EHOSTUNREACH, "the name has no address")
        for family, where in await self._addresses(host, port):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(self._options.connect_timeout)
                with current().ending(partial(_shut, sock)):
                    sock.connect(where)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(self._options.read_timeout)
            except OSError as error:
                sock.close()
                current().check()
                failure = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise ConnectError(failure) from failure

    async def _addresses(self, host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
        """Families and addresses of a host, those of its literal address without asking."""
        resolver = self._options.resolver
        try:
            if resolver is not None and not _is_address(host):
                found = await resolver.resolve(host, port)
                return [(it["family"], (it["host"], port)) for it in found]
            # As text it would go by way of Python's codec for names in other scripts.
            name = host.encode() if host.isascii() else host
            listed = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise UnknownHostError(error) from error
        return [(family, where) for family, _, _, _, where in listed]  # type: ignore[misc]


class _Exchange:
    """One request on one connection, until its answer is released."""

    def __init__(self, wire: PlainWire, place: _Place, connection: HTTPConnection) -> None:
        self._wire = wire
        self._place = place
        self._connection = connection
        self._ends = ExitStack()
        self._whole = True
        """Whether all of the request was sent."""

    async def begin(
        self, method: str, url: Url, headers: Mapping[str, str], data: Data
    ) -> Response:
        """Send, and read the answer's head."""
        sock, connection = self._connection.sock, self._connection
        self._ends.enter_context(current().ending(partial(_shut, sock)))
        if isinstance(data, Mapping):
            headers = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
            data = urlencode(dict(data)).encode()
        if isinstance(data, bytes):
            headers = {**headers, "Content-Length": str(len(data))}
        elif data is None and method not in ("GET", "HEAD", "DELETE"):
            headers = {**headers, "Content-Length": "0"}
        target, extra = self._target(url)
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": url.authority, **extra, **headers}.items():
            connection.putheader(name, value)
        await self._send(sock, data)
        response = connection.getresponse()
        lengths = response.headers.get_all("Content-Length", [])
        if len(set(lengths)) > 1 or not all(it.isascii() and it.isdigit() for it in lengths):
            # RFC 9112, section 6.3; http.client takes what it cannot read for no body.
            response.close()
            raise HTTPException(f"a Content-Length of {', '.join(lengths)[:100]!r}")
        return _Response(self, method, url, response)

    async def _send(self, sock: socket.socket, data: Data) -> None:
        if data is None or isinstance(data, bytes):
            self._connection.endheaders(data)
            return
        assert not isinstance(data, Mapping)
        self._connection.endheaders()
        try:
            async for piece in data:
                current().check()
                if not _all_sent(sock, piece):
                    self._whole = False
                    return
        except ConnectionError:
            # It may have answered before it hung up.
            self._whole = False

    def _target(self, url: Url) -> tuple[str, dict[str, str]]:
        """What is asked for, as the next hop wants it, and the headers that are for that alone."""
        scheme, _, _, proxy, _ = self._place
        if proxy is None or scheme == "https":
            return url.target, {}
        return f"http://{url.authority}{url.target}", login(read_proxy(proxy))

    def finish(self) -> None:
        """The answer was read to its end, so the connection can be used again."""
        self._ends.close()
        if self._whole and self._connection.sock is not None:
            self._wire.keep(self._place, self._connection)
        else:
            self._connection.close()

    def give_up(self) -> None:
        """The connection is of no use any more."""
        self._ends.close()
        self._connection.close()

    def hurry(self) -> None:
        """What is read from now on is not wanted and must come at once."""
        if self._connection.sock is not None:
            self._connection.sock.settimeout(DRAIN_SECONDS)


class _Headers:
    """``wire.Headers``, of lines as http.client reads them."""

    def __init__(self, lines: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in lines:
            self._values.setdefault(name.lower(), []).append(" ".join(value.split("\r\n")))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The first of the name."""
        return self._values.get(name.lower(), [default])[0]

    def getall(self, name: str, default: list[str]) -> list[str]:
        """All of the name."""
        return self._values.get(name.lower(), default)


class _Response(Response):
    def __init__(self, exchange: _Exchange, method: str, url: Url, response: HTTPResponse) -> None:
        self.method = method
        self.url = url
        self.status = response.status
        self.headers = _Headers(response.headers.items())
        self._exchange: _Exchange | None = exchange
        self._response = response

    async def chunks(self) -> AsyncIterator[bytes]:
        while piece := self._read(PIECE):
            yield piece
        self._end()

    def release(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        left = self._response.length
        if left is not None and left <= DRAINED and not self._response.chunked:
            try:
                self._drain(exchange)
            except (WireError, Cancelled):
                pass
            else:
                return
        self._exchange = None
        self._response.close()
        exchange.give_up()

    def _read(self, size: int) -> bytes:
        with _translated():
            current().check()
            piece = self._response.read1(size)
            current().check()
            if not piece and self._response.length:
                raise ConnectionResetError(errno.ECONNRESET, "the answer ended early")
        return piece

    def _drain(self, exchange: _Exchange) -> None:
        if self._response.length:
            exchange.hurry()
            while self._read(PIECE):
                pass
        self._end()

    def _end(self) -> None:
        exchange, self._exchange = self._exchange, None
        self._response.close()
        if exchange is not None:
            exchange.finish()


def _is_secure(sock: socket.socket) -> bool:
    """Whether it speaks TLS; where nobody does, ssl is not imported."""
    loaded = sys.modules.get("ssl")
    return loaded is not None and isinstance(sock, loaded.SSLSocket)


def _all_sent(sock: socket.socket, piece: bytes) -> bool:
    """Send; False, with some of it unsent, when the other side answers before its end."""
    if _is_secure(sock):
        # What can be read there need not be an answer.
        sock.sendall(piece)
        return True
    timeout = sock.gettimeout()
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLOUT)
    rest = memoryview(piece)
    while rest:
        events = poll.poll(None if timeout is None else timeout * 1000)
        if not events:
            raise TimeoutError(errno.ETIMEDOUT, "it does not take what is sent")
        if events[0][1] & ~select.POLLOUT:
            return False
        rest = rest[sock.send(rest) :]
    return True


def _readable(sock: socket.socket) -> bool:
    """Whether something is there, which between requests can only be the end."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _shut(sock: socket.socket) -> None:
    """Wake whoever waits on it."""
    with suppress(OSError):
        # An SSLSocket's own would speak TLS from this thread.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _tls_fault(error: OSError) -> WireError:
    """What it means that a connection was made, and TLS was not."""
    import ssl

    current().check()
    if isinstance(error, ssl.SSLCertVerificationError):
        return CertificateError(error)
    return HandshakeError(error) if isinstance(error, ssl.SSLError) else ConnectError(error)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (InvalidURL, UnicodeError) as error:
        raise AddressError(error) from error
    except (HTTPException, OSError) as error:
        # A cancelled scope broke it.
        current().check()
        raise WireError(error) from error
