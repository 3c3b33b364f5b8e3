"""The list of abuses: what other registries and signers fell for, and the tests against each.

The numbers are used in test names and docstrings all over.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

_UPDATES = (
    "test_a_replayed_old_state_is_a_rollback",
    "test_a_frozen_state_expires",
    "test_mixed_states_do_not_fit",
    "test_truncated_answers_are_refused",
    "test_another_repositorys_data_is_refused",
    "test_a_forged_link_in_the_chain_of_roots_is_refused",
    "test_a_thousand_roots_are_not_walked",
)
_SETS = (
    "test_an_old_root_is_a_rollback",
    "test_a_skipped_version_is_refused_even_if_the_old_keys_signed",
    "test_a_root_by_other_keys_is_refused",
    "test_a_root_for_another_repository_is_refused",
    "test_one_key_that_signs_twice_counts_once",
    "test_one_key_in_two_certificates_counts_once",
    "test_a_role_signed_by_another_key_is_refused",
    "test_what_expired_is_refused",
    "test_targets_of_another_snapshot_are_refused",
    "test_an_oversized_timestamp_is_not_read",
)

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
    23: (
        "a lying upstream: realms, redirects, digests, sizes; a client that goes away",
        (
            "registry/proxy/test_abuse.py::test_a_realm_on_another_host_gets_no_credentials",
            "registry/proxy/test_abuse.py::test_a_redirect_elsewhere_gets_no_credentials",
            "registry/proxy/test_abuse.py::test_what_a_client_shows_us_goes_nowhere",
            "registry/proxy/test_abuse.py::test_a_redirect_to_a_link_local_address_is_not_followed",
            "registry/proxy/test_abuse.py::test_a_redirect_into_this_machine_is_not_followed",
            "registry/proxy/test_abuse.py"
            "::test_a_manifest_of_another_digest_is_neither_served_nor_kept",
            "registry/proxy/test_abuse.py::test_a_blob_of_another_digest_never_arrives_whole",
            "registry/proxy/test_abuse.py::test_an_oversized_manifest_is_not_read_to_its_end",
            "registry/proxy/test_abuse.py::test_a_blob_that_does_not_end_is_cut_off",
            "registry/proxy/test_abuse.py::test_what_is_no_manifest_is_not_served_as_one",
            "registry/proxy/test_puller.py::test_a_client_that_goes_away_stops_nobody",
        ),
    ),
    24: (
        "default and empty passwords",
        ("registry/test_access_abuse.py::test_24_a_default_password_of_an_administrator",),
    ),
    25: (
        "markup in what images and addresses say, a login that leads elsewhere",
        (
            "registry/test_web_abuse.py::test_abuse_25_what_images_say_is_text",
            "registry/test_web_abuse.py::test_abuse_25_what_addresses_say_is_text",
            "registry/test_web_abuse.py::test_abuse_25_a_login_leads_to_pages_of_ours",
            "registry/test_web_abuse.py::test_abuse_25_a_login_leads_nowhere_else",
        ),
    ),
    26: (
        "Notary metadata that is old, frozen, mixed, forged, oversized or somebody else's",
        tuple(f"engine/content_trust/test_updating.py::{name}" for name in _UPDATES)
        + tuple(f"trust/tuf/test_trusted.py::{name}" for name in _SETS)
        + (
            "registry/notary/test_requests.py::test_a_bad_upload_is_400_and_changes_nothing",
            "registry/notary/test_requests.py::test_one_role_may_come_once",
            "registry/notary/test_requests.py::test_a_broken_rule_names_notarys_error_once",
            "property/test_tuf_tampering.py::test_no_byte_may_change_appear_or_go",
        ),
    ),
    27: (
        "two publishers at once, a deletion while one reads",
        (
            "registry/notary/test_service.py::test_concurrent_publishes_never_tear_a_set",
            "registry/notary/test_requests.py::test_publishing_again_is_an_old_version",
            "registry/notary/test_service.py::test_a_deleted_collection_is_gone_with_its_keys",
        ),
    ),
    28: (
        "valid signatures of something else, malformed payloads and bundles, damaged keys",
        (
            "trust/test_attacks.py::test_attack_is_refused_for_its_reason",
            "trust/test_attacks.py::test_damaged_key_is_refused_before_any_work",
            "trust/test_attacks.py::test_every_reason_has_an_attack",
            "trust/test_bundle.py::test_two_kinds_of_signature_in_one_bundle_are_refused",
            "trust/test_bundle.py::test_statement_that_says_something_else_is_refused",
            "trust/test_notation_certificates.py::test_validity_is_judged_at_the_moment_given",
            "trust/test_notation_certificates.py::test_a_chain_that_is_cut_is_refused",
            "property/test_trust_tampering.py::test_every_byte_and_bit_of_a_bundle",
        ),
    ),
    29: (
        "a hundred thousand referrers or layers of signatures",
        (
            "engine/test_trusting.py"
            "::test_a_hundred_thousand_layers_are_refused_before_any_is_fetched",
            "engine/test_trusting.py::test_many_referrers_are_refused_before_any_is_fetched",
            "registry/test_manifest_handling.py::test_referrers_are_paged",
        ),
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

NOT_OURS = {}


@cache
def named_in(path: Path) -> frozenset[str]:
    """The names of the test functions in a file."""
    nodes = ast.walk(ast.parse(path.read_text()))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in nodes if isinstance(node, kinds))


def test_every_number_has_its_tests() -> None:
    assert set(ABUSES) | set(NOT_OURS) == set(range(1, 31))
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
