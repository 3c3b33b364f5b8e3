"""The tests of collections once more, over a bucket: what holds for files holds there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.registry import store_kit, test_gc
from tests.registry.s3 import kit

pytestmark = pytest.mark.peer

test_nothing_goes_that_is_young_or_needed = test_gc.test_nothing_goes_that_is_young_or_needed
test_untagged_manifests_go_by_rule = test_gc.test_untagged_manifests_go_by_rule_with_their_blobs
test_indexes_keep_their_children = (
    test_gc.test_indexes_keep_their_children_and_referrers_follow_their_subject
)
test_06_one_of_two_repositories = test_gc.test_06_one_of_two_repositories_that_share_a_blob
test_05_push_again_what_was_collected = test_gc.test_05_push_again_what_was_collected
test_22_empty_repositories_vanish = test_gc.test_22_empty_repositories_vanish
test_one_at_a_time = test_gc.test_one_at_a_time


@pytest.fixture
def store(store: kit.Store) -> Iterator[store_kit.Store]:
    """The store that those tests ask for, in a bucket."""
    same = kit.collected(store, settings=test_gc.RULED)
    yield same
    same.close()
