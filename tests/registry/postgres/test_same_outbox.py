"""Followers are told the same by an index in PostgreSQL."""

from __future__ import annotations

import pytest

from tests.registry.test_outbox import (  # noqa: F401 -- run here
    index,
    test_a_tag_that_stays_is_no_change,
    test_deleting_a_manifest_tells_of_its_tags,
    test_every_change_is_told_in_order,
    test_followers_go_on_after_their_position,
    test_what_was_refused_did_not_happen,
    test_without_followers_nothing_is_written,
)

pytestmark = pytest.mark.peer
