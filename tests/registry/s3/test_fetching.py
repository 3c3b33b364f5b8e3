"""GETs by presigned URLs: what the SDK is spared, and when it is asked after all."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, NoCredentialsError, ReadTimeoutError

from images.digest import Digest
from registry.errors import ObjectStoreError
from registry.s3 import fetching
from registry.s3.bucket import Bucket, ObjectUnknownError
from registry.s3.connecting import connect
from registry.s3.fetching import Body, Fetcher
from tests.registry.s3.kit import ACCESS, SECRET, Server, Store
from tests.registry.s3.test_silence import settings

pytestmark = pytest.mark.peer

DATA = bytes(range(256)) * 40


@contextmanager
def asked(client: Any) -> Iterator[list[str]]:
    """What the SDK itself sends meanwhile: the names of operations."""
    sent: list[str] = []

    def note(*, model: Any, **_: Any) -> None:
        sent.append(model.name)

    client.meta.events.register("before-call.s3", note)
    try:
        yield sent
    finally:
        client.meta.events.unregister("before-call.s3", note)


class Signer:
    """The SDK's client, whose signatures are counted."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.signed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def generate_presigned_url(self, *arguments: Any, **options: Any) -> str:
        self.signed += 1
        return str(self._client.generate_presigned_url(*arguments, **options))


@pytest.fixture
def key(store: Store) -> str:
    """The key of an object that has ``DATA``."""
    store.bucket.put("it", DATA)
    return f"{store.prefix}it"


def read(body: Body | None) -> bytes:
    assert body is not None
    with closing(body):
        found = b""
        while piece := body.read(1000):
            found += piece
        return found


def test_the_sdk_signs_once_and_sends_nothing(s3_server: Server, key: str) -> None:
    signer, now = Signer(s3_server.client), [0.0]
    fetcher = Fetcher(signer, s3_server.bucket, clock=lambda: now[0])
    with asked(s3_server.client) as sent:
        assert read(fetcher.fetch(key, 0, len(DATA) - 1)) == DATA
        assert read(fetcher.fetch(key, 300, 399)) == DATA[300:400]
        assert signer.signed == 1
        now[0] = 899.0
        assert read(fetcher.fetch(key, 0, 0)) == DATA[:1]
        assert signer.signed == 1
        now[0] = 900.0
        assert read(fetcher.fetch(key, 0, 0)) == DATA[:1]
    assert signer.signed == 2
    assert sent == []


def test_few_urls_are_kept_and_none_that_was_refused(
    s3_server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_KEPT", 2)
    for name in "abc":
        store.bucket.put(name, name.encode())
    signer = Signer(s3_server.client)
    fetcher = Fetcher(signer, s3_server.bucket)

    def signed_for(*names: str) -> int:
        before = signer.signed
        for name in names:
            fetcher.fetch(f"{store.prefix}{name}", 0, 0)
        return signer.signed - before

    assert signed_for("no-such", "no-such") == 2
    assert signed_for("a", "b", "a", "b") == 2
    assert signed_for("a", "c", "c") == 1  # b was used longest ago
    assert signed_for("a", "b", "c") == 2


def test_what_is_refused_is_the_sdks(s3_server: Server, store: Store, key: str) -> None:
    bucket = store.bucket
    with asked(s3_server.client) as sent:
        assert read(bucket.get("it", 0, 9)) == DATA[:10]
        assert sent == []
        until, url = store.fetcher._urls[key]
        store.fetcher._urls[key] = until, url.replace("Signature=", "Signature=0")
        assert read(bucket.get("it", 0, 9)) == DATA[:10]
        assert sent == ["GetObject"]
        assert read(bucket.get("it", 0, 9)) == DATA[:10]
        assert sent == ["GetObject"]
        with pytest.raises(ObjectUnknownError):
            bucket.get("no-such-object", 0, 9)


def test_a_store_that_takes_no_such_urls_is_left_alone_for_a_while(
    s3_server: Server, key: str
) -> None:
    class Forger(Signer):
        def generate_presigned_url(self, *arguments: Any, **options: Any) -> str:
            right = super().generate_presigned_url(*arguments, **options)
            return right.replace("Signature=", "Signature=0") if self.signed < 3 else right

    forger, now = Forger(s3_server.client), [1000.0]
    fetcher = Fetcher(forger, s3_server.bucket, clock=lambda: now[0])
    for moment, signed in ((1000.0, 1), (1299.0, 1), (1300.0, 2), (1599.0, 2)):
        now[0] = moment
        assert fetcher.fetch(key, 0, 9) is None
        assert forger.signed == signed
    now[0] = 1600.0
    assert read(fetcher.fetch(key, 0, 9)) == DATA[:10]


@pytest.mark.parametrize(
    "failure", [ConnectionClosedError(endpoint_url="http://it"), NoCredentialsError()]
)
def test_what_breaks_is_the_sdks(
    s3_server: Server, store: Store, key: str, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def send(self, _request: object) -> None:
            raise failure

    monkeypatch.setattr(store.fetcher, "_http", Broken())
    with asked(s3_server.client) as sent:
        assert read(store.bucket.get("it", 5, 9)) == DATA[5:10]
    assert sent == ["GetObject"]


class Nothing:
    """A fetcher that has the SDK asked, and itself asks nobody."""

    def fetch(self, _key: str, _first: int, _last: int) -> None:
        return None


class Mute:
    """The SDK's client of a store that never answers."""

    def get_object(self, **_: Any) -> None:
        raise ReadTimeoutError(endpoint_url="http://it")


def test_who_asks_nobody_has_heard_nobody() -> None:
    bucket = Bucket(Mute(), "it", fetcher=Nothing())  # type: ignore[arg-type]
    for what in ("cannot be reached", "cannot be reached", "keeps silent"):
        with pytest.raises(ObjectStoreError, match=what):
            bucket.get("a", 0, 9)


def test_silence_is_told_at_once(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    bucket = connect(settings(s3_server))
    bucket.put("there", DATA)
    with s3_server.frozen(), pytest.raises(ObjectStoreError) as caught:
        bucket.get("there", 0, 9)
    cause = caught.value.__cause__
    assert isinstance(cause, ReadTimeoutError)
    assert "there" in str(cause)
    assert "Signature" not in "".join(traceback.format_exception(caught.value))
    assert read(bucket.get("there", 0, 9)) == DATA[:10]
    bucket.delete(["there"])


def test_the_store_is_asked_for_no_more_than_is_wanted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = Digest.of(DATA)
    store.storage.put(DATA, digest)
    fetch, spans = store.fetcher.fetch, list[tuple[int, int]]()

    def noted(key: str, first: int, last: int) -> Body | None:
        spans.append((first, last))
        return fetch(key, first, last)

    monkeypatch.setattr(store.fetcher, "fetch", noted)
    with store.storage.file(digest, offset=7, count=20) as file:
        assert file.read() == DATA[7:27]
    with store.storage.file(digest, offset=10_000, count=999) as file:
        assert file.read() == DATA[10_000:]
    assert spans == [(7, 26), (10_000, len(DATA) - 1)]
