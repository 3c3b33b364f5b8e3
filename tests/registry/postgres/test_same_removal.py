"""Removal of repositories in PostgreSQL."""

from __future__ import annotations

import pytest

from tests.registry.test_removal import (  # noqa: F401 -- run here
    root,
    test_an_upload_under_way_keeps_the_name,
    test_by_command,
    test_everything_of_it_goes_at_once,
    test_many_steps,
    test_there_is_none,
)

pytestmark = pytest.mark.peer
