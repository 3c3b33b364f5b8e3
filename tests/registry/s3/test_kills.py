"""kill -9 at every request that an upload makes of the store: nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
from itertools import count
from typing import Any

import pytest

from images.digest import Digest
from registry.s3.bucket import Bucket
from registry.s3.storage import ObjectStorage
from tests.registry.s3.kit import PART, Server, Store

pytestmark = pytest.mark.peer

BIG = os.urandom(2 * PART + 99)
CUT = PART + 17
DIGEST = Digest.of(BIG)
WRITING = ("begin", "part", "part_of", "put", "complete", "copy", "delete", "abort")


class Deadly:
    """A bucket that kills its process at a request, before or after it was made."""

    def __init__(self, bucket: Bucket, fatal: int, *, after: bool) -> None:
        self._bucket = bucket
        self._left = fatal
        self._after = after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._bucket, name)
        if name not in WRITING:
            return method

        def call(*arguments: Any, **options: Any) -> Any:
            fatal, self._left = self._left == 0, self._left - 1
            if fatal and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = method(*arguments, **options)
            if fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return call


def upload(storage: ObjectStorage, acknowledge: int) -> None:
    """Two requests and a commit; a byte goes to ``acknowledge`` for each that was answered."""
    stage = storage.create("u", "sha256")
    for data in (BIG[:CUT], BIG[CUT:]):
        assert stage.acquire()
        stage.append([data])
        stage.release()
        os.write(acknowledge, b".")
    assert stage.acquire()
    stage.commit(DIGEST)
    stage.release()
    os.write(acknowledge, b".")


def killed_at(store: Store, fatal: int, *, after: bool) -> tuple[int, bool]:
    """Run an upload in a child; returns how much it acknowledged, and whether it was killed."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(receive)
            storage = store.again()
            storage._bucket = Deadly(store.bucket, fatal, after=after)  # type: ignore[assignment]
            upload(storage, send)
            status = 0
        finally:
            os._exit(status)
    os.close(send)
    with os.fdopen(receive, "rb") as answers:
        acknowledged = len(answers.read())
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return acknowledged, status != 0


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_each_request(s3_server: Server, tmp_path: Any, after: bool) -> None:
    for fatal in count():
        # The child gets connections of its own, and the parent keeps its.
        s3_server.__dict__.pop("client", None)
        store = Store(s3_server, tmp_path / str(fatal))
        acknowledged, killed = killed_at(store, fatal, after=after)
        if not killed:
            assert fatal > 8
            break
        _go_on(store, acknowledged)
        assert store.storage.sweep(before=0.0) == 0
        store.end_claims()
        store.storage.empty_trash()
        store.storage.sweep_stages()
        assert store.names() == [store.storage.find(DIGEST).name]
        assert not store.multiparts()
        store.close()
    store.close()


def _go_on(store: Store, acknowledged: int) -> None:
    """What a client does that lost its connection: ask, send the rest, finish."""
    stage = store.storage.resume("u", "sha256")
    try:
        assert stage.acquire()
    except FileNotFoundError:
        pass  # a session ends with its blob, and with nothing else
    else:
        assert stage.size >= (0, CUT, len(BIG))[acknowledged]
        stage.append([BIG[stage.size :]])
        assert stage.commit(DIGEST) == len(BIG)
        stage.release()
    with store.storage.open(DIGEST) as file:
        assert file.read() == BIG
