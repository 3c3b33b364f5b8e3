"""What the two ends of a build at another machine read of each other."""

from __future__ import annotations

import io
import json
from random import Random

from builder.progress.events import VertexOutput, VertexStarted
from builder.request import BuildRequest, Change
from builder.runner import Resources, Ulimit
from builder.secrets import Secret
from engine.builds.remote_cache.options import parse_sources
from engine.remote.channel import Channel
from engine.remote.errors import ChannelError
from engine.remote.job import Job
from engine.remote.lending import Lending
from engine.remote.listing import read_rows
from engine.remote.message import Message
from engine.remote.values import EVENTS, decode, encode
from images.digest import Digest
from images.errors import ImagesError
from images.platform import Platform
from tests.fuzz.harness import Target

ODD = (None, True, -1, 0, 1, 2**63, 1.5, "", "x", "../..", [], {}, [[]], {"": "Digest"}, "\ud800")


def orders() -> list[bytes]:
    """A plain order, and one with everything."""
    request = BuildRequest("context", b"FROM scratch\n", register=False)
    full = BuildRequest(
        "context",
        b"FROM scratch\n",
        build_args={"a": "b"},
        platform=Platform("linux", "amd64"),
        secrets=(Secret("s", b"\0"),),
        resources=Resources(ulimits=(Ulimit("nofile", 1, 2),)),
        register=False,
    )
    own = (("context", "/home/me"),)
    jobs = (
        Job(request, "0" * 32, own),
        Job(
            full,
            "f" * 32,
            own,
            stored=(Digest.of(b""),),
            cache_from=parse_sources(["a.example/b:c"]),
            agents=("default",),
            judged=True,
            term="xterm",
        ),
    )
    return [json.dumps(job.message()).encode() for job in jobs]


def rows() -> list[bytes]:
    """The list of a small context."""
    listed = [
        ["d", "d", 0o755, 0, 1, "", {}],
        ["d/f", "f", 0o644, 3, -1, "00", {"user.a": "AA=="}],
        ["l", "l", 0o777, 0, 0, "d/f", {}],
    ]
    return [json.dumps(listed).encode()]


def shown() -> list[bytes]:
    """Events of a build."""
    events = (
        VertexStarted(1, "RUN x", 2.5, inputs=(1,), changes=(Change("file", "a"),)),
        VertexOutput(1, 2, b"\xff", 0.0),
    )
    return [json.dumps(encode(event)).encode() for event in events]


def odd(random: Random, good: bytes) -> bytes:
    """A good document with a value somewhere that is none."""
    document = json.loads(good)
    places = [document]
    for place in places:
        inner = place.values() if isinstance(place, dict) else place
        places += [item for item in inner if isinstance(item, dict | list)]
    place = random.choice([it for it in places if it])
    key = random.choice(sorted(place) if isinstance(place, dict) else range(len(place)))
    place[key] = random.choice(ODD)
    return json.dumps(document).encode()


def order(data: bytes) -> object:
    """The message that begins a build."""
    document = _loads(data)
    if not isinstance(document, dict):
        raise ChannelError("no message")
    return Job.of(Message(document))


def listing(data: bytes) -> object:
    """The files of a context."""
    return read_rows(_loads(data))


def event(data: bytes) -> object:
    """What is shown of a build."""
    return decode(_loads(data), *EVENTS)


def conversation(data: bytes) -> None:
    """Messages and questions, one after the other."""
    channel = Channel(io.BytesIO(data), io.BytesIO(), peer="x")  # type: ignore[arg-type]
    lending = Lending(channel, agents={}, caches=(), access=None)
    try:
        while True:
            message = channel.receive()
            if message.kind == "ask":
                lending.answer(message)
    finally:
        lending.close()


def conversations() -> list[bytes]:
    """A conversation of two messages and a stream."""
    out = io.BytesIO()
    channel = Channel(io.BytesIO(), out, peer="x")  # type: ignore[arg-type]
    channel.send("ask", call=1, about="url", url="http://a", pinned=True)
    channel.send("ask", call=2, about="cache-piece", cache=0, digest="sha256:0", offset=0)
    channel.send("bye")
    channel.send_stream([b"abc"])
    return [out.getvalue()]


def _loads(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ChannelError("no JSON") from error


TARGETS = (
    Target(
        "builder-order",
        order,
        (ImagesError,),
        orders,
        lambda random: odd(random, random.choice(orders())),
        tokens=(b'{"": "BuildRequest"', b'{"": "mapping", "items": [', b'"path": "/etc"'),
        size=16 << 10,
    ),
    Target(
        "builder-files",
        listing,
        (ChannelError,),
        rows,
        lambda random: odd(random, rows()[0]),
        tokens=(b'"../x"', b'["a/b", "l", 0, 0, 0, "/", {}]'),
    ),
    Target(
        "builder-event",
        event,
        (ChannelError,),
        shown,
        lambda random: odd(random, random.choice(shown())),
    ),
    Target("builder-channel", conversation, (ChannelError,), conversations),
)
