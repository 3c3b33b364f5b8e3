"""A store that is frozen, not dead: nobody is held for long, and an answer opens the way again."""

from __future__ import annotations

import pytest
from botocore.exceptions import ReadTimeoutError

from registry.errors import ObjectStoreError, RegistryConfigError
from registry.faults import refusal_of
from registry.s3.connecting import connect
from registry.s3.settings import StorageSettings, StorageType
from registry.s3.silence import Silence
from tests.registry.s3.kit import ACCESS, SECRET, Server
from tests.waiting import eventually

pytestmark = pytest.mark.peer


def settings(server: Server) -> StorageSettings:
    return StorageSettings(
        type=StorageType.S3,
        bucket=server.bucket,
        endpoint=server.endpoint,
        path_style=True,
        prefix="silence/",
        timeout=3.0,  # less than that is a busy machine's own silence
    )


def test_a_frozen_store_refuses_and_comes_back(
    s3_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked twice; without a limit that would be six times a minute each."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    bucket = connect(settings(s3_server))
    bucket.put("there", b"content")
    with s3_server.frozen():
        with pytest.raises(ObjectStoreError) as caught:
            bucket.put("new", b"more")
        assert isinstance(caught.value.__cause__, ReadTimeoutError)
        refused = refusal_of(caught.value)
        assert refused is not None
        assert (refused.status, refused.headers) == (503, {"Retry-After": "5"})

    def heard() -> bool:
        try:
            return bucket.size("there") == 7
        except ObjectStoreError:
            return False

    eventually(heard)
    bucket.delete(["there", "new"])


def test_two_silences_in_a_row_close_the_way() -> None:
    now = [100.0]
    known = Silence(10.0, clock=lambda: now[0])
    known.unheard()
    known.check()
    known.heard()
    known.unheard()
    known.check()
    known.unheard()
    with pytest.raises(ObjectStoreError, match="keeps silent"):
        known.check()
    now[0] = 105.0
    known.check()  # this one tries
    for moment in (106.0, 129.0):
        now[0] = moment
        with pytest.raises(ObjectStoreError):
            known.check()
    now[0] = 130.0
    known.check()  # whoever tried never said what became of it
    known.heard()
    known.check()


@pytest.mark.parametrize("seconds", [0.5, 601.0])
def test_a_timeout_that_makes_no_sense(seconds: float) -> None:
    with pytest.raises(RegistryConfigError) as caught:
        StorageSettings(type=StorageType.S3, bucket="images", timeout=seconds)
    assert caught.value.where == "timeout"
