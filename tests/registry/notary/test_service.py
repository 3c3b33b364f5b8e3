"""Keys at rest, races, deletion and the changefeed."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from registry.errors import RegistryStartError
from registry.notary.errors import NotaryError
from registry.notary.service import Notary
from registry.vault import VARIABLE, Vault
from tests.registry.notary.conftest import Clock, Publisher
from tests.trust.tuf.kit import GUN, MANIFEST, key
from trust.tuf import roles, tags

SECRET = {VARIABLE: "correct horse"}


def test_a_key_is_made_once_and_then_stays(notary):
    first = notary.key(GUN, "timestamp")
    assert notary.key(GUN, "timestamp") == first
    assert notary.key(GUN, "snapshot") != first
    assert notary.key(f"{GUN}2", "timestamp") != first


def test_a_rotated_key_counts_once_a_root_names_it(publisher):
    before = publisher.server_key("timestamp")
    pending = publisher.notary.rotate_key(GUN, "timestamp")
    assert publisher.server_key("timestamp") == before
    from trust.tuf.keys import parse_key

    fresh = parse_key(pending, limit=1 << 16)
    publisher.publish(publisher.draft().rotate("timestamp", [fresh]))
    assert publisher.server_key("timestamp") == fresh
    assert tags.resolve(publisher.read(), "latest")


def test_private_keys_lie_sealed_and_private(publisher, tmp_path: Path):
    folder = tmp_path / "notary"
    assert (folder / "master.key").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    sealed = publisher.notary.store.keys(GUN, "timestamp")[0].sealed
    assert b"\x30\x81\x87\x02\x01\x00" not in sealed


def test_a_sealed_key_opens_at_its_own_place_only(tmp_path: Path):
    vault = Vault.open(tmp_path, None)
    sealed = vault.seal(key("alice"), "a")
    assert vault.unseal(sealed, "a").key == key("alice").key
    with pytest.raises(ValueError, match="does not open"):
        vault.unseal(sealed, "b")
    with pytest.raises(ValueError, match="does not open"):
        vault.unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]), "a")


def test_a_wrong_passphrase_is_told_at_start(tmp_path: Path, clock: Clock):
    Notary.open(tmp_path, environ=SECRET, now=clock).key(GUN, "timestamp")
    Notary.open(tmp_path, environ=SECRET, now=clock)
    with pytest.raises(RegistryStartError, match="passphrase"):
        Notary.open(tmp_path, environ={VARIABLE: "wrong"}, now=clock)
    assert not (tmp_path / "master.key").exists()


def test_a_lost_master_key_is_told_at_start(publisher, tmp_path: Path, clock: Clock):
    os.remove(tmp_path / "notary/master.key")
    with pytest.raises(RegistryStartError):
        Notary.open(tmp_path / "notary", environ={}, now=clock)


def test_of_processes_that_start_at_once_all_have_one_master_key(tmp_path: Path, clock: Clock):
    found: list[bytes] = []

    def start() -> None:
        found.append(Notary.open(tmp_path / "n", environ={}, now=clock).key(GUN, "timestamp"))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4


def test_concurrent_publishes_never_tear_a_set(publisher, tmp_path: Path, clock: Clock):
    """Two processes, many publishers: each is told 200 or VERSION, and every state is whole."""
    others = [Notary.open(tmp_path / "notary", environ={}, now=clock) for _ in range(2)]
    published: list[str] = []
    torn: list[BaseException] = []

    def work(number: int) -> None:
        mine = Publisher(others[number % 2])
        for turn in range(6):
            name = f"tag-{number}-{turn}"
            try:
                mine.publish(mine.draft().add_target(roles.RELEASES, name, MANIFEST))
                published.append(name)
            except NotaryError as error:
                if error.code != "VERSION":
                    torn.append(error)
            except Exception as error:  # noqa: BLE001 -- shown below
                torn.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not torn
    assert published
    names = {tag.name for tag in tags.released(publisher.read())}
    assert names == {"latest", *published}


def test_a_deleted_collection_is_gone_with_its_keys(publisher):
    old = publisher.server_key("timestamp")
    publisher.notary.delete(GUN)
    publisher.notary.delete(GUN)
    for role in ("root", "timestamp", "snapshot", "targets"):
        with pytest.raises(NotaryError, match="METADATA_NOT_FOUND"):
            publisher.notary.current(GUN, role)
    assert publisher.server_key("timestamp") != old
    publisher.publish(publisher.first())
    assert tags.resolve(publisher.read(), "latest")


def test_the_changefeed_reads_forwards_and_backwards(publisher):
    for turn in range(4):
        publisher.publish(publisher.draft().add_target(roles.RELEASES, f"v{turn}", MANIFEST))
    publisher.notary.delete(GUN)
    feed = publisher.notary.changes
    everything = feed("", 0, 100)
    assert [change.category for change in everything] == ["update"] * 5 + ["deletion"]
    assert [change.version for change in everything] == [1, 2, 3, 4, 5, 0]
    ids = [change.id for change in everything]
    assert [change.id for change in feed(GUN, ids[1], 2)] == ids[2:4]
    assert [change.id for change in feed(GUN, ids[4], -2)] == ids[2:4]
    assert [change.id for change in feed(GUN, -1, 3)] == ids[3:]
    assert feed("registry.example.com/other", 0, 100) == []


def test_a_copied_root_folder_goes_on(publisher, tmp_path: Path, clock: Clock):
    publisher.notary.close()
    shutil.copytree(tmp_path / "notary", tmp_path / "copy")
    moved = Publisher(Notary.open(tmp_path / "copy", environ={}, now=clock))
    moved.publish(moved.draft().add_target(roles.RELEASES, "v2", MANIFEST))
    assert tags.resolve(moved.read(), "v2")
