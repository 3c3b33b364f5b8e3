"""Coroutines without an event loop: what waits is woken when its scope is cancelled."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress

import pytest

from images.client import ClientOptions, RegistryClient
from images.client.errors import RegistryConnectionError, RegistryError
from images.client.plain_wire import PlainWire
from images.client.retry import RetryPolicy
from images.client.scope import Cancelled, Scope, current, run
from images.client.threads import gather, in_thread, is_cancellation, pause, run_bounded, to_thread
from images.errors import InternalError
from images.reference import Reference


def test_a_coroutine_returns_and_raises_as_a_function() -> None:
    async def inner(value: int) -> int:
        return await to_thread(lambda: value) + await in_thread(lambda: 1)

    assert run(inner(1)) == 2
    with pytest.raises(ZeroDivisionError):
        run(in_thread(lambda: 1 // 0))


def test_who_needs_an_event_loop_is_told_and_closed() -> None:
    closed = []

    async def waits() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            closed.append(True)

    with pytest.raises(InternalError, match="event loop"):
        run(waits())
    assert closed == [True]


def test_several_jobs_are_several_threads_and_results_keep_their_order() -> None:
    meeting = threading.Barrier(3, timeout=30)

    def job(number: int) -> Callable[[], object]:
        async def one() -> int:
            meeting.wait()
            return number

        return one

    assert run(gather([job(n) for n in range(3)], 3)) == [0, 1, 2]  # type: ignore[misc]
    assert run(gather([], 3)) == []  # type: ignore[var-annotated]


def test_the_first_failure_wakes_the_others_and_is_raised() -> None:
    waiting = threading.Event()
    heard: list[bool] = []

    async def wait() -> None:
        waiting.set()
        try:
            await pause(60)
        except BaseException as error:
            heard.append(is_cancellation(error))
            raise

    async def fail() -> None:
        waiting.wait(30)
        raise KeyError("what")

    async def late() -> None:
        heard.append(False)

    began = time.monotonic()
    with pytest.raises(KeyError, match="what"):
        run(run_bounded([wait, fail, late], 2))
    assert heard == [True]
    assert time.monotonic() - began < 50
    assert not is_cancellation(KeyError())


def test_scopes_end_with_the_one_around_them_and_not_with_the_one_inside() -> None:
    outer, inner = Scope(), Scope()
    with outer.entered():
        with inner.entered():
            assert current() is inner
            inner.cancel()
        assert current() is outer
        current().check()
        with Scope().entered() as other:
            outer.cancel()
            with pytest.raises(Cancelled):
                other.check()
    with pytest.raises(Cancelled), outer.ending(lambda: None):
        pytest.fail("it was over before")


@pytest.fixture
def silent() -> Iterator[tuple[str, list[socket.socket]]]:
    """A server that takes connections and says nothing; who was connected is noted."""
    connections: list[socket.socket] = []
    with ExitStack() as stack:
        listener = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))

        def serve() -> None:
            while True:
                try:
                    connections.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", connections
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in connections:
            connection.close()


def plain(**options: object) -> RegistryClient:
    settings = ClientOptions(
        **{"certificate_dirs": (), "environ": {}, "retry": RetryPolicy(1), **options}  # type: ignore[arg-type]
    )
    return RegistryClient(None, settings, wire=PlainWire(settings))


def test_a_server_that_says_nothing_is_left_when_the_scope_ends(
    silent: tuple[str, list[socket.socket]],
) -> None:
    host, connections = silent
    scope, ended, client = Scope(), list[BaseException](), plain()

    def ask() -> None:
        try:
            with scope.entered():
                run(client.resolve(Reference.parse(f"{host}/app:1")))
        except BaseException as error:  # noqa: BLE001 - this is what is looked at
            ended.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not connections and thread.is_alive():
        time.sleep(0.01)
    scope.cancel()
    thread.join(60)
    run(client.close())
    assert [type(error) for error in ended] == [Cancelled]


def test_a_server_that_says_nothing_is_given_up_after_the_timeout(
    silent: tuple[str, list[socket.socket]],
) -> None:
    host, _ = silent
    with pytest.raises(RegistryConnectionError, match="no answer"):
        run(plain(read_timeout=0.2).resolve(Reference.parse(f"{host}/app:1")))


def answers(*parts: bytes, repeat: int = 1) -> str:
    """A server for one request after another, each on a connection of its own; its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            for _ in range(64):
                connection, _ = listener.accept()
                # The client may have had enough, at any moment.
                with connection, suppress(BrokenPipeError, ConnectionResetError):
                    if connection.recv(1, socket.MSG_PEEK)[:1] == b"\x16":
                        continue
                    head = b""
                    while not head.endswith(b"\r\n\r\n") and (byte := connection.recv(1)):
                        head += byte
                    if head.startswith(b"GET /end"):
                        return
                    for part in parts * repeat:
                        connection.sendall(part)

    threading.Thread(target=serve, daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}"


def end(host: str) -> None:
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port))) as connection:
        connection.sendall(b"GET /end HTTP/1.1\r\n\r\n")
        connection.recv(1)


@pytest.mark.parametrize(
    ("parts", "repeat"),
    [
        ((b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 70_000 + b"\r\n\r\n"), 1),
        ((b"HTTP/1.1 200 OK\r\nA: b\r\n", *[b"A: b\r\n"] * 200, b"\r\n"), 1),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",), 1),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n0123456789",), 1),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",), 1),
        ((b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (1 << 20)), 6),
        ((b"HTTP/1.1 100 Continue\r\n\r\n",), 3),
    ],
    ids=["header", "headers", "lengths", "length", "chunk", "endless", "continue"],
)
def test_answers_that_are_too_much_or_no_answer(parts: tuple[bytes, ...], repeat: int) -> None:
    host, client = answers(*parts, repeat=repeat), plain(read_timeout=20)
    try:
        with pytest.raises(RegistryError) as caught:
            run(client.manifest(Reference.parse(f"{host}/app:1")))
    finally:
        run(client.close())
        end(host)
    assert str(caught.value).isprintable()
