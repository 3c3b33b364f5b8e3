"""kill -9 at every step of a collection: the store is whole, and the next one ends the work.

A child collects and is killed when it enters the n-th of its commits, renames and unlinks, for
every n there is; so each gap between two effects on the disk is tried once.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from registry.collection.settings import CollectionSettings, UntaggedRule
from registry.inspection.check import Severity, check
from registry.records import UploadRow
from registry.retention import RetentionRule
from registry.sql.sqlite import SqliteDatabase
from tests.registry import kit
from tests.registry.contract import holds
from tests.registry.kit import digest_of
from tests.registry.store_kit import DAY, Store

SETTINGS = CollectionSettings(untagged=(UntaggedRule(after=DAY),), undo=0.0, dangling=DAY)
RETENTION = (RetentionRule(tags="nightly-*", keep_last=1),)


def store_at(root: Path) -> Store:
    store = Store(root, settings=SETTINGS, retention=RETENTION)
    store.clock.now += 3 * DAY
    return store


def fill(root: Path) -> set[str]:
    """A store with every kind of garbage; returns the digests that must stay."""
    store = Store(root)
    kept = store.push_image("kept", "v1", layers=[b"shared", b"kept"])
    nightly = store.push_image("app", "nightly-2", layers=[b"shared", b"new"])
    store.clock.now -= 10
    store.push_image("app", "nightly-1", layers=[b"shared", b"old"])
    child = store.push_image("app", layers=[b"child"])
    store.push_manifest("app", kit.index([child]))
    store.push_manifest("app", kit.manifest(subject=kit.descriptor(child, kit.OCI_MANIFEST)))
    store.push_blob("empty", b"alone")
    store.storage.create("resting", "sha256")
    row = UploadRow("resting", "app", "sha256")
    store.index.write("app", lambda: store.index.create_upload(row))
    (root / "blobs" / "sha256" / ("0" * 64)).write_bytes(b"orphan")
    store.close()
    blobs = (b"{}", b"shared", b"kept", b"new")
    return {digest_of(data) for data in (kept, nightly, *blobs)}


def on_disk(root: Path) -> set[str]:
    return {f"sha256:{name}" for name in os.listdir(root / "blobs" / "sha256")}


def killed_at(number: int) -> Callable[[Any], Any]:
    """Wraps functions; entering the n-th call of any of them is the end of this process."""
    calls = itertools.count(1)

    def wrap(function: Any) -> Any:
        def counted(*arguments: Any, **options: Any) -> Any:
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return counted

    return wrap


def collect_and_die(root: Path, number: int) -> bool:
    """Collect in a child; False when it came to its end instead."""
    pid = os.fork()
    if pid == 0:
        try:
            store = store_at(root)
            wrap = killed_at(number)
            with (
                mock.patch.object(SqliteDatabase, "apply", wrap(SqliteDatabase.apply)),
                mock.patch.object(SqliteDatabase, "_attempt", wrap(SqliteDatabase._attempt)),
                mock.patch("registry.journal.os.write", wrap(os.write)),
                mock.patch("registry.storage.os.rename", wrap(os.rename)),
                mock.patch("registry.storage.os.unlink", wrap(os.unlink)),
            ):
                store.collector().run()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


@holds("A collection ends at any point without harm.")
def test_01_kill_at_every_step_of_a_collection(tmp_path: Path) -> None:
    template = tmp_path / "template"
    kept = fill(template)
    number, killed = 0, True
    while killed:
        number += 1
        root = tmp_path / "store"
        shutil.copytree(template, root)
        killed = collect_and_die(root, number)
        store = store_at(root)
        assert kept <= on_disk(root)
        findings = check(root, store.index, store.storage, sleep=lambda _: None)
        problems = [finding for finding in findings if finding.severity is Severity.PROBLEM]
        assert not problems, number
        store.collector().run()
        assert on_disk(root) == kept, number
        assert store.index.catalog(last="", limit=9) == ["app", "kept"]
        assert store.index.tags("app", last="", limit=9) == ["nightly-2"]
        assert os.listdir(root / "uploads") == os.listdir(root / "trash") == []
        store.close()
        shutil.rmtree(root)
    assert number > 50
