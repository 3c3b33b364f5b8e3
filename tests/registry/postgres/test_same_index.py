"""What holds for an index in SQLite holds in PostgreSQL."""

from __future__ import annotations

import pytest

from tests.registry.test_index import (  # noqa: F401 -- run here
    clock,
    index,
    test_a_failed_mount_makes_no_repository,
    test_deleting_a_manifest,
    test_links_belong_to_repositories,
    test_manifests_need_their_content,
    test_names_list_in_byte_order,
    test_one_bad_write_does_not_spoil_its_batch,
    test_referrers,
    test_stated_sizes_must_be_true,
    test_tags_list_in_byte_order,
    test_tags_move_and_are_remembered,
    test_the_store_reopens,
    test_uploads,
)

pytestmark = pytest.mark.peer
