"""Settings, start and the wire: what is refused with which sentence, and what is sent along."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from registry.errors import ObjectStoreError, RegistryConfigError, RegistryStartError
from registry.s3.bucket import Bucket
from registry.s3.connecting import connect
from registry.s3.settings import Encryption, StorageSettings, StorageType
from tests.ports import free_port
from tests.registry.s3.kit import ACCESS, SECRET, Server, Store

S3 = StorageSettings(StorageType.S3, bucket="registry", path_style=True)


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("bucket", "", "bucket"),
        ("bucket", "a/b", "bucket"),
        ("prefix", "/x", "prefix"),
        ("prefix", "a?b", "prefix"),
        ("endpoint", "localhost:9000", "endpoint"),
        ("endpoint", "http://me:secret@host", "endpoint"),
        ("redirect_endpoint", "ftp://host", "redirect_endpoint"),
        ("credentials_file", Path("/nowhere"), "credentials_file"),
        ("kms_key", "key", "kms_key"),
        ("part_size", 1 << 20, "part_size"),
        ("copy_part_size", 6 << 30, "copy_part_size"),
        ("redirect_expiry", 8 * 86400.0, "redirect_expiry"),
    ],
)
def test_settings_that_make_no_sense(field: str, value: Any, where: str) -> None:
    with pytest.raises(RegistryConfigError) as refused:
        replace(S3, **{field: value})
    assert refused.value.where == where


def test_files_need_nothing_of_it() -> None:
    assert StorageSettings().type is StorageType.FILES
    assert StorageSettings(bucket="").bucket == ""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageSettings:
    """Settings by a credentials file alone."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    credentials = tmp_path / "credentials"
    text = "[{}]\naws_access_key_id = {}\naws_secret_access_key = {}\n"
    credentials.write_text(
        text.format("default", ACCESS, SECRET) + text.format("stranger", ACCESS, "guessed")
    )
    return replace(S3, credentials_file=credentials)


@pytest.mark.peer
def test_a_bucket_that_answers(settings: StorageSettings, s3_server: Server) -> None:
    bucket = connect(replace(settings, endpoint=s3_server.endpoint, prefix="hello/"))
    bucket.put("a", b"1")
    assert bucket.size("a") == 1
    assert bucket.size("b") is None


@pytest.mark.peer
@pytest.mark.parametrize(
    ("change", "what", "fix"),
    [
        ({"bucket": "other"}, "refuses: NoSuchBucket", "create the bucket"),
        ({"profile": "stranger"}, "refuses: SignatureDoesNotMatch", "the secret key"),
        ({"profile": "unheard-of"}, "unheard-of", "storage.profile"),
    ],
)
def test_what_is_wrong_is_said_at_start(
    settings: StorageSettings, s3_server: Server, change: dict[str, str], what: str, fix: str
) -> None:
    with pytest.raises(RegistryStartError) as refused:
        connect(replace(settings, endpoint=s3_server.endpoint, **change))
    assert what in refused.value.what
    assert fix in (refused.value.fix or "")
    assert SECRET not in str(refused.value)


@pytest.mark.peer
def test_a_clock_that_is_wrong_is_said_at_start(
    settings: StorageSettings, s3_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = datetime.now(UTC) - timedelta(hours=1)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: late)
    with pytest.raises(RegistryStartError, match="refuses: RequestTimeTooSkewed") as refused:
        connect(replace(settings, endpoint=s3_server.endpoint))
    assert "clock" in (refused.value.fix or "")


def test_without_credentials(
    settings: StorageSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(RegistryStartError, match="no credentials"):
        connect(replace(settings, credentials_file=None, endpoint="http://127.0.0.1:1"))


@pytest.mark.slow
def test_nobody_answers(settings: StorageSettings) -> None:
    with pytest.raises(RegistryStartError, match="cannot be used"):
        connect(replace(settings, endpoint=f"http://127.0.0.1:{free_port()}"))


class Recorder:
    """The headers of requests of a client."""

    def __init__(self, client: Any) -> None:
        self.sent: dict[str, dict[str, str]] = {}
        client.meta.events.register("before-sign.s3", self._note)

    def _note(self, request: Any, operation_name: str, **_: Any) -> None:
        self.sent[operation_name] = dict(request.headers)


@pytest.mark.peer
def test_encryption_and_storage_class_go_along(s3_server: Server) -> None:
    """As headers: whether they are honoured is the server's matter."""
    s3_server.__dict__.pop("client", None)
    client = s3_server.client
    recorder = Recorder(client)
    encryption = {"ServerSideEncryption": Encryption.KMS.value, "SSEKMSKeyId": "key-1"}
    bucket = Bucket(client, s3_server.bucket, encryption=encryption, storage_class="GLACIER_IR")
    for make in (
        lambda: bucket.put("uploads/x/tail-1", b"x"),
        lambda: bucket.put("blobs/x", b"x", final=True),
        lambda: bucket.copy("uploads/x/tail-1", "blobs/y", 1),
        lambda: bucket.begin("uploads/x/whole"),
    ):
        try:
            make()
        except ObjectStoreError:  # a server without encryption says so
            continue
    for operation in ("PutObject", "CopyObject", "CreateMultipartUpload"):
        headers = {name.lower(): value for name, value in recorder.sent[operation].items()}
        assert headers["x-amz-server-side-encryption"] in ("aws:kms", b"aws:kms")
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] in ("key-1", b"key-1")
        staged = operation == "CreateMultipartUpload"
        assert ("x-amz-storage-class" not in headers) == staged
    s3_server.__dict__.pop("client", None)


@pytest.mark.peer
def test_a_busy_store_is_asked_again(settings: StorageSettings, s3_server: Server) -> None:
    bucket = connect(replace(settings, endpoint=s3_server.endpoint))
    refusals = [503, 500]

    class Raw:
        def stream(self, *_: Any, **__: Any) -> Any:
            yield b"<Error><Code>SlowDown</Code><Message>later</Message></Error>"

    def refuse(request: Any, **_: Any) -> AWSResponse | None:
        if not refusals:
            return None
        return AWSResponse(request.url, refusals.pop(), {}, Raw())

    bucket._client.meta.events.register("before-send.s3", refuse)
    bucket.put("busy", b"1")
    assert not refusals
    assert bucket.size("busy") == 1


@pytest.mark.peer
def test_a_refusal_names_the_request_and_no_secret(store: Store) -> None:
    with pytest.raises(ObjectStoreError, match="refused complete_multipart_upload") as refused:
        store.bucket.complete("x", store.bucket.begin("x"), [])
    assert SECRET not in str(refused.value)


class _Crossing:
    """A client whose store refuses the first ``refusals`` objects, as one over folders may."""

    def __init__(self, refusals: int) -> None:
        self.asked = 0
        self._refusals = refusals

    def put_object(self, **_: Any) -> dict[str, str]:
        self.asked += 1
        if self.asked > self._refusals:
            return {}
        raise ClientError({"Error": {"Code": "ExistingObjectIsDirectory"}}, "PutObject")


def test_an_object_that_crossed_a_delete_is_put_again() -> None:
    client = _Crossing(refusals=2)
    Bucket(client, "registry").put("a/b", b"1")
    assert client.asked == 3


def test_a_store_that_always_says_so_is_believed() -> None:
    with pytest.raises(ObjectStoreError, match="ExistingObjectIsDirectory"):
        Bucket(_Crossing(refusals=99), "registry").put("a/b", b"1")
