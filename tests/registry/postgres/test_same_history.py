"""The history of tags in PostgreSQL."""

from __future__ import annotations

import pytest

from tests.registry.test_tag_history import (  # noqa: F401 -- run here
    store,
    test_a_manifest_deleted_by_digest_comes_back_while_its_bytes_are_there,
    test_a_move_a_deletion_and_a_beginning,
    test_another_repository_gets_nothing,
    test_immutable_tags_do_not_go_back,
    test_nothing_to_undo,
)

pytestmark = pytest.mark.peer
