"""One test for each attack on trust data, each refused by its own error."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.trust.tuf.kit import DAY, GUN, MANIFEST, NOW, Repository, key, load, signed_repository
from trust.tuf import roles, tags
from trust.tuf.draft import Draft
from trust.tuf.errors import (
    ExpiredError,
    MalformedMetadataError,
    OversizeError,
    PublishError,
    RollbackError,
    RootRotationError,
    RootSkipError,
    ThresholdError,
    TufError,
    UnknownRoleError,
    UnknownSpecificationError,
    UnsignedTagError,
    UntrustedRootError,
    WrongHashError,
    WrongTypeError,
)
from trust.tuf.keys import Signer
from trust.tuf.metadata import Envelope, FileMeta, Listing, sign
from trust.tuf.pinning import Pins
from trust.tuf.trusted import TrustedSet


def begin(repository: Repository, **more) -> TrustedSet:
    return TrustedSet.begin(GUN, repository.files["root"], **{"now": NOW, **more})


def resigned(raw: bytes, role: str, *names: str, **changes) -> bytes:
    """The same metadata with other members, signed by these keys."""
    signed = {**Envelope.parse(raw, role=role).signed, **changes}
    return sign(signed, [key(name) for name in names])


@pytest.fixture
def repository() -> Repository:
    return signed_repository()


class TestHonest:
    def test_a_signed_tag_resolves_to_its_digest(self, repository):
        tag = tags.resolve(repository.trusted(), "latest")
        assert tag.digest.hex == MANIFEST.sha256
        assert (tag.role, tag.signers) == (roles.RELEASES, ("alice",))

    def test_a_tag_that_only_a_signer_has_is_not_released(self, repository):
        repository.publish(repository.draft.add_target("targets/alice", "wip", MANIFEST))
        with pytest.raises(UnsignedTagError):
            tags.resolve(repository.trusted(), "wip")

    def test_a_tag_outside_the_paths_of_its_delegation_does_not_count(self, repository):
        raw = repository.files[roles.RELEASES]
        draft = repository.draft.delegate(roles.RELEASES, paths=["v"])
        repository.publish(draft)
        assert repository.files[roles.RELEASES] == raw
        with pytest.raises(UnsignedTagError):
            tags.resolve(repository.trusted(), "latest")

    def test_roots_rotate_one_after_the_other(self, repository):
        first = begin(repository)
        for name in ("root-2", "root-3"):
            repository.publish(repository.draft.rotate(roles.ROOT, [repository.key(name)]))
        chained = first.with_root(repository.roots[2], final=False).with_root(repository.roots[3])
        assert tags.resolve(load(chained, repository.files), "latest").name == "latest"


class TestRoots:
    def test_a_skipped_version_is_refused(self, repository):
        first = begin(repository)
        for name in ("root-2", "root-3"):
            repository.publish(repository.draft.rotate(roles.ROOT, [repository.key(name)]))
        with pytest.raises(RootSkipError):
            first.with_root(repository.roots[3])

    def test_a_skipped_version_is_refused_even_if_the_old_keys_signed(self, repository):
        raw = resigned(repository.files["root"], "root", "root", version=3)
        with pytest.raises(RootSkipError):
            begin(repository).with_root(raw)

    def test_a_root_by_other_keys_is_refused(self, repository):
        other = Repository.create(root=("root-mallory",))
        other.publish()
        raw = resigned(other.files["root"], "root", "root-mallory", version=2)
        with pytest.raises(RootRotationError):
            begin(repository).with_root(raw)

    def test_a_new_root_that_its_own_keys_did_not_sign_is_refused(self, repository):
        repository.publish(repository.draft.rotate(roles.ROOT, [repository.key("root-2")]))
        raw = resigned(repository.roots[2], "root", "root")
        first = TrustedSet.begin(GUN, repository.roots[1], now=NOW)
        with pytest.raises(ThresholdError):
            first.with_root(raw)

    def test_an_old_root_is_a_rollback(self, repository):
        repository.publish(repository.draft.rotate(roles.TARGETS, [repository.key("targets-2")]))
        with pytest.raises(RollbackError):
            begin(repository).with_root(repository.roots[1])

    def test_a_root_for_another_repository_is_refused(self, repository):
        with pytest.raises(UntrustedRootError):
            TrustedSet.begin("registry.example.com/lib/other", repository.files["root"], now=NOW)

    def test_a_prefix_certificate_speaks_for_all_below_it(self):
        for name, accepted in (("registry.example.com/lib/*", True), ("registry.*.com", False)):
            signer = Signer.generate().certified(name, start=NOW, end=NOW + DAY)
            made = Draft.new(
                GUN,
                root=[signer.key],
                targets=key("targets").key,
                snapshot=key("snapshot").key,
                timestamp=key("timestamp").key,
                now=NOW,
            ).sign(
                lambda k, s=signer: (
                    s
                    if k == s.key
                    else key("targets").as_key(k)
                    if k == key("targets").key
                    else None
                ),
                now=NOW,
            )
            if accepted:
                TrustedSet.begin(GUN, made["root"], now=NOW)
            else:
                with pytest.raises(UntrustedRootError):
                    TrustedSet.begin(GUN, made["root"], now=NOW)

    def test_an_expired_certificate_cannot_be_a_first_root(self, repository):
        with pytest.raises(UntrustedRootError):
            begin(repository, now=NOW + 3651 * DAY)

    def test_a_pin_forbids_first_use(self, repository):
        with pytest.raises(UntrustedRootError):
            begin(repository, pins=Pins({GUN: (key("root-2").key.id,)}))
        with pytest.raises(UntrustedRootError):
            begin(repository, pins=Pins(first_use=False))
        for pinned in (key("root").key.id, key("root").key.bare().id):
            begin(repository, pins=Pins({"registry.example.com/*": (pinned,)}, first_use=False))


class TestSignatures:
    @pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
    def test_a_role_signed_by_another_key_is_refused(self, repository, role):
        files = {**repository.files, role: resigned(repository.files[role], role, "mallory")}
        if role != "timestamp":
            files = consistent(repository, files)
        with pytest.raises(ThresholdError):
            load(begin(repository), files)

    def test_a_delegation_signed_by_its_parents_key_is_refused(self, repository):
        raw = resigned(repository.files[roles.RELEASES], roles.RELEASES, "targets")
        with pytest.raises(ThresholdError):
            load(
                begin(repository), consistent(repository, {**repository.files, roles.RELEASES: raw})
            )

    def test_one_key_that_signs_twice_counts_once(self):
        repository = Repository.create(root=("root", "root-2"), threshold=2)
        repository.publish()
        begin(repository)
        raw = resigned(repository.files["root"], "root", "root", "root")
        with pytest.raises(ThresholdError, match="signed by 1"):
            TrustedSet.begin(GUN, raw, now=NOW)

    def test_one_key_in_two_certificates_counts_once(self):
        one = key("root")
        twin = one.certified(GUN, start=NOW - DAY, end=NOW + 99 * DAY)
        assert twin.key.id != one.key.id
        with pytest.raises(PublishError):
            Draft.new(
                GUN,
                root=[one.key, twin.key],
                targets=key("targets").key,
                snapshot=key("snapshot").key,
                timestamp=key("timestamp").key,
                now=NOW,
                threshold=2,
            )
        repository = Repository.create(root=("root", "root-2"), threshold=2)
        made = repository.draft.sign(lambda k: repository.ring.get(k.id), now=NOW)
        signed = Envelope.parse(made["root"], role="root").signed
        signed["keys"][twin.key.id] = twin.key.to_json()
        signed["roles"]["root"]["keyids"] = [one.key.id, twin.key.id]
        with pytest.raises(ThresholdError, match="signed by 1"):
            TrustedSet.begin(GUN, sign(signed, [one, twin]), now=NOW)

    def test_an_envelope_without_signatures_is_refused(self, repository):
        raw = resigned(repository.files["timestamp"], "timestamp")
        with pytest.raises(ThresholdError):
            begin(repository).with_timestamp(raw)

    def test_a_key_called_by_another_id_is_refused(self, repository):
        document = json.loads(repository.files["root"])
        keys = document["signed"]["keys"]
        name = next(iter(keys))
        keys["0" * 64] = keys.pop(name)
        with pytest.raises(MalformedMetadataError):
            TrustedSet.begin(GUN, json.dumps(document).encode(), now=NOW)


class TestTime:
    @pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
    def test_what_expired_is_refused(self, repository, role):
        raw = resigned(repository.files[role], role, role, expires="2026-11-21T11:59:59Z")
        files = {**repository.files, role: raw}
        if role != "timestamp":
            files = consistent(repository, files)
        with pytest.raises(ExpiredError, match=role):
            load(begin(repository), files)

    def test_a_frozen_timestamp_ends_to_count(self, repository):
        first = begin(repository, now=NOW + 14 * DAY)
        with pytest.raises(ExpiredError):
            first.with_timestamp(repository.files["timestamp"])

    @pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", roles.RELEASES])
    def test_what_was_newer_before_is_a_rollback(self, repository, role):
        old = dict(repository.files)
        draft = repository.draft.add_target(roles.RELEASES, "v2", MANIFEST).witness("targets")
        repository.publish(draft)
        seen = begin(repository)
        if role in ("timestamp", "snapshot"):
            with pytest.raises(RollbackError, match=role):
                load(seen.remember(role, repository.files[role]), old)
            return
        seen = load(seen, repository.files).remember(role, repository.files[role])
        files = consistent(repository, {**repository.files, role: old[role]})
        with pytest.raises(RollbackError, match=role):
            load(seen, files)


class TestMixing:
    def test_targets_of_another_snapshot_are_refused(self, repository):
        old = dict(repository.files)
        repository.publish(repository.draft.add_target(roles.RELEASES, "v2", MANIFEST))
        with pytest.raises(WrongHashError):
            load(begin(repository), {**repository.files, roles.RELEASES: old[roles.RELEASES]})

    def test_a_snapshot_of_another_timestamp_is_refused(self, repository):
        old = dict(repository.files)
        repository.publish(repository.draft.add_target(roles.RELEASES, "v2", MANIFEST))
        with pytest.raises(WrongHashError):
            load(begin(repository), {**repository.files, "snapshot": old["snapshot"]})

    def test_a_newer_root_shows_in_the_snapshot(self, repository):
        first = begin(repository)
        repository.publish(repository.draft.rotate(roles.TARGETS, [repository.key("targets-2")]))
        stale = first.with_timestamp(repository.files["timestamp"])
        assert not stale.with_snapshot(repository.files["snapshot"]).root_agrees()
        assert repository.trusted().root_agrees()

    def test_a_truncated_file_is_refused(self, repository):
        files = {**repository.files, "targets": repository.files["targets"][:-1]}
        with pytest.raises(WrongHashError):
            load(begin(repository), files)

    def test_an_oversized_timestamp_is_not_read(self, repository):
        with pytest.raises(OversizeError):
            begin(repository).with_timestamp(b" " * ((1 << 20) + 1))

    def test_a_promise_beyond_the_limit_is_not_fetched(self, repository):
        meta = {"snapshot": replace(FileMeta.of(b""), length=(100 << 20) + 1)}
        stamp = sign(Listing(9, NOW + DAY, meta).to_json("Timestamp"), [key("timestamp")])
        with pytest.raises(OversizeError):
            begin(repository).with_timestamp(stamp).promise("snapshot")

    def test_a_role_nobody_delegates_to_is_refused(self, repository):
        trusted = repository.trusted()
        with pytest.raises(UnknownRoleError):
            trusted.with_targets("targets/mallory", repository.files["targets"])


class TestTypes:
    def test_metadata_of_another_role_is_refused(self, repository):
        raw = sign(json.loads(repository.files["snapshot"])["signed"], [key("timestamp")])
        with pytest.raises(WrongTypeError):
            begin(repository).with_timestamp(raw)

    def test_another_specification_is_refused(self, repository):
        raw = resigned(
            repository.files["timestamp"], "timestamp", "timestamp", spec_version="1.0.31"
        )
        with pytest.raises(UnknownSpecificationError):
            begin(repository).with_timestamp(raw)

    @pytest.mark.parametrize(
        "changes",
        [
            {"version": 0},
            {"version": True},
            {"version": "1"},
            {"expires": "tomorrow"},
            {"expires": "2026-11-21"},
            {"meta": {}},
            {"meta": {"snapshot": {"length": 1, "hashes": {"sha512": ""}}}},
            {"meta": {"snapshot": {"length": -1, "hashes": {}}}},
            {"surprise": 1},
        ],
    )
    def test_another_shape_is_refused(self, repository, changes):
        raw = resigned(repository.files["timestamp"], "timestamp", "timestamp", **changes)
        with pytest.raises(MalformedMetadataError):
            begin(repository).with_timestamp(raw)

    def test_every_refusal_says_what_to_do(self):
        for kind in TufError.__subclasses__():
            error = kind("it is so", where=GUN)
            assert error.fix
            assert error.code.startswith("tuf-")


def consistent(repository: Repository, files: dict[str, bytes]) -> dict[str, bytes]:
    """The files under a snapshot and timestamp that name them, by the real keys."""
    snapshot = files["snapshot"]
    if snapshot == repository.files["snapshot"]:
        meta = {
            role: FileMeta.of(files[role])
            for role in files
            if role not in ("snapshot", "timestamp")
        }
        snapshot = sign(Listing(9, NOW + DAY, meta).to_json("Snapshot"), [key("snapshot")])
    stamp = sign(
        Listing(9, NOW + DAY, {"snapshot": FileMeta.of(snapshot)}).to_json("Timestamp"),
        [key("timestamp")],
    )
    return {**files, "snapshot": snapshot, "timestamp": stamp}
