"""Whoever may push cannot make the gate work without end, and what is damaged opens nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from images.digest import Digest
from images.mediatype import OCI_INDEX, OCI_MANIFEST
from registry.errors import RegistryConfigError
from registry.gate.judge import Judge, Wanted
from registry.gate.policies import load
from registry.gate.settings import GateRule
from registry.index import SqliteIndex
from registry.manifests import examine
from registry.simple_signatures import SimpleSignature
from registry.storage import FileStorage
from tests.conftest import require_program
from tests.registry import kit
from tests.registry.gate.gatekit import HOST, REPOSITORY, image, named, new_key, policy
from tests.trust.test_simple import Gpg, payload
from trust import bundle, cosign
from trust.bundle import BUNDLE
from trust.errors import (
    StaleSignatureError,
    TooManySignaturesError,
    UnsignedError,
    VerificationError,
)
from trust.keys import PrivateKey
from trust.notation.referrer import ARTIFACT
from trust.signature import TIMESTAMP

NOW = datetime(2026, 11, 21, tzinfo=UTC)
IMAGE = image()


class Store:
    """A store and a judge, without a server; ``reads`` counts content that was read."""

    def __init__(
        self, root: Path, key: PrivateKey, *, path: Path | None = None, **more: Any
    ) -> None:
        self.files = FileStorage(root)
        self.index = SqliteIndex(root)
        self.reads = 0
        path = path or policy(root, key, **more)
        rule = GateRule(repositories="**", policy=path, name=HOST)
        self.judge = Judge(rule, load(path), self.index, self)

    def open(self, digest: Digest) -> Any:
        return self.files.open(digest)

    def read(self, digest: Digest, *, limit: int) -> bytes:
        self.reads += 1
        return self.files.read(digest, limit=limit)

    def push(self, raw: bytes, *tags: str, blobs: tuple[bytes, ...] = ()) -> None:
        digest = Digest.of(raw)
        for data in (raw, *blobs):
            self.files.put(data, Digest.of(data))

        def write() -> None:
            for data in blobs:
                self.index.link_blob(REPOSITORY, str(Digest.of(data)), len(data))
            made = examine(raw, None, digest)
            self.index.put_manifest(REPOSITORY, made, tags, sparse=True)

        self.index.write(REPOSITORY, write)

    def check(self, raw: bytes, tag: str | None = "1", media_type: str = OCI_MANIFEST) -> None:
        wanted = Wanted(tag, Digest.of(raw), media_type, raw)
        self.judge.check(REPOSITORY, wanted, now=NOW)


@pytest.fixture
def key() -> PrivateKey:
    return new_key()


@pytest.fixture
def store(tmp_path: Path, key: PrivateKey) -> Store:
    made = Store(tmp_path, key)
    made.push(IMAGE, "1")
    return made


def test_a_hundred_thousand_referrers_are_counted_not_read(store: Store) -> None:
    key = store.index.write(REPOSITORY, lambda: store.index._repository(REPOSITORY)[0])
    rows = (
        (key, str(Digest.of(IMAGE)), f"sha256:{number:064x}", BUNDLE, b"{}")
        for number in range(100_000)
    )
    sql = "INSERT INTO referrers VALUES (?, ?, ?, ?, ?)"
    store.index.write(REPOSITORY, lambda: store.index.writer.executemany(sql, rows))
    with pytest.raises(TooManySignaturesError, match="more than 256"):
        store.check(IMAGE)
    assert store.reads == 0


def test_a_crowded_signature_tag_is_refused_unread(store: Store) -> None:
    layer = kit.descriptor(b"{}", cosign.SIMPLE_SIGNING)
    raw = kit.replaced(kit.manifest(), layers=[layer] * 257)
    store.push(raw, cosign.signature_tag(Digest.of(IMAGE)))
    with pytest.raises(TooManySignaturesError):
        store.check(IMAGE)
    assert store.reads == 1, "the manifest, and no payload"


@pytest.mark.parametrize("lie", ["size", "missing", "elsewhere"])
def test_payloads_that_lie_about_themselves_are_passed_over(
    store: Store, key: PrivateKey, lie: str
) -> None:
    made = cosign.sign(key, named(":1"), Digest.of(IMAGE))
    manifest, config = cosign.append(None, made)
    document = json.loads(manifest.raw)
    blobs = (config,)
    if lie == "size":
        document["layers"][0]["size"] = 1 << 40
    elif lie == "elsewhere":
        # The bytes are stored, but in no repository that this one could read.
        store.files.put(made.payload, Digest.of(made.payload))
    store.push(json.dumps(document).encode(), cosign.signature_tag(Digest.of(IMAGE)), blobs=blobs)
    with pytest.raises(UnsignedError) as caught:
        store.check(IMAGE)
    assert "damaged" in caught.value.__notes__[0]


def test_a_damaged_signature_hides_no_good_one(store: Store, key: PrivateKey) -> None:
    digest = Digest.of(IMAGE)
    store.push(kit.index(annotations={"no": "manifest"}), cosign.signature_tag(digest))
    made = bundle.sign(key, named(":1"), digest)
    subject = kit.descriptor(IMAGE, OCI_MANIFEST)
    layer = kit.descriptor(made.raw, BUNDLE)
    raw = kit.replaced(kit.manifest(), layers=[layer], subject=subject, artifactType=BUNDLE)
    store.push(raw, blobs=(made.raw, b"{}"))
    store.check(IMAGE)


def test_many_lists_of_one_child_are_bounded_and_the_tagged_one_is_found(
    store: Store, key: PrivateKey
) -> None:
    for number in range(200):
        store.push(kit.index([IMAGE], annotations={"n": str(number)}))
    with pytest.raises(VerificationError):
        store.check(IMAGE, None)
    assert store.reads <= 33
    listing = kit.index([IMAGE], annotations={"release": "1"})
    store.push(listing, "multi")
    made = bundle.sign(key, named(":multi"), Digest.of(listing))
    layer = kit.descriptor(made.raw, BUNDLE)
    subject = kit.descriptor(listing, OCI_INDEX)
    raw = kit.replaced(kit.manifest(), layers=[layer], subject=subject, artifactType=BUNDLE)
    store.push(raw, blobs=(made.raw, b"{}"))
    store.check(IMAGE, None)


def test_indexes_in_indexes_end(store: Store) -> None:
    raw, kind = IMAGE, OCI_MANIFEST
    for _ in range(40):
        raw = kit.replaced(kit.index(), manifests=[kit.descriptor(raw, kind)])
        kind = OCI_INDEX
        store.push(raw)
    with pytest.raises(UnsignedError):
        store.check(IMAGE, None)


def test_an_age_is_judged_by_the_time_of_the_request(tmp_path: Path, key: PrivateKey) -> None:
    store = Store(tmp_path, key, **{"max-age": "1d"})
    store.push(IMAGE, "1")
    assert store.judge.depends_on_time
    stamp = str(int((NOW - timedelta(hours=23)).timestamp()))
    made = bundle.sign(key, named(":1"), Digest.of(IMAGE), annotations={TIMESTAMP: stamp})
    subject, layer = kit.descriptor(IMAGE, OCI_MANIFEST), kit.descriptor(made.raw, BUNDLE)
    raw = kit.replaced(kit.manifest(), layers=[layer], subject=subject, artifactType=BUNDLE)
    store.push(raw, blobs=(made.raw, b"{}"))
    store.check(IMAGE)
    wanted = Wanted("1", Digest.of(IMAGE), OCI_MANIFEST, IMAGE)
    with pytest.raises(StaleSignatureError):
        store.judge.check(REPOSITORY, wanted, now=NOW + timedelta(hours=2))


@pytest.mark.parametrize("what", ["policy", "key", "missing key"])
def test_a_policy_is_read_whole_or_refused(tmp_path: Path, key: PrivateKey, what: str) -> None:
    path = policy(tmp_path, key)
    if what == "policy":
        path.write_text("default = 1")
    elif what == "key":
        (tmp_path / "release.pub").write_text("no key")
    else:
        (tmp_path / "release.pub").unlink()
    with pytest.raises(RegistryConfigError):
        load(path)


def test_two_keys_of_one_name_are_told_apart(tmp_path: Path, key: PrivateKey) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "release.pub").write_bytes(new_key().public.pem)
    path = policy(tmp_path, key)
    path.write_text(path.read_text().replace("release.pub", 'release.pub", "other/release.pub'))
    loaded = load(path)
    assert sorted(loaded.keys) == sorted([str(other / "release.pub"), "release.pub"])
    assert len(set(loaded.keys.values())) == 2


def test_notation_that_nobody_asked_for_is_not_counted(store: Store, key: PrivateKey) -> None:
    number = store.index.write(REPOSITORY, lambda: store.index._repository(REPOSITORY)[0])
    rows = (
        (number, str(Digest.of(IMAGE)), f"sha256:{n:064x}", ARTIFACT, b"{}") for n in range(300)
    )
    sql = "INSERT INTO referrers VALUES (?, ?, ?, ?, ?)"
    store.index.write(REPOSITORY, lambda: store.index.writer.executemany(sql, rows))
    made = cosign.sign(key, named(":1"), Digest.of(IMAGE))
    manifest, config = cosign.append(None, made)
    tag = cosign.signature_tag(Digest.of(IMAGE))
    store.push(manifest.raw, tag, blobs=(config, made.payload))
    store.check(IMAGE)


def test_openpgp_signatures_of_the_extension_count(tmp_path: Path) -> None:
    require_program("gpg")
    require_program("gpgv")
    gpg = Gpg(tmp_path / "gnupg")
    (tmp_path / "root").mkdir()
    try:
        (tmp_path / "root/ada.gpg").write_bytes(gpg.key("ada"))
        identity = {"docker-reference": f"{HOST}/{REPOSITORY}:1"}
        image = {"docker-manifest-digest": str(Digest.of(IMAGE))}
        message = gpg.sign("ada", payload(identity=identity, image=image))
    finally:
        gpg.close()
    path = tmp_path / "root/policy.json"
    ada = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(tmp_path / "root/ada.gpg")}
    path.write_text(json.dumps({"default": [ada]}))
    store = Store(tmp_path / "root", new_key(), path=path)
    store.push(IMAGE, "1")
    assert store.judge.depends_on_time
    with pytest.raises(UnsignedError, match=r"by ada\.gpg"):
        store.check(IMAGE)
    digest = str(Digest.of(IMAGE))

    def add(number: int) -> None:
        signature = SimpleSignature(f"{digest}@{number}", message)
        store.index.add_simple_signature(REPOSITORY, digest, signature)

    store.index.write(REPOSITORY, partial(add, 0))
    store.check(IMAGE)
    with pytest.raises(VerificationError):
        store.check(IMAGE, "2")
    store.index.write(REPOSITORY, lambda: [add(number) for number in range(17)])
    with pytest.raises(TooManySignaturesError, match="more than 16"):
        store.check(IMAGE)
