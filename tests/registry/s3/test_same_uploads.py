"""The tests of upload sessions once more, over a bucket: what holds for files holds there."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path

import pytest

from registry.s3.settings import StorageSettings, StorageType
from tests.registry import test_uploads
from tests.registry.conftest import StartRegistry
from tests.registry.s3.kit import ACCESS, PART, SECRET, Server

pytestmark = pytest.mark.peer

test_post_then_put = test_uploads.test_post_then_put
test_chunked = test_uploads.test_chunked
test_streamed_without_length = test_uploads.test_streamed_without_length
test_many_pieces_keep_their_order = test_uploads.test_many_pieces_keep_their_order
test_either_algorithm = test_uploads.test_the_digest_may_use_either_algorithm
test_progress_of_an_empty_session = test_uploads.test_progress_of_an_empty_session
test_abuse_14_a_chunk_elsewhere = (
    test_uploads.test_abuse_14_a_chunk_elsewhere_is_refused_and_the_session_goes_on
)
test_abuse_14_a_contradiction = test_uploads.test_abuse_14_a_range_that_contradicts_the_body
test_a_stream_shorter_than_its_range = test_uploads.test_a_stream_shorter_than_its_range
test_two_servers_share_a_session = test_uploads.test_two_servers_share_a_session
test_abuse_14_a_dropped_connection = (
    test_uploads.test_abuse_14_a_dropped_connection_keeps_what_arrived
)
test_abuse_13_one_request_at_a_time = test_uploads.test_abuse_13_a_session_has_one_request_at_a_time
test_racing_finishers = test_uploads.test_racing_finishers
test_abuse_13_its_repository = test_uploads.test_abuse_13_a_session_belongs_to_its_repository
test_abuse_13_a_finished_id_is_gone = test_uploads.test_abuse_13_a_finished_id_is_gone


@pytest.fixture
def storage(s3_server: Server, tmp_path: Path) -> StorageSettings:
    """A prefix of the test's own."""
    credentials = tmp_path / "credentials"
    credentials.write_text(
        f"[default]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n"
    )
    return StorageSettings(
        StorageType.S3,
        bucket=s3_server.bucket,
        prefix=f"{secrets.token_hex(6)}/",
        endpoint=s3_server.endpoint,
        path_style=True,
        credentials_file=credentials,
        part_size=PART,
    )


@pytest.fixture
def start(start: StartRegistry, storage: StorageSettings) -> StartRegistry:
    """Registries that keep their blobs there."""
    return partial(start, storage=storage)
