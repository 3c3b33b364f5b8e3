import os
import time

import pytest

from images import leases
from images.database import IMAGES_MIGRATIONS, Database
from images.digest import Digest
from images.leases import Lease


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "db", {"images": IMAGES_MIGRATIONS})
    yield database
    database.close()


def count(database):
    return database.one("SELECT (SELECT count(*) FROM leases), (SELECT count(*) FROM pins)")


def test_ends_with_its_block(database):
    with Lease(database, "build x") as lease:
        lease.add(Digest.of(b"a"))
        lease.add(Digest.of(b"a"))
        assert count(database) == (1, 1)
        assert leases.oldest(database) == pytest.approx(time.time(), abs=100)
        assert leases.expire(database, now=time.time()) == 0
    assert count(database) == (0, 0)
    assert leases.oldest(database) is None


def test_ends_when_its_time_is_up(database):
    with Lease(database, "x", ttl=10, clock=lambda: 1000.0) as lease:
        lease.add(Digest.of(b"a"))
        assert leases.expire(database, now=1009.0) == 0
        assert leases.expire(database, now=1010.0) == 1
        assert count(database) == (0, 0)


def test_ends_with_its_process(database):
    pid = os.fork()
    if pid == 0:
        with Lease(database, "x") as lease:
            lease.add(Digest.of(b"a"))
            os._exit(0)
    os.waitpid(pid, 0)
    assert count(database) == (1, 1)
    assert leases.expire(database, now=time.time()) == 1
    assert count(database) == (0, 0)


def test_a_reused_process_id_is_another_process(database):
    with Lease(database, "x"):
        namespace, _, started = leases.process_identity(os.getpid()).partition(":")
        database.execute("UPDATE leases SET process = ?", (f"{namespace}:{int(started) - 1}",))
        assert leases.expire(database, now=time.time()) == 1


def test_a_process_of_another_namespace_is_trusted_until_its_time_is_up(database):
    with Lease(database, "x", ttl=10):
        database.execute("UPDATE leases SET process = '1:2', pid = 999999")
        assert leases.expire(database, now=time.time()) == 0
        assert leases.expire(database, now=time.time() + 20) == 1


def test_identity():
    assert leases.process_identity(os.getpid()) == leases.process_identity(os.getpid())
    assert leases.process_identity(2**22 + 1) is None


def test_the_oldest_counts(database):
    with (
        Lease(database, "1", clock=lambda: 2000.0),
        Lease(database, "2", clock=lambda: 1000.0),
        Lease(database, "3", clock=lambda: 3000.0),
    ):
        assert leases.oldest(database) == 1000.0
