"""Images in the form that outputs ask for; steps and their cache know nothing of it."""

from __future__ import annotations

import gzip
import json

import pytest

from builder import usage
from builder.progress.tracker import Tracker
from builder.request import BuildResult
from engine.builds.delivery.outputs import OutputError, Packing
from engine.builds.delivery.packing import pack_image, squashed_history
from images.digest import Digest
from images.layers.entry import Entry, whiteout
from images.layers.estargz import TOC_DIGEST_ANNOTATION
from images.layers.merged import MergedTree
from images.manifest import Manifest
from images.mediatype import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
)
from images.store import Image
from records import replace
from tests.builder.fakes import RecordingProgress
from tests.engine.builds.delivery.conftest import Bench
from tests.images.storekit import put_image, put_layer


def packed(bench: Bench, result: BuildResult, **packing: object) -> tuple[Image, BuildResult]:
    bench.progress = RecordingProgress()
    tracker = Tracker(bench.progress)
    made = pack_image(result, Packing(**packing), bench.store, tracker)
    return bench.store.image(made.descriptor), made


def built(bench: Bench) -> BuildResult:
    (result,) = bench("type=cacheonly").images
    return result


def types(image: Image) -> list[str]:
    return [layer.media_type for layer in image.manifest.layers]


def files(bench: Bench, image: Image) -> dict[str, tuple[object, ...]]:
    tree = MergedTree(bench.store.lowerdirs(image))
    return {
        node.path: (node.status.st_mode, node.status.st_mtime, node.status.st_nlink)
        for node in tree.walk()
    }


def test_nothing_asked_is_nothing_changed(bench: Bench) -> None:
    result = built(bench)
    assert packed(bench, result)[1] == result


@pytest.mark.root
def test_merged_layers_have_the_files_of_all(bench: Bench) -> None:
    result = built(bench)
    before = bench.store.image(result.descriptor)
    image, made = packed(bench, result, squash=True)
    assert (len(before.manifest.layers), len(image.manifest.layers)) == (4, 2)
    assert image.manifest.layers[0] == before.manifest.layers[0]
    assert files(bench, image) == files(bench, before)
    assert made.base_layers == 1
    entries = image.config.history
    assert [entry.empty_layer for entry in entries[-4:]] == [True, True, True, False]
    assert entries[-1].comment == "merged 3 layers"
    assert image.config.created == before.config.created


def test_merging_is_done_once(bench: Bench) -> None:
    result = built(bench)
    first, _ = packed(bench, result, squash=True)
    assert "merging 3 layers" in bench.progress.names
    second, _ = packed(bench, result, squash=True)
    assert bench.progress.cached == ["merging 3 layers"]
    assert first == second


def test_one_new_layer_is_not_merged(bench: Bench) -> None:
    (result,) = bench("type=cacheonly", dockerfile="FROM base\nCOPY a /\n").images
    assert packed(bench, result, squash=True)[1] == result


def test_whiteouts_stay_where_there_is_a_base_alone(bench: Bench) -> None:
    store = bench.store
    layers = [
        put_layer(store, Entry("a", "f", size=1, source=b"1")),
        put_layer(store, Entry("b", "f", size=1, source=b"2")),
        put_layer(store, whiteout("a"), whiteout("b")),
    ]
    manifest = put_image(store, layers)
    result = BuildResult(manifest.descriptor, manifest.config.digest, (), cached=False)
    for base, names in ((1, [b".wh.a", b".wh.b"]), (0, [])):
        image, _ = packed(bench, replace(result, base_layers=base), squash=True)
        raw = store.blobs.read(image.manifest.layers[-1].digest)
        plain = gzip.decompress(raw)
        found = [name for name in (b".wh.a", b".wh.b") if plain.startswith(name) or name in plain]
        assert found == names


@pytest.mark.parametrize(
    ("compression", "media_type"),
    [("zstd", OCI_LAYER_ZSTD), ("uncompressed", OCI_LAYER), ("gzip", OCI_LAYER_GZIP)],
)
def test_new_layers_are_converted_and_those_of_the_base_if_asked(
    bench: Bench, compression: str, media_type: str
) -> None:
    result = built(bench)
    image, made = packed(bench, result, compression=compression)
    assert types(image) == [OCI_LAYER_GZIP, *[media_type] * 3]
    assert made.image_id == result.image_id, "the tars are the same"
    image, _ = packed(bench, result, compression=compression, force=True)
    assert types(image) == [media_type] * 4


def test_conversion_is_done_once(bench: Bench) -> None:
    result = built(bench)
    packed(bench, result, compression="zstd", level=1)
    assert len(bench.progress.names) == 3
    packed(bench, result, compression="zstd", level=1)
    assert (len(bench.progress.names), len(bench.progress.cached)) == (0, 3)
    packed(bench, result, compression="zstd", level=19)
    assert len(bench.progress.names) == 3


def test_what_was_made_is_part_of_the_cache_and_can_be_pruned(bench: Bench) -> None:
    result = built(bench)
    packed(bench, result, squash=True)
    (made,) = [e for e in usage.entries(bench.store) if e.description == "merging 3 layers"]
    assert (made.type, made.size > 100) == (usage.LAYER, True)
    usage.remove(bench.store, made)
    packed(bench, result, squash=True)
    assert bench.progress.names == ["merging 3 layers"]


def test_a_lost_conversion_is_made_again(bench: Bench) -> None:
    result = built(bench)
    image, _ = packed(bench, result, compression="zstd")
    bench.store.blobs.delete(image.manifest.layers[-1].digest)
    again, _ = packed(bench, result, compression="zstd")
    assert again == image
    assert len(bench.progress.names) == 1


def test_a_level_concerns_new_layers(bench: Bench) -> None:
    result = built(bench)
    before = bench.store.image(result.descriptor).manifest.layers
    after = packed(bench, result, compression="gzip", level=9, force=True)[0].manifest.layers
    assert after[0] == before[0]
    assert all(old.digest != new.digest for old, new in zip(before[1:], after[1:], strict=True))


def test_estargz_changes_the_config_and_no_file(bench: Bench) -> None:
    result = built(bench)
    image, made = packed(bench, result, compression="estargz", force=True)
    assert made.image_id != result.image_id
    for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True):
        assert layer.annotations[TOC_DIGEST_ANNOTATION].startswith("sha256:")
        plain = gzip.decompress(bench.store.blobs.read(layer.digest))
        assert Digest.of(plain) == diff_id
    squashed, _ = packed(bench, result, compression="estargz", squash=True)
    assert types(squashed) == [OCI_LAYER_GZIP, OCI_LAYER_GZIP]
    assert TOC_DIGEST_ANNOTATION in squashed.manifest.layers[1].annotations


def test_docker_types(bench: Bench) -> None:
    image, made = packed(bench, built(bench), docker_types=True)
    assert made.descriptor.media_type == image.manifest.media_type == DOCKER_MANIFEST
    assert image.manifest.config.media_type == DOCKER_CONFIG
    assert types(image) == [DOCKER_LAYER_GZIP] * 4


def test_what_docker_types_cannot_say(bench: Bench) -> None:
    result = built(bench)
    tracker = Tracker(bench.progress)
    with pytest.raises(OutputError, match="no annotations"):
        pack_image(result, Packing(docker_types=True), bench.store, tracker, annotations={"a": "b"})
    _, zstd = packed(bench, result, compression="zstd")
    with pytest.raises(OutputError, match="is zstd"):
        packed(bench, zstd, docker_types=True)


def test_annotations_are_added(bench: Bench) -> None:
    result = built(bench)
    made = pack_image(
        result, Packing(), bench.store, Tracker(bench.progress), annotations={"a": "b"}
    )
    manifest = Manifest.parse(bench.store.blobs.read(made.descriptor.digest))
    assert manifest.annotations == {"a": "b"}
    assert made.image_id == result.image_id


def test_fields_of_a_config_that_nobody_knows_stay(bench: Bench) -> None:
    result = built(bench)
    image = bench.store.image(result.descriptor)
    document = {**image.config.to_json(), "future": {"x": 1}}
    raw = json.dumps(document).encode()
    bench.store.blobs.put(raw)
    config = replace(image.manifest.config, digest=Digest.of(raw), size=len(raw))
    manifest = Manifest.build(config, image.manifest.layers)
    bench.store.blobs.put(manifest.raw)
    squashed, _ = packed(bench, replace(result, descriptor=manifest.descriptor), squash=True)
    assert squashed.config.to_json()["future"] == {"x": 1}


def test_the_history_of_a_squash() -> None:
    history = [
        {"created_by": "base"},
        {"created_by": "base cmd", "empty_layer": True},
        {"created_by": "one"},
        {"created_by": "env", "empty_layer": True},
        {"created_by": "two"},
    ]
    made = squashed_history(history, 2, "2026-01-01T00:00:00Z")
    assert [entry.get("empty_layer", False) for entry in made] == [
        *(False, True, True, True, True, False)
    ]
    assert made[-1] == {"comment": "merged 2 layers", "created": "2026-01-01T00:00:00Z"}
    assert history[2] == {"created_by": "one"}
