"""A watcher and a registry that keeps a log, honest at first."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from engine.transparency import LogWatch
from images.client import ClientOptions, RegistryClient
from images.client.errors import RegistryError
from images.client.retry import RetryPolicy
from images.descriptor import Descriptor
from images.digest import Digest
from images.manifest import Manifest
from images.mediatype import OCI_CONFIG
from images.reference import Reference
from registry.config import RegistryConfig
from registry.transparency.settings import TransparencySettings
from tests.registry.running import Running
from trust.errors import CheckpointError, LogProofError
from trust.keys import Algorithm, PrivateKey
from trust.transparency.entry import Event
from trust.transparency.merkle import leaf_hash


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    settings = TransparencySettings(enabled=True, origin="registry.example.com/log")
    config = RegistryConfig(root=tmp_path / "registry", port=0, transparency=settings)
    with Running(config) as address:
        yield f"127.0.0.1:{address.port}"


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    options = ClientOptions(environ={}, retry=RetryPolicy(attempts=1))
    async with RegistryClient(options=options) as client:
        yield client


@pytest.fixture
def watch(client: RegistryClient, served: str, tmp_path: Path) -> LogWatch:
    return LogWatch(client, served, tmp_path / "root")


async def push(client: RegistryClient, served: str, tag: str, content: bytes = b"{}") -> Reference:
    reference = Reference.parse(f"{served}/team/web:{tag}")
    await client.put_blob(reference, content)
    manifest = Manifest.build(Descriptor(OCI_CONFIG, Digest.of(content), len(content)), [])
    await client.put_manifest(reference, manifest.raw, manifest.media_type)
    return reference


async def test_a_log_is_pinned_and_followed(
    client: RegistryClient, served: str, watch: LogWatch
) -> None:
    first = await watch.watch()
    assert (first.size, first.first) == (0, True)
    for number in range(3):
        await push(client, served, str(number))
    again = await watch.watch()
    assert (again.size, again.new, again.first) == (3, 3, False)
    assert (await watch.watch()).new == 0


async def test_a_tag_serves_what_the_log_says(
    client: RegistryClient, served: str, watch: LogWatch
) -> None:
    reference = await push(client, served, "1")
    await push(client, served, "1", b'{"moved":1}')
    found = await watch.watch_tag(reference)
    assert found.entry is not None
    assert found.entry.event is Event.TAG
    assert found.entry.digest == str((await client.resolve(reference)).digest)
    assert [item.tag for item in await watch.entries(0)] == ["1", "1"]


async def test_a_tag_that_was_moved_behind_the_log_is_found_out(
    client: RegistryClient, served: str, watch: LogWatch, tmp_path: Path
) -> None:
    """Somebody with the registry's disk points a tag elsewhere without a log entry."""
    old = await push(client, served, "old")
    reference = await push(client, served, "1", b'{"new":1}')
    with sqlite3.connect(tmp_path / "registry" / "index.db") as attacker:
        digest = str((await client.resolve(old)).digest)
        attacker.execute("UPDATE tags SET digest = ? WHERE name = '1'", (digest,))
    with pytest.raises(LogProofError, match="the registry serves"):
        await watch.watch_tag(reference)


async def test_a_rewritten_log_is_found_out_and_the_pin_stays(
    client: RegistryClient, served: str, watch: LogWatch, tmp_path: Path
) -> None:
    for number in range(2):
        await push(client, served, str(number))
    await watch.watch()
    (pin,) = (tmp_path / "root/trust/logs").iterdir()
    before = pin.read_bytes()
    with sqlite3.connect(tmp_path / "registry" / "log.db") as attacker:
        forged = leaf_hash(b"forged")
        attacker.execute("UPDATE nodes SET hash = ? WHERE level = 1 AND offset = 0", (forged,))
    await push(client, served, "2")
    with pytest.raises(LogProofError, match="rewritten"):
        await watch.watch()
    assert pin.read_bytes() == before


async def test_a_log_that_begins_anew_is_found_out(
    client: RegistryClient, served: str, watch: LogWatch, tmp_path: Path
) -> None:
    await push(client, served, "1")
    await watch.watch()
    settings = TransparencySettings(enabled=True, origin="registry.example.com/log")
    config = RegistryConfig(root=tmp_path / "other", port=0, transparency=settings)
    with Running(config) as address:
        other = f"127.0.0.1:{address.port}"
        moved = LogWatch(client, other, tmp_path / "root")
        (pin,) = (tmp_path / "root/trust/logs").iterdir()
        pin.rename(pin.with_name(other.replace(":", "_") + ".json"))
        with pytest.raises(CheckpointError, match="did not sign"):
            await moved.watch()


async def test_a_key_that_was_given_must_be_the_logs(
    client: RegistryClient, served: str, tmp_path: Path
) -> None:
    key = PrivateKey.generate(Algorithm.ED25519).public
    with pytest.raises(CheckpointError, match="did not sign"):
        await LogWatch(client, served, tmp_path / "root", key=key).watch()
    await LogWatch(client, served, tmp_path / "root").watch()
    with pytest.raises(LogProofError, match="another key"):
        await LogWatch(client, served, tmp_path / "root", key=key).watch()


async def test_a_damaged_pin_is_not_passed_over(watch: LogWatch, tmp_path: Path) -> None:
    await watch.watch()
    (pin,) = (tmp_path / "root/trust/logs").iterdir()
    pin.write_bytes(b"{}")
    with pytest.raises(CheckpointError, match="damaged"):
        await watch.watch()


async def test_a_registry_without_log_says_so(client: RegistryClient, tmp_path: Path) -> None:
    with Running(RegistryConfig(root=tmp_path / "plain", port=0)) as address:
        watch = LogWatch(client, f"127.0.0.1:{address.port}", tmp_path / "root")
        with pytest.raises(RegistryError, match="no transparency log"):
            await watch.watch()
