"""Collections over an index in PostgreSQL."""

from __future__ import annotations

import pytest

from tests.registry.test_gc import (  # noqa: F401 -- run here
    store,
    test_05_push_again_what_was_collected,
    test_06_one_of_two_repositories_that_share_a_blob,
    test_07_a_forged_cycle_ends,
    test_07_diamonds_of_forty_levels,
    test_22_dead_uploads_end,
    test_22_empty_repositories_vanish,
    test_a_budget_stops_it_and_the_next_run_goes_on,
    test_a_tagged_referrer_stays_without_its_subject,
    test_indexes_keep_their_children_and_referrers_follow_their_subject,
    test_killed_uploads_leave_nothing,
    test_nothing_goes_that_is_young_or_needed,
    test_old_moves_are_forgotten,
    test_one_at_a_time,
    test_referrers_without_their_subject_wait,
    test_retention_and_its_dry_run,
    test_retention_knows_the_order_of_pushes_within_a_second,
    test_untagged_manifests_go_by_rule_with_their_blobs,
    test_untagged_manifests_stay_without_a_rule,
    test_what_a_tag_pointed_to_stays_for_the_undo_window,
)

pytestmark = pytest.mark.peer
