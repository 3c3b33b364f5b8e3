"""A kill, a full disk and a failing one at each disk call of a fixed story, one after the other.

The story uploads in every way, mounts, pushes, moves and deletes. After a kill the store is started
again and the client goes on where it was; after an error the same request is sent again. Either
way everything that was promised must be there, and the story must come to its end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from images.mediatype import OCI_INDEX, OCI_MANIFEST
from tests.registry import faults, kit
from tests.registry.contract import holds
from tests.registry.crashmodel import Client, Failing, Unreachable
from tests.registry.kit import digest_of
from tests.registry.nursery import Nursery
from tests.registry.test_durability import blobs_are_whole, store_is_clean

LAYER = bytes(range(256)) * 600
SECOND = LAYER[::-1]
IMAGE = kit.manifest(layers=[LAYER])
MOVED = kit.manifest(layers=[SECOND], annotations={"moved": "yes"})
REFERRER = kit.manifest(subject=kit.descriptor(IMAGE, OCI_MANIFEST))
INDEX = kit.index([IMAGE, MOVED])

Step = Callable[[Client], object]

STORY: tuple[Step, ...] = (
    lambda c: c.upload("a", b"{}"),
    lambda c: c.begin("a", LAYER),
    lambda c: c.advance(100_000),
    lambda c: c.advance(20_000),
    lambda c: c.finish(),
    lambda c: c.push("a", IMAGE, "t"),
    lambda c: c.begin("a", SECOND),
    lambda c: c.advance(5),
    lambda c: c.cancel(),
    lambda c: c.upload("a", SECOND),
    lambda c: c.push("a", MOVED, "t"),
    lambda c: c.push("a", REFERRER, "r"),
    lambda c: c.push("a", INDEX, "i", OCI_INDEX),
    lambda c: c.mount("a", "b", LAYER),
    lambda c: c.upload("b", b"{}"),
    lambda c: c.push("b", IMAGE, "t"),
    lambda c: c.delete("/v2/a/manifests/i"),
    lambda c: c.delete(f"/v2/b/manifests/{digest_of(IMAGE)}"),
    lambda c: c.delete(f"/v2/b/blobs/{digest_of(LAYER)}"),
    lambda c: c.delete(f"/v2/a/manifests/{digest_of(REFERRER)}"),
)
SESSION_STEPS = frozenset({1, 2, 3, 4, 6, 7, 8})


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


def points(nursery: Nursery, root: Path, kind: str) -> int:
    """How many points the story passes when nothing goes wrong."""
    client = Client("c")
    with nursery.server(root, fault=f"{kind}:0") as server:
        client.port = server.port
        for step in STORY:
            step(client)
        client.check()
    return int(root.with_suffix("." + faults.COUNT_FILE).read_text())


def go_on(client: Client, position: int) -> None:
    """The rest of the story, from a step that did not succeed; sessions begin anew."""
    if position in SESSION_STEPS:
        client.session = None
        position = 1 if position < 5 else 6
    for step in STORY[position:]:
        step(client)
    client.check()
    referrers = client.call("GET", f"/v2/a/referrers/{digest_of(IMAGE)}")[2]
    assert json.loads(referrers)["manifests"] == []


def killed_at(nursery: Nursery, root: Path, number: int) -> None:
    client = Client("c")
    reached = 0
    with nursery.server(root, fault=f"kill:{number}") as server:
        client.port = server.port
        try:
            for step in STORY:
                step(client)
                reached += 1
        except Unreachable:
            server.wait()
    store_is_clean(root)
    with nursery.server(root) as server:
        client.port = server.port
        unfinished = dict(client.doubt)
        client.check()
        if unfinished and all(client.readable.get(p) == body for p, body in unfinished.items()):
            reached += 1  # it had happened, only the answer was lost
        go_on(client, reached)


def failed_at(nursery: Nursery, root: Path, kind: str, number: int) -> None:
    client = Client("c")
    with nursery.server(root, fault=f"{kind}:{number}") as server:
        client.port = server.port
        position, status = until_failure(client)
        if status is not None:
            assert status == (507 if kind == "ENOSPC" else 503)
            blobs_are_whole(root)
        client.check()
        go_on(client, position)


def until_failure(client: Client) -> tuple[int, int | None]:
    """Tell the story; the step that failed and its status, None when none did."""
    for position, step in enumerate(STORY):
        try:
            step(client)
        except Failing as failure:
            return position, failure.status
    return len(STORY), None


def sample(count: int, every: int) -> range:
    """All points, or every so many-th of them."""
    return range(1 + every // 2, count + 1, every)


SOME = pytest.param(6, id="some")
ALL = pytest.param(1, id="all", marks=[pytest.mark.soak, pytest.mark.timeout(600)])


@holds(
    "A 201 survives kill -9 and power loss.",
    "A failed write leaves nothing readable.",
    "What is deleted is gone at once and stays gone.",
    "An upload session survives.",
)
@pytest.mark.parametrize("every", [SOME, ALL])
def test_abuse_01_kill_at_each_disk_call(nursery: Nursery, tmp_path: Path, every: int) -> None:
    count = points(nursery, tmp_path / "count", "kill")
    assert count > 100
    for number in sample(count, every):
        killed_at(nursery, tmp_path / str(number), number)


@holds(
    "A full or failing disk costs the request, not the store.",
    "A failed write leaves nothing readable.",
)
@pytest.mark.parametrize("every", [SOME, ALL])
@pytest.mark.parametrize("kind", ["ENOSPC", "EIO"])
def test_abuse_02_an_error_at_each_disk_call(
    nursery: Nursery, tmp_path: Path, kind: str, every: int
) -> None:
    count = points(nursery, tmp_path / "count", kind)
    assert count > 50
    for number in sample(count, every):
        failed_at(nursery, tmp_path / str(number), kind, number)
