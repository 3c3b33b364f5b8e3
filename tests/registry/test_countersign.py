"""The registry signs what it received, once, and its old keys go on verifying."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from images.digest import Digest
from images.mediatype import OCI_MANIFEST
from images.reference import Reference
from registry.config import RegistryConfig
from registry.countersign.countersigner import PUSHER, Countersigner
from registry.countersign.settings import CountersignSettings
from registry.errors import RegistryConfigError, RegistryStartError
from registry.followers import Followers
from registry.index import SqliteIndex
from registry.manifests import examine
from registry.outbox import Outbox, read_events
from registry.quotas import QuotaRule
from registry.service import guard_of
from registry.storage import FileStorage
from registry.transparency.settings import TransparencySettings
from tests.registry.kit import index as image_index
from tests.registry.kit import manifest
from trust.bundle import BUNDLE
from trust.claims import authenticate
from trust.keys import PublicKey
from trust.notation.envelope import open_envelope
from trust.notation.referrer import ARTIFACT
from trust.signature import TIMESTAMP, BundleSignature, Signatures
from trust.verify import policy_of_key, verify

HOST = "registry.example.com"
SETTINGS = CountersignSettings(repositories=("team/**",), name=HOST)
IMAGE = manifest()


class Store:
    """A store with followers, without a server."""

    def __init__(self, root: Path, **fields: Any) -> None:
        fields = {"countersign": SETTINGS, **fields}
        self.config = RegistryConfig(root=root, **fields)
        self.storage = FileStorage(root)
        self.index = SqliteIndex(
            root,
            guard=guard_of(self.config, self.storage),
            outbox=Outbox(followed=True),
            clock=lambda: 1_000_000_000.0,
        )
        self.followers = Followers.open(self.config, self.index, self.storage)

    @property
    def countersigner(self) -> Countersigner:
        assert self.followers.countersigner is not None
        return self.followers.countersigner

    def push(self, repository: str, raw: bytes, *tags: str, actor: str = "user:ada") -> Digest:
        digest = Digest.of(raw)
        self.storage.put(raw, digest)
        made = examine(raw, None, digest)
        put = partial(self.index.put_manifest, repository, made, tags, sparse=True, actor=actor)
        self.index.write(repository, put)
        return digest

    def referrers(self, repository: str, subject: Digest, kind: str) -> list[bytes]:
        """What lies in the layers of the referrers of one kind."""
        rows = self.index.referrers(
            repository, str(subject), artifact_type=kind, last="", limit=100
        )
        found = []
        for digest, _ in rows:
            document = json.loads(self.storage.read(Digest.parse(digest), limit=1 << 20))
            layer = Digest.parse(document["layers"][0]["digest"])
            assert self.index.blob(repository, str(layer)) is not None
            found.append(self.storage.read(layer, limit=1 << 20))
        return found


@pytest.fixture
def open_store(tmp_path: Path) -> Callable[..., Store]:
    return partial(Store, tmp_path / "registry")


def keys_of(store: Store) -> list[PublicKey]:
    """All public keys that the registry shows."""
    end = b"-----END PUBLIC KEY-----\n"
    parts = store.countersigner.keyring.public_keys().split(end)
    return [PublicKey.from_pem(part + end) for part in parts if part]


def test_what_was_received_is_signed(open_store: Callable[..., Store]) -> None:
    store = open_store()
    digest = store.push("team/web", IMAGE, "1")
    assert store.followers.catch_up() == "1 manifests countersigned"
    (raw,) = store.referrers("team/web", digest, BUNDLE)
    _, claim = authenticate(BundleSignature(raw), keys_of(store))
    assert claim.digests == {digest}
    assert str(claim.reference) == f"{HOST}/team/web@{digest}"
    assert claim.annotations == {PUSHER: "user:ada", TIMESTAMP: "1000000000"}
    name = Reference.parse(f"{HOST}/team/web@{digest}")
    verify(name, digest, policy_of_key(*keys_of(store)), Signatures((BundleSignature(raw),)))


def test_lists_are_signed_and_signatures_are_not(open_store: Callable[..., Store]) -> None:
    store = open_store()
    listed = store.push("team/web", image_index([IMAGE]))
    subject = {"mediaType": OCI_MANIFEST, "digest": str(listed), "size": 2}
    store.push("team/web", manifest(subject=subject, artifactType=BUNDLE))
    assert store.countersigner.catch_up() == 1
    assert store.countersigner.catch_up() == 0, "our own signatures are not signed again"
    rows = store.index.referrers("team/web", str(listed), artifact_type=BUNDLE, last="", limit=10)
    assert len(rows) == 2


def test_cosigns_tag_is_not_signed(open_store: Callable[..., Store]) -> None:
    from tests.registry.kit import descriptor
    from trust.cosign import SIMPLE_SIGNING

    store = open_store()
    raw = manifest(layers=[b"payload"])
    document = json.loads(raw)
    document["layers"] = [descriptor(b"payload", SIMPLE_SIGNING)]
    store.push("team/web", json.dumps(document).encode(), "sha256-" + "0" * 64 + ".sig")
    assert store.countersigner.catch_up() == 0


def test_only_the_repositories_of_the_rule(open_store: Callable[..., Store]) -> None:
    store = open_store()
    digest = store.push("other/web", IMAGE)
    assert store.countersigner.catch_up() == 0
    assert store.referrers("other/web", digest, BUNDLE) == []


def test_nobody_in_particular_is_not_named(open_store: Callable[..., Store]) -> None:
    store = open_store()
    digest = store.push("team/web", IMAGE, actor="")
    store.countersigner.catch_up()
    (raw,) = store.referrers("team/web", digest, BUNDLE)
    _, claim = authenticate(BundleSignature(raw), keys_of(store))
    assert PUSHER not in claim.annotations


def test_notation_says_the_same(open_store: Callable[..., Store]) -> None:
    settings = CountersignSettings(repositories=("**",), name=HOST, notation=True)
    store = open_store(countersign=settings)
    digest = store.push("web", IMAGE)
    store.countersigner.catch_up()
    (raw,) = store.referrers("web", digest, ARTIFACT)
    opened = open_envelope(raw)
    assert opened.target.digest == digest
    assert opened.target.annotations == {PUSHER: "user:ada", TIMESTAMP: "1000000000"}
    assert opened.chain[0] == store.countersigner.keyring.current().chain[0]


def test_each_push_is_signed_once_over_restarts(open_store: Callable[..., Store]) -> None:
    store = open_store()
    digest = store.push("team/web", IMAGE)
    store.countersigner.catch_up()
    store.index.close()
    again = open_store()
    assert again.countersigner.catch_up() == 0
    again.push("team/web", IMAGE)
    assert again.countersigner.catch_up() == 1, "a second push is a second receipt"
    assert len(again.referrers("team/web", digest, BUNDLE)) == 2


def test_a_crash_before_the_commit_signs_again_and_not_twice(
    open_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    digest = store.push("team/web", IMAGE)

    def crash(name: str, value: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store.index, "set_fact", crash)
        with pytest.raises(KeyboardInterrupt):
            store.countersigner.catch_up()
    assert store.referrers("team/web", digest, BUNDLE) == []
    store.index.close()
    again = open_store()
    assert again.countersigner.catch_up() == 1
    assert len(again.referrers("team/web", digest, BUNDLE)) == 1


def test_rotation_keeps_what_was_signed_valid(open_store: Callable[..., Store]) -> None:
    store = open_store()
    first = store.push("team/web", IMAGE)
    store.countersigner.catch_up()
    store.countersigner.keyring.rotate()
    second = store.push("team/web", manifest(layers=[b"x"]))
    store.countersigner.catch_up()
    newest, oldest = keys_of(store)
    for digest, key in ((first, oldest), (second, newest)):
        (raw,) = store.referrers("team/web", digest, BUNDLE)
        used, _ = authenticate(BundleSignature(raw), [newest, oldest])
        assert used == key
    assert store.countersigner.keyring.certificates().count(b"BEGIN CERTIFICATE") == 2


def test_a_full_quota_stops_nothing_else(
    open_store: Callable[..., Store], caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(quotas=(QuotaRule(repositories="team/**", bytes=len(IMAGE) + 10),))
    store.push("team/web", IMAGE)
    assert store.countersigner.catch_up() == 0
    assert "cannot countersign team/web@" in caplog.text
    assert store.countersigner.catch_up() == 0


def test_countersignatures_are_in_the_log_and_events_go(open_store: Callable[..., Store]) -> None:
    store = open_store(transparency=TransparencySettings(enabled=True, origin="log"))
    store.push("team/web", IMAGE, "1")
    assert store.followers.catch_up() == "1 manifests countersigned, 2 entries logged"
    assert store.followers.catch_up() == ""
    assert read_events(store.index.reader(), after=0) == []


def test_events_that_concern_nobody_go_as_well(open_store: Callable[..., Store]) -> None:
    store = open_store()
    store.push("other/web", IMAGE, "1")
    assert store.followers.catch_up() == ""
    assert read_events(store.index.reader(), after=0) == []


def test_a_key_is_bound_to_its_vault(open_store: Callable[..., Store], tmp_path: Path) -> None:
    store = open_store()
    store.index.close()
    sealed = tmp_path / "registry/countersign/1.key"
    assert b"PRIVATE" not in sealed.read_bytes()
    sealed.write_bytes(sealed.read_bytes()[:-1] + b"\0")
    with pytest.raises(RegistryStartError, match="does not open"):
        open_store()


@pytest.mark.parametrize("name", ["", "https://registry.example.com", "registry", "a/b"])
def test_a_rule_needs_the_name_that_clients_use(name: str) -> None:
    with pytest.raises(RegistryConfigError, match="is no host"):
        CountersignSettings(repositories=("**",), name=name)
