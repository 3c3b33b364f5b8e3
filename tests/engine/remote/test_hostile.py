"""Either end of a build at another machine may say anything: it is refused, and nothing is left."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from builder.progress.tracker import Tracker
from builder.request import BuildRequest
from engine.access import Access
from engine.builds.building import Yard
from engine.remote import building
from engine.remote.channel import Channel
from engine.remote.errors import ChannelError, PeerGoneError
from engine.remote.job import Job
from engine.remote.message import Message
from engine.remote.nodes import Builder, Node
from engine.remote.placing import Elsewhere
from engine.remote.serving import PROTOCOL, serve_session
from engine.remote.values import encode
from images.errors import ImagesError
from images.store import ImageStore
from tests.builder.fakes import RecordingProgress

CLIENT = "0" * 32
NODE = Node("ssh://there.example")


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    folder = tmp_path_factory.mktemp("hostile")
    store = ImageStore.open(folder / "store")
    yield Yard(store, Access(store.directory, environ={}), str(folder / "run"))
    store.close()


class End(Channel):
    """One end of a socket pair."""

    def __init__(self, end: socket.socket, stack: ExitStack) -> None:
        reader = stack.enter_context(end.makefile("rb", buffering=0))
        super().__init__(reader, stack.enter_context(end.makefile("wb")), peer="the other end")
        self._end = end

    def hang_up(self) -> None:
        """As a process does that ends."""
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)


@contextmanager
def ends() -> Iterator[tuple[End, End]]:
    """Both ends of a channel; no end waits for ever."""
    with ExitStack() as stack:
        made = []
        for end in socket.socketpair():
            end.settimeout(60)
            made.append(End(stack.enter_context(end), stack))
        yield made[0], made[1]


def order(**changes: Any) -> dict[str, Any]:
    """A good order, changed."""
    request = BuildRequest("context", b"FROM scratch\nCOPY file /\n", register=False)
    return {**Job(request, CLIENT, (("context", "/home"),)).message(), **changes}


def served(yard: Yard, client: Callable[[Channel], None]) -> ImagesError | None:
    """What a session ends in whose client is this one."""
    found: list[ImagesError | None] = []
    with ends() as (here, there):

        def serve() -> None:
            try:
                serve_session(there, yard)
                found.append(None)
            except ImagesError as error:
                found.append(error)
            there.hang_up()

        thread = threading.Thread(target=serve)
        thread.start()
        assert here.receive("hello")["protocol"] == PROTOCOL
        client(here)
        thread.join(60)
    return found[0]


REQUEST = encode(BuildRequest("context", b"FROM scratch\n", register=False))


@pytest.mark.parametrize(
    "changes",
    [
        {"request": None},
        {"request": {"": "Secret", "id": "a", "content": {"": "bytes", "base64": ""}}},
        {"request": {**REQUEST, "build_args": 7}},
        {"request": {**REQUEST, "build_args": {"": "mapping", "items": [["a", 1]]}}},
        {"request": {**REQUEST, "context": "/etc"}},
        {"request": {**REQUEST, "dockerfile": "/etc/shadow"}},
        {"request": {**REQUEST, "register": True}},
        {"request": {**REQUEST, "ssh": {"": "mapping", "items": [["default", "/agent"]]}}},
        {"request": {**REQUEST, "platform": {"": "Platform", "text": ""}}},
        {"client": "../../etc"},
        {"client": 5},
        {"contexts": [["context"]]},
        {"contexts": [["context", "/a"], ["context", "/b"]]},
        {"contexts": [["context", "x" * 5000]]},
        {"contexts": "context"},
        {"stored": ["sha256:../../x"]},
        {"stored": "sha256:"},
        {"cache_from": [{"": "CacheSource", "kind": "local"}]},
        {"cache_to": [{"": "CacheTarget", "kind": "local"}]},
        {"labels": ["one too many"]},
        {"collects": 1},
        {"agents": [["a"]]},
        {"agents": ["x" * 999]},
        {"judged": None},
        {"lock": []},
        {"lock": {"label": "x", "entries": "!", "refresh": False, "frozen": False}},
        {"term": "x" * 999},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_orders_that_make_no_sense(yard: Yard, changes: dict[str, Any]) -> None:
    error = served(yard, lambda channel: channel.send("build", **order(**changes)))
    # A lock that is none is an error of the order, and told.
    assert type(error) is ChannelError


ROW = ["file", "f", 0o644, 3, 0, "00", {}]


@pytest.mark.parametrize(
    "row",
    [
        ["../file", *ROW[1:]],
        ["/file", *ROW[1:]],
        ["absent/file", *ROW[1:]],
        ["a\0b", *ROW[1:]],
        ["\ud800", *ROW[1:]],
        ["x" * 256, *ROW[1:]],
        ["file", "b", *ROW[2:]],
        ["file", "f", 0o10000, *ROW[3:]],
        ["file", "f", 0o644, -1, *ROW[4:]],
        ["file", "f", 0o644, 1 << 63, *ROW[4:]],
        ["file", "f", 0o644, 3, 1 << 63, *ROW[5:]],
        ["file", "f", 0o644, 3, 1.5, *ROW[5:]],
        ["file", "l", 0o644, 0, 0, "", {}],
        ["file", "l", 0o644, 0, 0, "x" * 5000, {}],
        [*ROW[:6], {"user.a": "no base64"}],
        [*ROW[:6], {"user.a": "A" * (1 << 18)}],
        [*ROW[:6], {"x" * 300: ""}],
        [*ROW[:6], []],
        ROW[:6],
    ],
    ids=range(19),
)
def test_files_that_make_no_sense(yard: Yard, row: list[Any]) -> None:
    def client(channel: Channel) -> None:
        channel.send("build", **order())
        channel.send("files", rows=[row])

    assert type(served(yard, client)) is ChannelError


def send_file(channel: Channel) -> None:
    """The bytes of ``ROW``, unless they are there."""
    channel.send_stream([b"abc"] if channel.receive("want")["numbers"] else [])


def descriptors() -> int:
    """How many are open, without those that are the collector's to close."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("pieces", [[b"a"], [b"abcd"], []], ids=len)
def test_bytes_that_are_not_those_listed_leave_no_descriptor(
    yard: Yard, pieces: list[bytes]
) -> None:
    def client(channel: Channel) -> None:
        channel.send("build", **order(contexts=[["context", "/other"]]))
        channel.send("files", rows=[ROW])
        channel.receive("want")
        # The other end may hang up before the stream's end.
        with suppress(PeerGoneError):
            channel.send_stream(pieces)

    served(yard, client)
    before = descriptors()
    for _ in range(3):
        assert type(served(yard, client)) is ChannelError
    assert descriptors() == before


@pytest.mark.parametrize(
    "says",
    [
        ("want", {"blobs": ["sha256:0"]}),
        ("want", {"blobs": "all"}),
        ("want", {}),
        ("refusal", {"call": 1}),
        ("answer", {"call": "x"}),
        ("result", {}),
        ("build", {}),
    ],
    ids=str,
)
def test_what_is_said_while_the_build_runs(yard: Yard, says: tuple[str, dict[str, Any]]) -> None:
    def client(channel: Channel) -> None:
        channel.send("build", **order())
        channel.send("files", rows=[ROW])
        send_file(channel)
        channel.send(says[0], **says[1])
        with suppress(ChannelError):
            while channel.receive().kind != "result":
                pass

    assert type(served(yard, client)) is ChannelError


def test_answers_to_no_question_are_dropped(yard: Yard) -> None:
    def client(channel: Channel) -> None:
        channel.send("build", **order())
        channel.send("files", rows=[ROW])
        send_file(channel)
        channel.send("answer", call=99)
        while channel.receive("event", "result").kind != "result":
            pass
        channel.send("want", blobs=[])

    assert served(yard, client) is None


# The other way round: a builder that wants more of its client than that lends.


def ordered(
    yard: Yard, tmp_path: Path, builder: Callable[[Channel], None], *, content: bytes = b"abc"
) -> ImagesError:
    """What a build ends in whose builder is this one."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "file").write_bytes(content)
    (context / "folder").mkdir()
    request = BuildRequest(context, b"FROM scratch\nCOPY file /\n")
    with ends() as (here, there):

        def serve() -> None:
            with suppress(ChannelError):
                there.send("hello", protocol=PROTOCOL, native="linux/amd64", platforms=[])
                builder(there)
            there.hang_up()

        thread = threading.Thread(target=serve)
        thread.start()

        @contextmanager
        def connect(node: Node) -> Iterator[Channel]:
            yield here

        tracker = Tracker(RecordingProgress())
        elsewhere = Elsewhere(Builder("x", (NODE,)))
        with pytest.raises(ImagesError) as caught:
            building.build(request, NODE, yard, tracker, elsewhere=elsewhere, connect=connect)
        here.hang_up()
        thread.join(60)
    return caught.value


def taken(channel: Channel) -> None:
    """Take the order and its files."""
    channel.receive("build")
    channel.receive("files")
    channel.send("want", numbers=[])
    list(channel.receive_stream())


@pytest.mark.parametrize(
    "numbers", [[9], [-1], [0, 0], [1], ["0"], 0, None, list(range(9))], ids=str
)
def test_files_that_were_not_listed(yard: Yard, tmp_path: Path, numbers: Any) -> None:
    def builder(channel: Channel) -> None:
        channel.receive("build")
        channel.receive("files")
        channel.send("want", numbers=numbers)
        list(channel.receive_stream())

    assert type(ordered(yard, tmp_path, builder)) is ChannelError


DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "says",
    [
        ("event", {"event": {"": "Secret", "id": "a"}}),
        ("event", {"event": {"": "VertexDone", "vertex": "1", "time": 1}}),
        ("event", {"event": {"": "VertexDone", "vertex": 1, "time": float("inf")}}),
        ("event", {}),
        ("ask", {"call": 1, "about": "file", "path": "/etc/shadow"}),
        ("ask", {"call": "1", "about": "agent"}),
        ("shell", {}),
        ("terminal", {"data": ""}),
        ("result", {"result": None, "solved": [], "mounts": [], "blobs": []}),
        ("result", {"result": REQUEST, "solved": [], "mounts": [], "blobs": []}),
        ("error", {"what": 5}),
        ("error", {"what": "x" * (1 << 20), "code": "", "shown": ""}),
        ("hello", {}),
    ],
    ids=lambda says: says[0],
)
def test_a_builder_that_makes_no_sense(
    yard: Yard, tmp_path: Path, says: tuple[str, dict[str, Any]]
) -> None:
    def builder(channel: Channel) -> None:
        taken(channel)
        channel.send(says[0], **says[1])
        with suppress(ChannelError):
            channel.receive()

    assert type(ordered(yard, tmp_path, builder)) is ChannelError


@pytest.mark.parametrize(
    "asks",
    [
        {"about": "agent", "name": "default", "connection": 1, "data": "AA=="},
        {"about": "agent", "name": "default", "connection": 1, "data": "A" * (1 << 20)},
        {"about": "cache-index", "cache": 0},
        {"about": "cache-piece", "cache": 0, "digest": DIGEST, "offset": 0},
        {"about": "cache-piece", "cache": 0, "digest": "/etc/shadow", "offset": 0},
        {"about": "image", "reference": "a", "digest": "b"},
    ],
    ids=lambda asks: asks["about"],
)
def test_what_is_not_lent_is_not_given(yard: Yard, tmp_path: Path, asks: dict[str, Any]) -> None:
    answers: list[Message] = []

    def builder(channel: Channel) -> None:
        taken(channel)
        channel.send("ask", call=1, **asks)
        answers.append(channel.receive("answer", "refusal"))
        channel.send("error", what="enough", where=None, fix=None, code="x", shown="")

    assert ordered(yard, tmp_path, builder).what == "enough"
    assert [answer.kind for answer in answers] == ["refusal"]


def test_a_builder_that_refuses_in_the_middle_of_a_file_says_why(
    yard: Yard, tmp_path: Path
) -> None:
    def builder(channel: Channel) -> None:
        channel.receive("build")
        channel.receive("files")
        channel.send("want", numbers=[0])
        channel.send("error", what="no space left", where=None, fix=None, code="x", shown="")

    error = ordered(yard, tmp_path, builder, content=bytes(16 << 20))
    assert error.what == "no space left"
    assert error.__notes__ == [f"on {NODE.endpoint}"]


def test_a_builder_that_goes_away_is_told(yard: Yard, tmp_path: Path) -> None:
    def builder(channel: Channel) -> None:
        taken(channel)
        event = {"": "VertexStarted", "vertex": 1, "name": "[1/1] RUN x", "time": 1.0}
        channel.send("event", event=event)

    error = ordered(yard, tmp_path, builder)
    assert "went away in the middle of the build" in error.what
    assert error.where == NODE.endpoint
