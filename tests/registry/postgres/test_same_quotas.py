"""Quotas in PostgreSQL."""

from __future__ import annotations

import pytest

from tests.registry.test_quotas import (  # noqa: F401 -- run here
    test_a_lowered_quota_lets_go_but_not_grow,
    test_a_session_is_refused_at_its_end_and_leaves_nothing,
    test_an_upload_that_is_too_long_is_refused_early,
    test_bytes,
    test_concurrent_uploads_do_not_pass_it_between_them,
    test_repositories_counted_together,
    test_tags,
)

pytestmark = pytest.mark.peer
