"""A client against honest trust servers and lying ones; a liar never gets a byte believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.content_trust.simulator import Reader, Simulator
from tests.trust.tuf.kit import DAY, GUN, MANIFEST, NOW, Repository, key, signed_repository
from trust.tuf import roles, tags
from trust.tuf.draft import Draft
from trust.tuf.errors import (
    ExpiredError,
    MalformedMetadataError,
    NoTrustDataError,
    RollbackError,
    RootRotationError,
    ThresholdError,
    TufError,
    UntrustedRootError,
    WrongHashError,
)
from trust.tuf.metadata import Envelope, FileMeta, Listing, sign
from trust.tuf.pinning import Pins


@pytest.fixture
def repository() -> Repository:
    return signed_repository()


@pytest.fixture
def reader(repository: Repository, tmp_path: Path) -> Reader:
    return Reader(Simulator(repository), tmp_path)


def release(repository: Repository, name: str, **when) -> None:
    repository.publish(repository.draft.add_target(roles.RELEASES, name, MANIFEST), **when)


async def resolves(reader: Reader, tag: str) -> bool:
    return tags.resolve(await reader.update(), tag).digest.hex == MANIFEST.sha256


class TestHonest:
    async def test_a_cold_client_asks_for_each_role_once_and_a_warm_one_for_the_timestamp(
        self, reader
    ):
        assert await resolves(reader, "latest")
        assert reader.server.requests == [
            "root",
            "timestamp",
            "snapshot",
            "targets",
            roles.RELEASES,
        ]
        assert await resolves(reader, "latest")
        assert reader.server.requests == ["timestamp"]

    async def test_a_server_of_ours_is_asked_twice(self, reader, repository):
        reader.server.offers_set = True
        assert await resolves(reader, "latest")
        assert reader.server.requests == ["root", "set"]
        release(repository, "v2")
        assert await resolves(reader, "v2")
        assert "set" not in reader.server.requests

    async def test_a_set_is_believed_no_more_than_its_parts(self, reader, repository):
        reader.server.offers_set = True
        old = repository.files[roles.RELEASES]
        release(repository, "v2")
        reader.server.lies = {roles.RELEASES: old}
        with pytest.raises(WrongHashError):
            await reader.update()
        reader.server.lies = {"timestamp": b"{}"}
        with pytest.raises(MalformedMetadataError):
            await reader.update()
        assert reader.snapshot() == {}

    async def test_everything_includes_the_signers(self, reader):
        found = await reader.update(everything=True)
        assert "targets/alice" in found.targets

    async def test_only_what_changed_is_fetched(self, reader, repository):
        await reader.update()
        release(repository, "v2")
        assert await resolves(reader, "v2")
        assert reader.server.requests == ["timestamp", "snapshot", roles.RELEASES]

    async def test_rotated_roots_are_walked_one_by_one(self, reader, repository):
        await reader.update()
        for name in ("root-2", "root-3", "root"):
            repository.publish(repository.draft.rotate("root", [repository.key(name)]))
        assert await resolves(reader, "latest")
        assert "2.root" in reader.server.requests
        assert "3.root" in reader.server.requests

    async def test_every_role_may_be_rotated(self, reader, repository):
        await reader.update()
        repository.publish(repository.draft.rotate("targets", [repository.key("targets-2")]))
        assert await resolves(reader, "latest")
        repository.publish(repository.draft.rotate("snapshot", [repository.key("snapshot-2")]))
        assert await resolves(reader, "latest")
        draft = repository.draft.rotate("timestamp", [repository.key("timestamp-2")])
        repository.timestamp = "timestamp-2"
        repository.publish(draft)
        assert await resolves(reader, "latest")

    async def test_without_trust_data_it_says_so_and_keeps_nothing(self, tmp_path):
        reader = Reader(Simulator(Repository()), tmp_path)
        with pytest.raises(NoTrustDataError):
            await reader.update()
        assert reader.snapshot() == {}

    async def test_a_damaged_cache_is_fetched_again(self, reader):
        await reader.update()
        for role in ("timestamp", "snapshot", "targets", roles.RELEASES):
            reader.cache.put({role: b"damage"})
        assert await resolves(reader, "latest")

    async def test_a_lapsed_signer_does_not_hold_up_releases(self, reader, repository):
        await reader.update()
        draft = repository.draft.delegate("targets/alice", add=[repository.key("alice-2")])
        draft = draft.delegate("targets/alice", remove=[key("alice").key.id])
        with pytest.raises(ThresholdError):
            repository.publish(draft.witness(roles.RELEASES))
        found = await reader.update(everything=True)
        assert "targets/alice" not in found.targets
        assert tags.resolve(found, "latest").signers == ()
        again = Draft.of(found).add_target("targets/alice", "latest", MANIFEST)
        repository.publish(again)
        assert tags.resolve(await reader.update(everything=True), "latest").signers == ("alice",)

    async def test_what_releases_tags_may_not_lapse(self, reader, repository):
        draft = repository.draft.delegate(roles.RELEASES, add=[repository.key("bob")])
        with pytest.raises(ThresholdError):
            repository.publish(draft.delegate(roles.RELEASES, remove=[key("alice").key.id]))
        with pytest.raises(ThresholdError):
            await reader.update()
        assert roles.RELEASES in (await reader.update(everything=True)).lapsed


class TestAttacks:
    """Each leaves the cache, and with it the trust anchor, as it was."""

    @pytest.fixture(autouse=True)
    async def _nothing_is_kept(self, reader):
        await reader.update()
        before = reader.snapshot()
        yield
        assert reader.snapshot() == before

    async def refused(self, reader: Reader, error: type[TufError]) -> None:
        with pytest.raises(error):
            await reader.update()

    async def test_a_replayed_old_state_is_a_rollback(self, reader, repository):
        old = dict(repository.files)
        repository.files[roles.TIMESTAMP] = repository.stamp(version=5)
        await reader.update()
        self_before = reader.snapshot()
        reader.server.lies = {roles.TIMESTAMP: old[roles.TIMESTAMP]}
        await self.refused(reader, RollbackError)
        assert reader.snapshot() == self_before
        reader.server.lies = {}
        reader.cache.put({roles.TIMESTAMP: old[roles.TIMESTAMP]})

    async def test_a_frozen_state_expires(self, reader):
        reader.later(days=15)
        await self.refused(reader, ExpiredError)

    async def test_mixed_states_do_not_fit(self, reader, repository):
        old = repository.files[roles.RELEASES]
        release(repository, "v2")
        reader.server.lies = {roles.RELEASES: old}
        await self.refused(reader, WrongHashError)

    @pytest.mark.parametrize("role", ["timestamp", "snapshot", roles.RELEASES])
    async def test_truncated_answers_are_refused(self, reader, repository, role):
        release(repository, "v2")
        reader.server.lies = {role: repository.files[role][:-2]}
        await self.refused(
            reader, MalformedMetadataError if role == "timestamp" else WrongHashError
        )

    async def test_a_promised_file_that_is_not_served_is_refused(self, reader, repository):
        release(repository, "v2")
        del repository.files[roles.RELEASES]
        await self.refused(reader, WrongHashError)

    async def test_another_repositorys_data_is_refused(self, reader):
        other = Repository.create(root=("root-mallory",))
        other.publish()
        reader.server.repository = other
        await self.refused(reader, RootRotationError)

    async def test_a_server_that_signs_by_itself_is_refused(self, reader, repository):
        meta = {"snapshot": FileMeta.of(repository.files["snapshot"])}
        forged = sign(Listing(9, NOW + DAY, meta).to_json("Timestamp"), [key("mallory")])
        reader.server.lies = {"timestamp": forged}
        await self.refused(reader, ThresholdError)

    async def test_a_missing_link_in_the_chain_of_roots_is_refused(self, reader, repository):
        for name in ("root-2", "root-3"):
            repository.publish(repository.draft.rotate("root", [repository.key(name)]))
        del repository.roots[2]
        await self.refused(reader, NoTrustDataError)

    async def test_a_forged_link_in_the_chain_of_roots_is_refused(self, reader, repository):
        for name in ("root-2", "root-3"):
            repository.publish(repository.draft.rotate("root", [repository.key(name)]))
        signed = Envelope.parse(repository.roots[2], role="root").signed
        reader.server.lies = {"2.root": sign(signed, [key("root-2")])}
        await self.refused(reader, RootRotationError)

    async def test_a_thousand_roots_are_not_walked(self, reader, repository):
        raw = Envelope.parse(repository.files["root"], role="root").signed
        reader.server.lies = {
            "timestamp": b"{}",
            "root": sign({**raw, "version": 10**6}, [key("root")]),
        }
        with pytest.raises(TufError):
            await reader.update()
        assert len(reader.server.requests) < 5


class TestFirstUse:
    async def test_a_pinned_root_is_the_only_one(self, reader):
        reader.pins = Pins({GUN: (key("root-2").key.id,)})
        with pytest.raises(UntrustedRootError):
            await reader.update()
        assert reader.snapshot() == {}
        reader.pins = Pins({GUN: (key("root").key.id,)}, first_use=False)
        assert await resolves(reader, "latest")

    async def test_a_later_root_counts_only_if_the_first_leads_to_it(self, reader, repository):
        await reader.update()
        other = Repository.create(root=("root-mallory",))
        other.publish()
        reader.server.repository = other
        with pytest.raises(RootRotationError):
            await reader.update()
        reader.cache.forget()
        assert "root" in (await reader.update()).raw
