"""The registry's log: every change is in it, its proofs hold, and a rewritten one is found out."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from images.mediatype import OCI_MANIFEST
from registry.errors import RegistryStartError
from registry.index import SqliteIndex
from registry.outbox import Outbox
from registry.records import NewManifest
from registry.transparency.log import TransparencyLog
from registry.transparency.settings import TransparencySettings
from registry.transparency.store import LogStore
from registry.vault import Vault
from tests.registry.kit import Client, descriptor, digest_of, manifest
from trust.errors import LogProofError
from trust.keys import PublicKey
from trust.transparency import checkpoint
from trust.transparency.checkpoint import Checkpoint
from trust.transparency.entry import Entry, Event
from trust.transparency.merkle import leaf_hash, verify_consistency, verify_inclusion

ORIGIN = "registry.example.com/log"
SETTINGS = TransparencySettings(enabled=True, origin=ORIGIN)
LOG = "/v2/_lading/log"

Start = Callable[..., Awaitable[Client]]


@pytest.fixture
async def client(start: Start) -> Client:
    return await start(transparency=SETTINGS)


async def head_of(client: Client) -> Checkpoint:
    """The head, checked with the key that the registry shows."""
    key = PublicKey.from_pem((await client.send("GET", f"{LOG}/key")).body)
    note = (await client.send("GET", f"{LOG}/checkpoint")).body
    return checkpoint.verify(note, origin=ORIGIN, key=key)


async def entries(client: Client) -> list[Entry]:
    answer = await client.send("GET", f"{LOG}/entries?start=0")
    return [Entry.parse(base64.b64decode(item)) for item in answer.json["entries"]]


async def test_every_change_is_in_the_log(client: Client) -> None:
    first = await client.push_image("team/web", "1")
    second = await client.push_image("team/web", "1", layers=[b"layer"])
    await client.send("DELETE", "/v2/team/web/manifests/1")
    await client.send("DELETE", f"/v2/team/web/manifests/{digest_of(first)}")
    assert (await head_of(client)).size == 4
    seen = [(item.event, item.digest, item.tag, item.previous) for item in await entries(client)]
    assert seen == [
        (Event.TAG, digest_of(first), "1", ""),
        (Event.TAG, digest_of(second), "1", digest_of(first)),
        (Event.UNTAG, "", "1", digest_of(second)),
        (Event.DELETE, digest_of(first), "", ""),
    ]
    assert {item.repository for item in await entries(client)} == {"team/web"}


async def test_signatures_are_in_the_log(client: Client) -> None:
    image = await client.push_image("web", "1")
    subject = descriptor(image, OCI_MANIFEST)
    for kind in ("application/vnd.cncf.notary.signature", "example/sbom"):
        await client.push_manifest("web", manifest(subject=subject, artifactType=kind))
    tag = digest_of(image).replace(":", "-") + ".sig"
    await client.push_image("web", tag, layers=[b"signature"])
    signed = [item for item in await entries(client) if item.event is Event.SIGN]
    assert [(item.tag, item.previous) for item in signed] == [
        ("", digest_of(image)),
        (tag, digest_of(image)),
    ]


async def test_simple_signatures_are_in_the_log_once(client: Client) -> None:
    digest = digest_of(await client.push_image("web", "1"))
    body = {"schemaVersion": 2, "name": f"{digest}@a", "type": "atomic", "content": "AAAA"}
    for _ in range(2):
        path = f"/extensions/v2/web/signatures/{digest}"
        assert (await client.send("PUT", path, data=json.dumps(body).encode())).status == 201
    signed = [item for item in await entries(client) if item.event is Event.SIGN]
    assert [(item.digest, item.previous) for item in signed] == [(digest_of(bytes(3)), digest)]


async def test_a_tag_is_proven_under_the_head(client: Client) -> None:
    for tag in ("1", "2", "3"):
        await client.push_image("web", tag, layers=[tag.encode()])
    moved = await client.push_image("web", "2", layers=[b"moved"])
    answer = (await client.send("GET", "/v2/web/_lading/log/2")).json
    data = base64.b64decode(answer["entry"])
    key = PublicKey.from_pem((await client.send("GET", f"{LOG}/key")).body)
    head = checkpoint.verify(answer["checkpoint"].encode(), origin=ORIGIN, key=key)
    assert (answer["number"], answer["size"], head.size) == (3, 4, 4)
    proof = [base64.b64decode(hashed) for hashed in answer["proof"]]
    verify_inclusion(leaf_hash(data), answer["number"], head.size, proof, head.root)
    assert Entry.parse(data).digest == digest_of(moved)
    with pytest.raises(LogProofError):
        verify_inclusion(leaf_hash(data + b" "), answer["number"], head.size, proof, head.root)


async def test_the_log_only_grows(client: Client) -> None:
    heads = [await head_of(client)]
    for number in range(5):
        await client.push_image("web", str(number), layers=[str(number).encode()])
        heads.append(await head_of(client))
    for old in heads:
        query = f"old={old.size}&new={heads[-1].size}"
        answer = await client.send("GET", f"{LOG}/consistency?{query}")
        proof = [base64.b64decode(hashed) for hashed in answer.json["proof"]]
        verify_consistency(old.size, heads[-1].size, old.root, heads[-1].root, proof)
    answer = await client.send("GET", f"{LOG}/inclusion?number=2&size=5")
    assert len(answer.json["proof"]) == 3


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("consistency?old=1&new=99", 400),
        ("consistency?old=2&new=1", 400),
        ("consistency?old=-1&new=1", 400),
        ("consistency?new=1", 400),
        ("inclusion?number=1&size=1", 400),
        ("inclusion?number=0&size=1000000000000000000", 400),
        ("inclusion?number=0&size=99999999999999999999999", 400),
        ("entries?start=x", 400),
        ("nothing", 400),
    ],
)
async def test_nonsense_is_refused(client: Client, path: str, status: int) -> None:
    await client.push_image("web", "1")
    assert (await client.send("GET", f"{LOG}/{path}")).status == status


async def test_a_tag_that_never_was_is_unknown(client: Client) -> None:
    await client.push_image("web", "1")
    assert (await client.send("GET", "/v2/web/_lading/log/2")).code == "MANIFEST_UNKNOWN"


async def test_without_the_setting_there_is_no_log(start: Start) -> None:
    client = await start()
    await client.push_image("web", "1")
    for path in (f"{LOG}/checkpoint", f"{LOG}/key", "/v2/web/_lading/log/1"):
        answer = await client.send("GET", path)
        assert (answer.status, answer.code) == (404, "UNSUPPORTED")


async def test_the_log_goes_on_after_a_restart(start: Start, tmp_path: Path) -> None:
    first = await start(transparency=SETTINGS, root=tmp_path / "a")
    await first.push_image("web", "1")
    before = await head_of(first)
    again = await start(transparency=SETTINGS, root=tmp_path / "a")
    await again.push_image("web", "2", layers=[b"x"])
    after = await head_of(again)
    assert (before.size, after.size) == (1, 2)
    assert (await head_of(first)).root == after.root, "several processes share one log"


def put(index: SqliteIndex, number: int) -> None:
    """Point ``latest`` at another manifest."""
    made = NewManifest(f"sha256:{number:064x}", "application/json", 2)
    index.write("a", partial(index.put_manifest, "a", made, ["latest"]))


def test_two_processes_append_each_event_once(tmp_path: Path) -> None:
    index = SqliteIndex(tmp_path, outbox=Outbox(followed=True))
    vault = Vault.open(tmp_path / "notary", None)
    logs = [
        TransparencyLog.open(LogStore(tmp_path), index.reader, vault, origin=ORIGIN)
        for _ in range(2)
    ]
    for number in range(600):
        put(index, number)
    with ThreadPoolExecutor() as pool:
        appended = list(pool.map(TransparencyLog.catch_up, logs))
    assert sum(appended) == 600
    assert logs[0].head() == logs[1].head()
    numbers = [Entry.parse(data).digest for data in logs[0].entries(0, 1000)]
    assert numbers == [f"sha256:{number:064x}" for number in range(600)]


def test_a_rewritten_log_is_found_out(tmp_path: Path) -> None:
    index = SqliteIndex(tmp_path, outbox=Outbox(followed=True))
    vault = Vault.open(tmp_path / "notary", None)
    store = LogStore(tmp_path)
    log = TransparencyLog.open(store, index.reader, vault, origin=ORIGIN)

    def push(number: int) -> Checkpoint:
        put(index, number)
        return checkpoint.verify(log.head(), origin=ORIGIN, key=log.public_key)

    heads = [push(number) for number in range(4)]
    forged = leaf_hash(b"forged")
    with sqlite3.connect(tmp_path / "log.db") as attacker:
        attacker.execute("UPDATE nodes SET hash = ? WHERE level = 0 AND offset = 1", (forged,))
        attacker.execute("UPDATE nodes SET hash = ? WHERE level = 1 AND offset = 0", (forged,))
        attacker.execute("DELETE FROM nodes WHERE level = 2")
        attacker.execute("INSERT INTO nodes VALUES (2, 0, ?)", (forged,))
    heads.append(push(4))
    proof = log.consistency(3, 5)
    with pytest.raises(LogProofError, match="rewritten"):
        verify_consistency(3, 5, heads[2].root, heads[4].root, proof)


def test_a_log_keeps_its_name_and_key(tmp_path: Path) -> None:
    index = SqliteIndex(tmp_path, outbox=Outbox(followed=True))
    vault = Vault.open(tmp_path / "notary", None)
    TransparencyLog.open(LogStore(tmp_path), index.reader, vault, origin=ORIGIN)
    with pytest.raises(RegistryStartError, match="is called"):
        TransparencyLog.open(LogStore(tmp_path), index.reader, vault, origin="other")
    stranger = Vault.open(tmp_path / "other", None)
    with pytest.raises(RegistryStartError, match="does not open"):
        TransparencyLog.open(LogStore(tmp_path), index.reader, stranger, origin=ORIGIN)
