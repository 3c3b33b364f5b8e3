"""Several platforms in one order: order kept, equal steps once, one failure for all, an index."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder import fastpath
from builder.digests import FileDigests
from builder.errors import StepFailedError
from builder.progress.events import VertexFailed
from builder.request import BuildRequest
from dockerfile_grammar.errors import DockerfileError
from engine.access import Access
from engine.builds import building
from engine.builds.building import Yard
from engine.builds.delivery.annotations import parse_annotations
from engine.builds.order import BuildOrder, BuildOutcome
from engine.builds.pipeline import carry_out
from images.config import ImageConfig
from images.manifest import Index, Manifest, parse
from images.mediatype import OCI_INDEX
from images.platform import Platform
from images.reference import Reference
from images.store import ImageStore
from tests.builder.fakes import RecordingProgress

TARGETS = Platform.parse_list(["linux/arm64,linux/amd64", "linux/arm/v6"])
COPIES = "FROM scratch\nARG TARGETPLATFORM\nCOPY <<A /a\nsame\nA\nLABEL for=$TARGETPLATFORM\n"
CROSS = """\
FROM --platform=$BUILDPLATFORM test/small AS common
RUN echo {text} > /common
FROM --platform=$BUILDPLATFORM test/small AS build
ARG TARGETARCH TARGETVARIANT
COPY --from=common /common /common
RUN echo "$TARGETARCH$TARGETVARIANT" > /out
FROM scratch
COPY --from=build /common /out /
"""


class Site:
    """A yard, and what the latest order showed."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.progress = RecordingProgress()

    def build(self, text: str, *, platforms=TARGETS, annotations=(), **options) -> BuildOutcome:
        self.progress = RecordingProgress()
        request = BuildRequest(options.pop("context", None), text.encode(), **options)
        order = BuildOrder(request, platforms, parse_annotations(annotations))
        return carry_out(order, self.yard, self.progress)

    def index(self, outcome: BuildOutcome) -> Index:
        document = parse(self.yard.store.blobs.read(outcome.root.digest))
        assert isinstance(document, Index)
        return document


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    store = ImageStore.open(tmp_path / "store")
    yield Site(Yard(store, Access(store.directory), str(tmp_path / "run")))
    store.close()


@pytest.fixture
def small(image_store: ImageStore, engine_folder: Path) -> Site:
    """A site with the image ``test/small`` and a runtime."""
    access = Access(image_store.directory)
    return Site(Yard(image_store, access, str(engine_folder / "run")))


def test_an_index_lists_the_images_in_the_order_asked(site: Site) -> None:
    name = Reference.parse("many:1")
    outcome = site.build(COPIES, tags=(name,))
    index = site.index(outcome)
    assert index.media_type == OCI_INDEX
    assert [str(entry.platform) for entry in index.manifests] == [str(it) for it in TARGETS]
    assert site.yard.store.resolve(name) == outcome.root
    for platform, entry in zip(TARGETS, index.manifests, strict=True):
        image = site.yard.store.image(outcome.root, platform)
        assert image.descriptor.digest == entry.digest
        assert image.config.platform == platform
        assert image.config.config["Labels"] == {"for": str(platform)}
    assert outcome.image_id == outcome.root.digest


def test_the_images_alone_are_no_images_of_the_store(site: Site) -> None:
    outcome = site.build(COPIES, tags=(Reference.parse("many:1"),))
    assert len(site.yard.store.images()) == 1
    site.yard.store.gc(grace=0)
    assert site.yard.store.check(rehash=True) == []
    for platform in TARGETS:
        site.yard.store.image(outcome.root, platform)


def test_a_build_of_one_platform_stays_a_manifest(site: Site) -> None:
    outcome = site.build(COPIES, platforms=TARGETS[:1], platform=TARGETS[0])
    assert outcome.root == outcome.images[0].descriptor
    assert not any("linux/arm64" in name for name in site.progress.names)


def test_one_platform_becomes_an_index_by_buildkits_argument(site: Site) -> None:
    args = {"BUILDKIT_MULTI_PLATFORM": "1"}
    outcome = site.build(COPIES, platforms=(), platform=TARGETS[0], build_args=args)
    assert [entry.platform for entry in site.index(outcome).manifests] == [TARGETS[0]]


def test_an_unchanged_build_is_answered_from_its_records(site: Site) -> None:
    first = site.build(COPIES)
    again = site.build(COPIES)
    assert again.cached
    assert again.root == first.root


def test_names_of_steps_say_for_which_platform(site: Site) -> None:
    site.build("FROM scratch AS one\nCOPY <<A /a\nx\nA\nFROM one\nCOPY <<A /b\nx\nA\n")
    shown = site.progress.names + site.progress.cached
    for platform in TARGETS:
        assert f"[{platform} stage-1 1/1] COPY <<A /b" in shown


def test_annotations_of_every_level(site: Site) -> None:
    values = ["index:a=1", "manifest-descriptor[linux/amd64]:b=2", "manifest[linux/arm64]:c=3"]
    outcome = site.build(COPIES, annotations=values)
    index = site.index(outcome)
    assert index.annotations == {"a": "1"}
    assert [dict(entry.annotations) for entry in index.manifests] == [{}, {"b": "2"}, {}]
    manifests = [json.loads(site.yard.store.blobs.read(it.digest)) for it in index.manifests]
    assert [it.get("annotations") for it in manifests] == [{"c": "3"}, None, None]


def test_the_version_of_windows_comes_from_the_base(site: Site) -> None:
    store = site.yard.store
    windows = Platform.parse("windows(10.0.20348)/amd64")
    config = ImageConfig.build(windows, [])
    manifest = Manifest.build(config.descriptor(), [])
    store.blobs.put(config.raw)
    store.blobs.put(manifest.raw)
    store.tag(Reference.parse("nano"), manifest.descriptor)
    text = "FROM scratch AS linux\nFROM nano AS windows\n"
    text += "FROM ${TARGETOS}\nCOPY <<A /a\nx\nA\n"
    platforms = Platform.parse_list(["linux/amd64,windows/amd64"])
    outcome = site.build(text, platforms=platforms)
    entries = site.index(outcome).manifests
    assert [str(entry.platform) for entry in entries] == ["linux/amd64", str(windows)]
    assert store.image(outcome.root, windows).config.platform == windows


def test_a_mistake_is_told_once_and_names_a_platform(site: Site) -> None:
    with pytest.raises(DockerfileError) as caught:
        site.build("FROM scratch\nRNU x\n")
    assert caught.value.__notes__[0].startswith("while building for linux/")


def test_a_context_is_walked_and_read_once_for_all(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = tmp_path / "context"
    (context / "src").mkdir(parents=True)
    for name in "abc":
        (context / "src" / name).write_text(name)
    walked, hashed = [], []
    walk, learn = fastpath.scan_context, FileDigests._learn

    def walking(*args, **options):
        walked.append(args)
        return walk(*args, **options)

    def learning(self, node, digest):
        hashed.append(node.path)
        learn(self, node, digest)

    monkeypatch.setattr(fastpath, "scan_context", walking)
    monkeypatch.setattr(FileDigests, "_learn", learning)
    outcome = site.build("FROM scratch\nCOPY . /app\n", context=context)
    assert len(walked) <= 2, "one, and one more when files had just been written"
    assert sorted(hashed) == ["src/a", "src/b", "src/c"]
    assert len({image.descriptor.digest for image in outcome.images}) == len(TARGETS)
    definitions = [name for name in site.progress.names if "load build definition" in name]
    assert len(definitions) == 1


def test_a_change_is_seen_by_all_platforms(site: Site, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    for content in ("first", "second"):
        (context / "file").write_text(content)
        outcome = site.build("FROM scratch\nCOPY file /\n", context=context)
        for platform in TARGETS:
            image = site.yard.store.image(outcome.root, platform)
            (top,) = site.yard.store.lowerdirs(image)
            assert (top / "file").read_text() == content


@pytest.mark.root
@pytest.mark.parametrize("no_cache", [False, True])
def test_steps_that_are_equal_are_executed_once(small: Site, *, no_cache: bool) -> None:
    text = CROSS.format(text=f"once-{no_cache}")
    outcome = small.build(text, no_cache=no_cache)
    runs = [name for name in small.progress.names if "RUN" in name]
    host = Platform.host()
    assert [name for name in runs if "once" in name] == [
        f"[{host} common 2/2] RUN echo once-{no_cache} > /common"
    ]
    assert len(runs) == 1 + len(TARGETS)
    assert f'[{host}->arm/v6 build 3/3] RUN echo "armv6" > /out' in runs
    for platform, wanted in zip(TARGETS, ("arm64", "amd64", "armv6"), strict=True):
        image = small.yard.store.image(outcome.root, platform)
        (top, *_) = small.yard.store.lowerdirs(image)
        assert (top / "out").read_text() == f"{wanted}\n"
        assert (top / "common").read_text() == f"once-{no_cache}\n"
    loaded = [name for name in small.progress.names if "load metadata" in name]
    assert len(loaded) == 1, "the base is resolved once"


@pytest.mark.root
def test_a_failure_stops_the_other_platforms(small: Site) -> None:
    text = (
        "FROM --platform=$BUILDPLATFORM test/small\nARG TARGETARCH\n"
        'RUN if [ "$TARGETARCH" = amd64 ]; then exit 3; else sleep 600; fi\n'
    )
    with pytest.raises(StepFailedError) as caught:
        small.build(text)
    assert caught.value.__notes__ == ["while building for linux/amd64"]
    ends = [event for event in small.progress.events if isinstance(event, VertexFailed)]
    assert sum(event.cancelled for event in ends) == len(ends) - 1


def test_the_failure_that_came_first_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(request, _yard, _tracker, *, cancellation, **_options):
        if request.platform == TARGETS[1]:
            raise ValueError("the cause")
        stopped = threading.Event()
        cancellation.subscribe(stopped.set)
        assert stopped.wait(60)
        raise OSError("a connection that broke because of it")

    monkeypatch.setattr(building, "build", build)
    with pytest.raises(ValueError, match="the cause") as caught:
        site.build(COPIES)
    assert caught.value.__notes__ == [f"while building for {TARGETS[1]}"]
