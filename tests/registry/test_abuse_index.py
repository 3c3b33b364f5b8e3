"""The list of abuses: what other registries fell for, and the tests that stand against each.

The numbers are used in test names and docstrings all over. Abuses 25 to 29 concern the web page
and the trust formats and have their tests with those.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

ABUSES: dict[int, tuple[str, tuple[str, ...]]] = {
    1: (
        "kill -9 at every step of blob commit, manifest put and delete",
        (
            "registry/test_durability.py::test_abuse_01_kill_at_random_moments",
            "registry/test_fault_points.py::test_abuse_01_kill_at_each_disk_call",
            "registry/test_disk_faults.py::test_abuse_01_faults_below_python",
        ),
    ),
    2: (
        "disk full during a chunk, a commit, a manifest",
        (
            "registry/test_abuse.py::test_abuse_02_disk_full_during_a_chunk",
            "registry/test_fault_points.py::test_abuse_02_an_error_at_each_disk_call",
            "registry/test_disk_faults.py::test_abuse_02_a_disk_that_fills_up",
        ),
    ),
    3: (
        "collection in a tight loop under a soak",
        ("registry/test_soak.py::test_abuse_03_everything_at_once",),
    ),
    4: (
        "HEAD or mount, collection, then the manifest",
        ("registry/test_gc_serving.py::test_04_what_was_told_outlives_a_collection",),
    ),
    5: (
        "delete, collect, push the same again",
        (
            "registry/test_abuse.py::test_abuse_05_delete_and_push_again",
            "registry/test_gc_serving.py::test_05_delete_collect_push_pull",
        ),
    ),
    6: (
        "one of two repositories that share a blob goes",
        (
            "registry/test_abuse.py::test_abuse_06_deleting_in_one_repository_leaves_the_other",
            "registry/test_gc.py::test_06_one_of_two_repositories_that_share_a_blob",
        ),
    ),
    7: (
        "diamonds of indexes, cycles",
        (
            "registry/test_gc.py::test_07_diamonds_of_forty_levels",
            "registry/test_gc.py::test_07_a_forged_cycle_ends",
        ),
    ),
    8: ("page sizes", ("registry/test_abuse.py::test_abuse_08_page_sizes_are_ours",)),
    9: (
        "manifests that are too much",
        (
            "registry/test_abuse.py::test_abuse_09_four_mebibytes_and_no_more",
            "registry/test_abuse.py::test_abuse_09_endless_chunked_body",
            "registry/test_abuse.py::test_abuse_09_a_hundred_thousand_layers",
            "registry/test_abuse.py::test_abuse_09_strange_json",
        ),
    ),
    10: (
        "documents that can be read as two things",
        ("registry/test_abuse.py::test_abuse_10_type_confusion",),
    ),
    11: (
        "digests in other spellings and algorithms",
        (
            "registry/test_abuse.py::test_abuse_11_digest_confusion",
            "registry/test_abuse.py::test_abuse_11_algorithms_are_not_aliases",
        ),
    ),
    12: (
        "paths that lead out",
        (
            "registry/test_abuse.py::test_abuse_12_path_traversal",
            "registry/test_abuse.py::test_abuse_12_nothing_but_our_files_appear",
        ),
    ),
    13: (
        "upload ids of others, guessed, finished, raced for",
        (
            "registry/test_uploads.py::test_abuse_13_a_session_belongs_to_its_repository",
            "registry/test_uploads.py::test_abuse_13_ids_cannot_be_guessed",
            "registry/test_uploads.py::test_abuse_13_a_finished_id_is_gone",
            "registry/test_uploads.py::test_abuse_13_a_session_has_one_request_at_a_time",
        ),
    ),
    14: (
        "chunks that overlap, gape, stall or break off",
        (
            "registry/test_uploads.py::test_abuse_14_a_range_that_contradicts_the_body",
            "registry/test_uploads.py::test_abuse_14_a_dropped_connection_keeps_what_arrived",
            "registry/test_uploads.py::test_abuse_14_a_stalled_client_is_dropped",
            "registry/test_uploads.py::test_abuse_14_resume_after_a_restart",
        ),
    ),
    15: (
        "a digest that does not match at the end",
        ("registry/test_uploads.py::test_abuse_15_wrong_digest_ends_the_session",),
    ),
    16: (
        "content through a repository that never had it",
        (
            "registry/test_abuse.py::test_abuse_16_content_of_other_repositories_is_not_readable",
            "registry/test_abuse.py::test_abuse_16_answers_in_memory_belong_to_their_repository",
        ),
    ),
    17: (
        "a deleted link that a peer's read brings back",
        ("registry/test_abuse.py::test_abuse_17_a_deleted_link_stays_deleted",),
    ),
    18: (
        "deletion switched off, and a tag deleted all the same",
        (
            "registry/test_abuse.py::test_abuse_18_no_delete_slips_through",
            "registry/test_access_abuse.py::test_18_without_deletion_a_tag_cannot_be_deleted",
        ),
    ),
    19: (
        "tokens used beyond their scope",
        ("registry/test_access_abuse.py::test_19_a_token_does_what_it_grants_and_nothing_else",),
    ),
    20: (
        "?tag= around the rules",
        (
            "registry/test_access_abuse.py::test_20_tags_by_query_need_the_same_right",
            "registry/test_retention.py::test_20_no_way_around_an_immutable_tag",
        ),
    ),
    21: ("forged tokens", ("registry/test_access_abuse.py::test_21_forged_tokens",)),
    22: (
        "revoked groups and keys",
        (
            "registry/test_access_abuse.py::test_22_what_was_revoked_is_honoured_no_more",
            "registry/test_access_abuse.py::test_22_a_group_that_someone_left",
        ),
    ),
    24: (
        "default and empty passwords",
        ("registry/test_access_abuse.py::test_24_a_default_password_of_an_administrator",),
    ),
    30: (
        "odd signature tags and subjects, a thousand appends at once",
        (
            "registry/test_abuse.py::test_abuse_30_malformed_signature_tags",
            "registry/test_abuse.py::test_abuse_30_a_subject_of_itself_and_of_absurd_size",
            "registry/test_signature_tags.py::test_abuse_30_parallel_appends_lose_none",
        ),
    ),
}

NOT_OURS = {23: "there is no proxying, so no upstream to be lied to by or to lie for"}


@cache
def named_in(path: Path) -> frozenset[str]:
    """The names of the test functions in a file."""
    nodes = ast.walk(ast.parse(path.read_text()))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in nodes if isinstance(node, kinds))


def test_every_number_has_its_tests() -> None:
    assert set(ABUSES) | set(NOT_OURS) == {*range(1, 25), 30}
    assert not set(ABUSES) & set(NOT_OURS)


@pytest.mark.parametrize("number", ABUSES)
def test_every_test_that_is_named_exists(number: int) -> None:
    title, tests = ABUSES[number]
    assert title
    assert tests
    for test in tests:
        file, _, name = test.partition("::")
        assert name in named_in(TESTS / file), test


def test_no_test_has_an_unknown_number() -> None:
    for path in (TESTS / "registry").glob("test_*.py"):
        for name in named_in(path):
            numbered = re.match(r"test_abuse_(\d+)_", name)
            assert numbered is None or int(numbered[1]) in ABUSES, name
