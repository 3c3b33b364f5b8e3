"""Changing trust data: what is signed, by whom, and what cannot be."""

from __future__ import annotations

import pytest

from tests.trust.tuf.kit import DAY, MANIFEST, NOW, Repository, key, signed_repository
from trust.tuf import roles, tags
from trust.tuf.errors import MissingKeyError, PublishError, UnsignedTagError
from trust.tuf.metadata import Envelope


@pytest.fixture
def repository() -> Repository:
    return signed_repository()


def versions(made: dict[str, bytes]) -> dict[str, int]:
    return {role: Envelope.parse(raw, role=role).signed["version"] for role, raw in made.items()}


def test_only_what_changed_is_signed_again(repository):
    made = repository.publish(repository.draft.add_target(roles.RELEASES, "v2", MANIFEST))
    assert versions(made) == {roles.RELEASES: 2, "snapshot": 2}


def test_a_removed_tag_is_gone_and_removing_it_twice_changes_nothing(repository):
    draft = repository.draft.remove_target(roles.RELEASES, "latest")
    assert draft.remove_target(roles.RELEASES, "latest") is draft
    repository.publish(draft)
    with pytest.raises(UnsignedTagError):
        tags.resolve(repository.trusted(), "latest")


def test_a_delegation_of_a_delegation(repository):
    carol = repository.key("carol")
    draft = repository.draft.delegate("targets/alice/carol", add=[carol], paths=["c/"])
    draft = draft.add_target("targets/alice/carol", "c/1", MANIFEST)
    made = repository.publish(draft)
    assert set(made) == {"targets/alice", "targets/alice/carol", "snapshot"}
    trusted = repository.trusted()
    assert tags.listed(trusted, "targets/alice/carol") == ("c/1",)
    repository.publish(repository.draft.undelegate("targets/alice"))
    assert not any("alice" in role for role in repository.trusted().targets)


def test_a_threshold_needs_as_many_keys(repository):
    bob = repository.key("bob")
    draft = repository.draft.delegate(roles.RELEASES, add=[bob], threshold=2)
    made = repository.publish(draft.witness(roles.RELEASES))
    assert len(Envelope.parse(made[roles.RELEASES], role=roles.RELEASES).signatures) == 2
    del repository.ring[bob.id]
    with pytest.raises(MissingKeyError, match="2 of its keys, and 1"):
        repository.publish(repository.draft.witness(roles.RELEASES))


def test_a_witness_signs_the_same_by_todays_keys(repository):
    before = repository.trusted().targets[roles.RELEASES].targets
    repository.publish(repository.draft.witness(roles.RELEASES))
    assert repository.trusted().targets[roles.RELEASES].targets == before


def test_a_rotated_root_is_signed_by_old_and_new(repository):
    draft = repository.draft.rotate("root", [repository.key("root-2")])
    made = repository.publish(draft)
    signatures = Envelope.parse(made["root"], role="root").signatures
    assert {s.key_id for s in signatures} == {key("root").key.id, key("root-2").key.id}
    assert set(versions(made)) == {"root", "snapshot"}


def test_rotating_without_the_old_root_key_fails_here_already(repository):
    draft = repository.draft.rotate("root", [repository.key("root-2")])
    del repository.ring[key("root").key.id]
    with pytest.raises(MissingKeyError):
        repository.publish(draft)


def test_rotated_targets_are_signed_anew(repository):
    made = repository.publish(repository.draft.rotate("targets", [repository.key("targets-2")]))
    assert set(made) == {"root", "targets", "snapshot"}


def test_a_root_near_its_date_is_renewed_by_the_next_publish(repository):
    nearly = NOW + (3650 - 100) * DAY
    draft = repository.draft.add_target(roles.RELEASES, "v2", MANIFEST)
    made = draft.sign(lambda public: repository.ring.get(public.id), now=nearly)
    assert "root" in made
    assert "root" not in draft.sign(lambda public: repository.ring.get(public.id), now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        lambda draft: draft.add_target("targets/nobody", "v1", MANIFEST),
        lambda draft: draft.delegate("alice"),
        lambda draft: draft.delegate("targets/Alice"),
        lambda draft: draft.delegate("targets/a/../b"),
        lambda draft: draft.delegate("targets/nobody/x"),
        lambda draft: draft.delegate("targets/alice", threshold=2),
        lambda draft: draft.rotate("targets/alice", []),
        lambda draft: draft.delegate("targets/alice", paths=["v"]).add_target(
            "targets/alice", "latest", MANIFEST
        ),
        lambda draft: draft.witness("targets/nobody"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_signed(repository, change):
    with pytest.raises(PublishError):
        change(repository.draft)


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("alice", True),
        ("a-b_c", True),
        ("releases", False),
        ("Alice", False),
        ("a.b", False),
        ("a@b", False),
        ("", False),
        ("-a", False),
        ("a/b", False),
        ("a" * 300, False),
    ],
)
def test_signers_have_dockers_names(name, accepted):
    assert roles.is_signer(name) is accepted
