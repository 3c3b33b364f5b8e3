"""The database under several processes: who wants to write queues in the kernel."""

from __future__ import annotations

import fcntl
import os
import threading
from functools import partial
from pathlib import Path

from registry.index import SqliteIndex
from tests.registry.kit import digest_of


def test_writers_of_several_processes_queue(tmp_path: Path) -> None:
    """SQLite's own wait sleeps for ever longer, and starves whoever sleeps."""
    index = SqliteIndex(tmp_path)
    link = partial(index.link_blob, "a", digest_of(b"x"), 1)
    other = os.open(tmp_path / "writer.lock", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    writer = threading.Thread(target=index.write, args=("a", link))
    writer.start()
    writer.join(0.2)
    assert writer.is_alive(), "it waits for its turn"
    assert index.blob("a", digest_of(b"x")) is None, "and reads do not"
    os.close(other)
    writer.join(60)
    assert not writer.is_alive()
    assert index.blob("a", digest_of(b"x")) is not None
    index.close()
