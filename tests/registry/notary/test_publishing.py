"""Each rule of a publish, with notary's word for its breach."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.notary.errors import InvalidUpdateError, NotaryError
from tests.registry.notary.conftest import Clock, Publisher
from tests.trust.tuf.kit import DAY, GUN, MANIFEST, NOW, key
from trust.tuf import roles, tags
from trust.tuf.metadata import Envelope, FileMeta, Listing, sign


def refused(publisher: Publisher, uploads: dict[str, bytes]) -> InvalidUpdateError:
    before = publisher.notary.store.versions(publisher.gun)
    with pytest.raises(InvalidUpdateError) as caught:
        publisher.notary.publish(publisher.gun, uploads)
    assert publisher.notary.store.versions(publisher.gun) == before
    assert len(caught.value.body()) < 1024
    return caught.value


def resigned(raw: bytes, role: str, *names: str, **changes) -> bytes:
    signed = {**Envelope.parse(raw, role=role).signed, **changes}
    return sign(signed, [key(name) for name in names])


def test_what_is_published_is_believed_by_a_fresh_client(publisher):
    tag = tags.resolve(publisher.read(), "latest")
    assert (tag.digest.hex, tag.signers) == (MANIFEST.sha256, ("alice",))


def test_uploaded_bytes_are_served_as_they_came(publisher):
    made = publisher.publish(publisher.draft().add_target(roles.RELEASES, "v2", MANIFEST))
    assert publisher.notary.current(GUN, roles.RELEASES).data == made[roles.RELEASES]


def test_every_version_of_the_root_is_kept(publisher):
    for _ in range(20):
        publisher.publish(
            publisher.draft().witness(roles.TARGETS).rotate("root", [key("root").key])
        )
    roots = [publisher.notary.by_version(GUN, "root", version) for version in range(1, 22)]
    assert len({root.data for root in roots}) == 21
    with pytest.raises(NotaryError, match="METADATA_NOT_FOUND"):
        publisher.notary.by_version(GUN, "targets", 1)


class TestRoot:
    def test_without_a_root_there_is_nothing_to_publish(self, notary):
        publisher = Publisher(notary)
        made = publisher.sign(publisher.first())
        del made["root"]
        assert refused(publisher, made).name == "ErrValidation"

    def test_a_first_root_may_not_be_the_third(self, notary):
        publisher = Publisher(notary)
        made = publisher.sign(publisher.first())
        made["root"] = resigned(made["root"], "root", "root", version=3)
        assert refused(publisher, made).name == "ErrBadRoot"

    def test_a_successor_may_not_skip(self, publisher):
        raw = publisher.notary.current(GUN, "root").data
        error = refused(publisher, {"root": resigned(raw, "root", "root", version=3)})
        assert error.name == "ErrBadRoot"
        assert "increment" in error.detail["Error"]["Msg"]

    def test_the_old_keys_must_sign_a_rotation(self, publisher):
        made = publisher.sign(publisher.draft().rotate("root", [key("root-2").key]))
        alone = {"root": resigned(made["root"], "root", "root-2")}
        assert refused(publisher, alone).name == "ErrBadRoot"
        only_old = {"root": resigned(made["root"], "root", "root")}
        assert refused(publisher, only_old).name == "ErrBadRoot"
        publisher.notary.publish(GUN, made)
        assert tags.resolve(publisher.read(), "latest")

    def test_an_expired_root_is_refused(self, publisher):
        raw = publisher.notary.current(GUN, "root").data
        old = resigned(raw, "root", "root", version=2, expires="2026-11-20T00:00:00Z")
        assert refused(publisher, {"root": old}).name == "ErrBadRoot"

    def test_a_certificate_for_another_name_is_refused(self, notary):
        publisher = Publisher(notary, "registry.example.com/lib/other")
        made = publisher.sign(publisher.first())
        assert refused(publisher, made).name == "ErrBadRoot"

    def test_a_timestamp_key_that_is_not_ours_is_refused(self, notary):
        publisher = Publisher(notary)
        draft = publisher.first().rotate("timestamp", [key("mallory").key])
        error = refused(publisher, publisher.sign(draft))
        assert error.name == "ErrBadRoot"
        assert "timestamp" in error.detail["Error"]["Msg"]


class TestTargets:
    def test_another_key_is_refused(self, publisher):
        raw = publisher.notary.current(GUN, "targets").data
        forged = resigned(raw, "targets", "mallory", version=2)
        assert refused(publisher, {"targets": forged}).name == "ErrBadTargets"

    def test_a_delegation_is_judged_by_its_newest_parent(self, publisher):
        draft = publisher.draft().delegate("targets/bob", add=[key("bob").key])
        publisher.names.append("bob")
        draft = draft.add_target("targets/bob", "v2", MANIFEST)
        made = publisher.sign(draft)
        assert refused(publisher, {"targets/bob": made["targets/bob"]}).name == "ErrBadTargets"
        publisher.notary.publish(GUN, made)
        assert "targets/bob" in publisher.read().targets

    def test_a_role_that_nobody_delegates_to_is_refused(self, publisher):
        raw = publisher.notary.current(GUN, "targets/alice").data
        deep = resigned(raw, "targets/alice", "alice", version=1)
        assert refused(publisher, {"targets/alice/sub": deep}).name == "ErrBadTargets"

    def test_a_delegation_that_is_gone_leaves_the_snapshot(self, publisher):
        publisher.publish(publisher.draft().undelegate("targets/alice"))
        assert not publisher.read().names("targets/alice")


class TestSnapshot:
    def test_it_is_ours_to_make_unless_its_key_is_elsewhere(self, publisher):
        publisher.names.append("snapshot")
        draft = publisher.draft().rotate("snapshot", [key("snapshot").key])
        made = publisher.sign(draft)
        assert "snapshot" in made
        publisher.notary.publish(GUN, made)
        alone = publisher.sign(publisher.draft().add_target(roles.RELEASES, "v2", MANIFEST))
        del alone["snapshot"]
        error = refused(publisher, alone)
        assert (error.name, error.detail["Error"]["Missing"]) == ("ErrBadHierarchy", "snapshot")

    def test_one_that_names_other_bytes_is_refused(self, publisher):
        publisher.names.append("snapshot")
        made = publisher.sign(publisher.draft().rotate("snapshot", [key("snapshot").key]))
        listing = Envelope.parse(made["snapshot"], role="snapshot").snapshot()
        lie = replace(listing, meta={**listing.meta, "root": FileMeta.of(b"other")})
        made["snapshot"] = sign(lie.to_json("Snapshot"), [key("snapshot")])
        assert refused(publisher, made).name == "ErrBadSnapshot"

    def test_one_that_omits_targets_is_refused(self, publisher):
        publisher.names.append("snapshot")
        made = publisher.sign(publisher.draft().rotate("snapshot", [key("snapshot").key]))
        listing = Listing(9, NOW + DAY, {"root": FileMeta.of(made["root"])})
        made["snapshot"] = sign(listing.to_json("Snapshot"), [key("snapshot")])
        assert refused(publisher, made).name == "ErrBadSnapshot"


class TestVersions:
    def test_the_same_version_again_is_no_update(self, publisher):
        made = {"targets": publisher.notary.current(GUN, "targets").data}
        with pytest.raises(NotaryError, match="VERSION"):
            publisher.notary.publish(GUN, made)

    def test_two_publishes_on_one_state_give_one_of_them_VERSION(self, publisher):
        draft = publisher.draft()
        one = publisher.sign(draft.add_target(roles.RELEASES, "one", MANIFEST))
        other = publisher.sign(draft.add_target(roles.RELEASES, "other", MANIFEST))
        publisher.notary.publish(GUN, one)
        with pytest.raises(NotaryError, match="VERSION"):
            publisher.notary.publish(GUN, other)
        assert tags.resolve(publisher.read(), "one")


class TestSigningAgain:
    def test_an_expired_timestamp_is_signed_again_when_it_is_asked_for(
        self, publisher, clock: Clock
    ):
        clock.forward(days=15)
        assert tags.resolve(publisher.read(), "latest")
        assert publisher.notary.store.versions(GUN)["timestamp"] == 2

    def test_the_sweep_signs_before_half_of_the_time_is_over(self, publisher, clock: Clock):
        assert publisher.notary.sweep() == 0
        clock.forward(days=7, seconds=1)
        assert publisher.notary.sweep() == 1
        assert publisher.notary.sweep() == 0
        assert tags.resolve(publisher.read(), "latest")

    def test_a_snapshot_of_a_client_is_left_alone(self, publisher, clock: Clock):
        publisher.names.append("snapshot")
        publisher.publish(publisher.draft().rotate("snapshot", [key("snapshot").key]))
        raw = publisher.notary.current(GUN, "snapshot").data
        clock.forward(days=8)
        assert publisher.notary.sweep() == 1
        assert publisher.notary.current(GUN, "snapshot").data == raw
