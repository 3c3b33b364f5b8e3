"""Collections beside clients, over an index in PostgreSQL."""

from __future__ import annotations

import pytest

from tests.registry.test_gc_serving import (  # noqa: F401 -- run here
    client,
    root,
    store,
    test_04_manifests_too,
    test_04_what_was_told_outlives_a_collection,
    test_04_without_being_told_it_goes,
    test_05_delete_collect_push_pull,
    test_17_a_repository_that_let_go_stays_without,
    test_a_lease_on_what_is_gone_is_refused,
    test_an_upload_slower_than_the_lease_is_told,
    test_leases_are_written_seldom_and_last,
)

pytestmark = pytest.mark.peer
