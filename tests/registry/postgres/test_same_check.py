"""Checks and scrubs over an index in PostgreSQL."""

from __future__ import annotations

import pytest

from tests.registry.test_check import (  # noqa: F401 -- run here
    store,
    test_a_damaged_manifest,
    test_a_whole_store_is_clean,
    test_a_write_between_two_looks_is_no_finding,
    test_bytes_that_are_missing_or_cut,
    test_quarantine_lets_a_push_heal,
    test_rows_that_do_not_fit,
    test_scrub_finds_rot_and_goes_on_where_it_ended,
    test_scrub_keeps_its_rate,
    test_what_a_collection_will_mend_is_a_remark,
)

pytestmark = pytest.mark.peer
