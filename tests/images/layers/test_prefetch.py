import io
import threading

import pytest

from images.errors import InvalidArchiveError
from images.layers.prefetch import Prefetch


def test_the_same_bytes():
    data = bytes(range(256)) * 50_000
    with Prefetch(io.BytesIO(data)) as ahead:
        assert b"".join(iter(lambda: bytes(ahead.read(100_000)), b"")) == data
        assert not ahead.read(1)


def test_errors_come_out_where_the_bytes_would_have():
    class Breaks(io.BytesIO):
        def read(self, size=-1):
            data = super().read(size)
            if not data:
                raise InvalidArchiveError("gzip stream is truncated")
            return data

    with Prefetch(Breaks(b"abc")) as ahead:
        assert ahead.read(10) == b"abc"
        with pytest.raises(InvalidArchiveError, match="truncated"):
            ahead.read(10)
        assert not ahead.read(10)


def test_leaving_early_ends_the_thread():
    class Endless:
        def read(self, size: int) -> bytes:
            return bytes(size)

    # Threads of earlier tests may end meanwhile, so it is not their number that counts.
    before = set(threading.enumerate())
    with Prefetch(Endless()) as ahead:
        ahead.read(10)
    assert set(threading.enumerate()) <= before
