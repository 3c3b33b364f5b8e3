"""Collection against a model: whatever clients do, what they were told stays, and garbage goes.

The model is a few dictionaries and a recursive walk; the store is the real one under a fake clock.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from images.mediatype import OCI_INDEX, OCI_MANIFEST
from registry.collection.leases import slack
from registry.collection.settings import CollectionSettings, UntaggedRule
from registry.inspection.check import Severity, check
from tests.registry import kit
from tests.registry.kit import digest_of
from tests.registry.store_kit import HOUR, Store

REPOSITORIES = st.sampled_from(["a", "a/b", "c"])
TAGS = st.sampled_from(["t", "u"])
CONTENT = (b"{}", b"one", b"two", b"three")
BLOBS = st.sampled_from(CONTENT)
UNTAGGED = 3 * HOUR
RULES = CollectionSettings(
    lease=HOUR, untagged=(UntaggedRule(after=UNTAGGED),), undo=0.0, dangling=UNTAGGED
)


@dataclass
class Held:
    """What one repository has, with the moment each was last told to a client."""

    blobs: dict[str, float] = field(default_factory=dict)
    manifests: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shape:
    """What a manifest refers to."""

    raw: bytes
    targets: tuple[str, ...]
    subject: str | None


class CollectionMachine(RuleBasedStateMachine):
    """Clients and collections, one step at a time."""

    shapes = Bundle("shapes")

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="collection-machine-"))
        self.store = Store(self.root, settings=RULES)
        self.model: dict[str, Held] = {}
        self.known: dict[str, Shape] = {}

    def teardown(self) -> None:
        if hasattr(self, "store"):
            problems = [
                finding
                for finding in check(
                    self.root, self.store.index, self.store.storage, sleep=lambda _: None
                )
                if finding.severity is Severity.PROBLEM
            ]
            assert not problems
            self.store.close()
            shutil.rmtree(self.root)

    @property
    def now(self) -> float:
        return self.store.clock.now

    def held(self, repository: str) -> Held:
        return self.model.setdefault(repository, Held())

    @rule(repository=REPOSITORIES, data=BLOBS)
    def push_blob(self, repository: str, data: bytes) -> None:
        self.store.push_blob(repository, data)
        self.held(repository).blobs[digest_of(data)] = self.now

    @rule(source=REPOSITORIES, repository=REPOSITORIES, data=BLOBS)
    def mount(self, source: str, repository: str, data: bytes) -> None:
        index, digest = self.store.index, digest_of(data)
        mounted = index.write(repository, partial(index.mount_blob, source, repository, digest))
        assert mounted == (digest in self.held(source).blobs)
        if mounted:
            self.held(repository).blobs[digest] = self.now

    @rule(repository=REPOSITORIES, data=BLOBS)
    def head_blob(self, repository: str, data: bytes) -> None:
        index, digest = self.store.index, digest_of(data)
        told = index.write("", partial(index.renew_blob, repository, digest))
        assert told == (digest in self.held(repository).blobs)
        if told:
            self.held(repository).blobs[digest] = self.now

    @rule(target=shapes, config=BLOBS, layers=st.lists(BLOBS, max_size=2))
    def shape_image(self, config: bytes, layers: list[bytes]) -> str:
        raw = kit.manifest(config=config, layers=layers)
        return self.shape(raw, [digest_of(blob) for blob in (config, *layers)], None)

    @rule(target=shapes, children=st.lists(shapes, max_size=3))
    def shape_index(self, children: list[str]) -> str:
        raw = kit.index([self.known[child].raw for child in children])
        return self.shape(raw, children, None)

    @rule(target=shapes, subject=shapes)
    def shape_referrer(self, subject: str) -> str:
        raw = kit.manifest(subject=kit.descriptor(self.known[subject].raw, OCI_MANIFEST))
        return self.shape(raw, [digest_of(b"{}")], subject)

    @rule(repository=REPOSITORIES, subject=shapes, tag=TAGS)
    def sign(self, repository: str, subject: str, tag: str) -> None:
        self.push_manifest(repository, subject, [tag])
        if subject in self.held(repository).manifests:
            self.push_manifest(repository, self.shape_referrer(subject), [])

    def shape(self, raw: bytes, targets: list[str], subject: str | None) -> str:
        digest = digest_of(raw)
        self.known[digest] = Shape(raw, tuple(targets), subject)
        return digest

    @rule(repository=REPOSITORIES, digest=shapes, tags=st.lists(TAGS, max_size=1))
    def push_manifest(self, repository: str, digest: str, tags: list[str]) -> None:
        held, shape = self.held(repository), self.known[digest]
        for data in CONTENT:
            if digest_of(data) in shape.targets and digest_of(data) not in held.blobs:
                self.push_blob(repository, data)
        here = {**held.blobs, **held.manifests}
        if any(target not in here for target in shape.targets):
            return
        self.store.push_manifest(repository, shape.raw, *tags)
        held.manifests[digest] = self.now
        held.tags.update(dict.fromkeys(tags, digest))

    @rule(repository=REPOSITORIES, digest=shapes)
    def head_manifest(self, repository: str, digest: str) -> None:
        index = self.store.index
        told = index.write("", partial(index.renew_manifest, repository, digest))
        assert told == (digest in self.held(repository).manifests)
        if told:
            self.held(repository).manifests[digest] = self.now

    @rule(repository=REPOSITORIES, tag=TAGS)
    def delete_tag(self, repository: str, tag: str) -> None:
        deleted = self.store.delete_tag(repository, tag)
        assert deleted == (self.held(repository).tags.pop(tag, None) is not None)

    @rule(repository=REPOSITORIES, digest=shapes)
    def delete_manifest(self, repository: str, digest: str) -> None:
        held = self.held(repository)
        deleted = self.store.delete(repository, digest)
        assert deleted == (held.manifests.pop(digest, None) is not None)
        held.tags = {tag: to for tag, to in held.tags.items() if to != digest}

    def wait(self, hours: float) -> None:
        self.store.clock.now += hours * HOUR

    @rule(hours=st.sampled_from([0, 2, 4]))
    def collect(self, hours: float) -> None:
        self.wait(hours)
        self.store.collect()
        for held in self.model.values():
            live = self.live(held)
            granted = self.now - HOUR - 2 * slack(HOUR) - 1
            held.manifests = {d: t for d, t in held.manifests.items() if d in live}
            needed = {target for d in held.manifests for target in self.known[d].targets}
            held.blobs = {d: t for d, t in held.blobs.items() if d in needed or t >= granted - 1}

    def live(self, held: Held) -> set[str]:
        """The manifests that a collection must keep, by the definition rather than by a query."""
        tagged = set(held.tags.values())
        granted = self.now - HOUR - 2 * slack(HOUR) - 2
        live: set[str] = set()
        waiting = [
            digest
            for digest, told in held.manifests.items()
            if digest in tagged
            or told >= granted
            or (
                told >= self.now - UNTAGGED - 1 and self.known[digest].subject not in held.manifests
            )
        ]
        while waiting:
            digest = waiting.pop()
            if digest in live or digest not in held.manifests:
                continue
            live.add(digest)
            waiting += self.known[digest].targets
            waiting += [d for d in held.manifests if self.known[d].subject == digest]
        return live

    @invariant()
    def the_store_has_what_the_model_has(self) -> None:
        if not hasattr(self, "store"):
            return
        for name, held in self.model.items():
            for digest in held.blobs:
                assert self.store.index.blob(name, digest) is not None
                assert self.store.on_disk(digest)
            for digest in held.manifests:
                row = self.store.index.manifest(name, digest)
                assert row is not None
                assert row.media_type in (OCI_MANIFEST, OCI_INDEX)
            for tag, digest in held.tags.items():
                found = self.store.index.tagged_manifest(name, tag)
                assert found is not None
                assert found.digest == digest

    @invariant()
    def the_store_has_nothing_else(self) -> None:
        if not hasattr(self, "store"):
            return
        execute = self.store.index.reader().execute
        sql = "SELECT COUNT(*) FROM {}"
        for table, size in (
            ("blob_links", sum(len(held.blobs) for held in self.model.values())),
            ("manifests", sum(len(held.manifests) for held in self.model.values())),
            ("tags", sum(len(held.tags) for held in self.model.values())),
        ):
            assert execute(sql.format(table)).fetchone()[0] == size


TestCollection = CollectionMachine.TestCase
TestCollection.settings = settings(max_examples=25, stateful_step_count=30)
