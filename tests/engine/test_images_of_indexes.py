"""What Docker says about an image whose name is an index: the one of this machine, or any."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import images
from engine.run import _hinted, find_image
from engine.run_options import RunOptions
from images.config import HistoryEntry, ImageConfig
from images.errors import BlobUnknownError, PlatformUnknownError
from images.manifest import Index, Manifest
from images.platform import Platform
from images.reference import Reference
from images.store import Image, ImageStore
from records import replace
from runtime.errors import RuntimeFault

HOST = Platform.host()
FOREIGN = tuple(
    platform
    for platform in Platform.parse_list(["linux/arm64,linux/s390x,linux/amd64"])
    if platform != HOST
)


def index_of(store: ImageStore, platforms: tuple[Platform, ...], *, missing: int = 0) -> None:
    """Name an index of empty images ``many``; the first ``missing`` of them are not here."""
    entries = []
    for number, platform in enumerate(platforms):
        history = [HistoryEntry("2024-01-01T00:00:00Z", f"for {platform}", empty_layer=True)]
        config = ImageConfig.build(platform, [], history=history)
        manifest = Manifest.build(config.descriptor(), [])
        if number >= missing:
            store.blobs.put(config.raw)
            store.blobs.put(manifest.raw)
        entries.append(replace(manifest.descriptor, platform=platform))
    index = Index.build(entries)
    store.blobs.put(index.raw)
    store.tag(Reference.parse("many"), index.descriptor)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore.open(tmp_path)


def shown(store: ImageStore) -> str:
    (entry,) = images.history(store, "many")
    assert images.inspect(store, "many")["Comment"] == ""
    (line,) = images.summaries(store)
    assert str(line.stored.image_id) == entry["Id"] == images.inspect(store, "many")["Id"]
    return str(entry["CreatedBy"])


def test_this_machines_image_is_meant(store: ImageStore) -> None:
    index_of(store, (*FOREIGN, HOST))
    assert shown(store) == f"for {HOST}"


def test_an_index_without_this_machines_image_is_shown_too(store: ImageStore) -> None:
    index_of(store, FOREIGN)
    assert shown(store) == f"for {FOREIGN[0]}"


def test_images_that_were_not_pulled_are_passed_over(store: ImageStore) -> None:
    index_of(store, (HOST, *FOREIGN), missing=2)
    assert shown(store) == f"for {FOREIGN[1]}"


def test_a_platform_may_be_named(store: ImageStore) -> None:
    index_of(store, (HOST, *FOREIGN))
    for platform in FOREIGN:
        assert images.inspect(store, "many", platform=platform)["Architecture"] == (
            platform.architecture
        )
        (entry,) = images.history(store, "many", platform=platform)
        assert entry["CreatedBy"] == f"for {platform}"
    with pytest.raises(PlatformUnknownError):
        images.inspect(store, "many", platform=Platform.parse("linux/riscv64"))


def test_run_fetches_the_platform_that_is_missing_of_an_index(store: ImageStore) -> None:
    index_of(store, (*FOREIGN, HOST), missing=1)
    asked: list[tuple[Reference, Platform | None]] = []

    def pull(reference: Reference, platform: Platform | None) -> None:
        asked.append((reference, platform))
        index_of(store, (*FOREIGN, HOST))

    options = RunOptions(image="many", command=(), platform=str(FOREIGN[0]))
    with pytest.raises(BlobUnknownError):
        find_image(replace(options, pull="never"), store, pull)
    image = find_image(options, store, pull)
    assert image.config.platform == FOREIGN[0]
    assert asked == [(Reference.parse("many"), FOREIGN[0])]


def test_a_program_of_another_machine_is_explained() -> None:
    config = ImageConfig.build(Platform.parse("linux/s390x"), [])
    manifest = Manifest.build(config.descriptor(), [])
    image = Image(manifest, config, manifest.descriptor)
    with pytest.raises(RuntimeFault) as caught, _hinted(image):
        raise RuntimeFault('exec: "/x": exec format error')
    assert "linux/s390x" in (caught.value.fix or "")
    with pytest.raises(RuntimeFault) as caught, _hinted(image):
        raise RuntimeFault("another")
    assert caught.value.fix is None
