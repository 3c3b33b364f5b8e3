"""Builds of two machines with caches in directories between them; commands are faked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.errors import StepFailedError
from builder.remote.index import CacheIndex, manifest_of
from builder.solver.records import StoredLayer
from engine.builds.remote_cache.exports import CacheExportError
from engine.builds.remote_cache.imports import CacheImportError
from engine.builds.remote_cache.in_directory import DirectoryCache
from images.digest import Digest
from records import replace
from tests.builder.fakes import write
from tests.engine.builds.remote_cache.kit import Machine, source, target

TEXT = "FROM scratch AS a\nRUN one\nRUN two\nFROM scratch\nCOPY --from=a /ran /ran\nRUN three\n"


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    """Two machines that share nothing."""
    both = Machine(tmp_path / "one"), Machine(tmp_path / "two")
    yield both
    for machine in both:
        machine.close()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_second_machine_runs_nothing_and_gets_the_same_image(
    machines: tuple[Machine, Machine], cache: Path
) -> None:
    first = machines[0].build(TEXT, cache_to=[target(cache)])
    second = machines[1].build(TEXT, cache_from=[source(cache)])
    assert machines[1].runner.texts == []
    assert (second.image_id, second.cached) == (first.image_id, True)
    # The layers are in the store, and the records are the store's own.
    assert machines[1].store.check(rehash=True) == []
    machines[1].build(TEXT.replace("three", "four"), cache_from=[])
    assert machines[1].runner.texts == ["four"]


def test_a_stage_that_nobody_reads_is_not_brought_in(
    machines: tuple[Machine, Machine], cache: Path
) -> None:
    machines[0].build(TEXT, cache_to=[target(cache)])
    machines[1].build(TEXT.replace("three", "four"), cache_from=[source(cache)])
    assert machines[1].runner.texts == ["four"]
    pulled = [name for name in machines[1].progress.names if name.startswith("pulling")]
    assert len(pulled) == 1


def test_a_rebuilt_stage_with_the_same_files_invalidates_nothing(
    machines: tuple[Machine, Machine], cache: Path
) -> None:
    same = {name: lambda step: write(step, "ran/same", "x") for name in ("one", "two", "again")}
    machines[0].build(TEXT, same, cache_to=[target(cache)])
    machines[1].build(TEXT.replace("RUN two", "RUN again"), same, cache_from=[source(cache)])
    assert machines[1].runner.texts == ["again"]


def test_all_caches_are_asked(
    machines: tuple[Machine, Machine], cache: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    machines[0].build("FROM scratch\nRUN one\n", cache_to=[target(cache)])
    machines[0].build("FROM scratch\nRUN two\n", cache_to=[target(other)])
    text = "FROM scratch AS a\nRUN one\nFROM scratch AS b\nRUN two\nFROM scratch\n"
    text += "COPY --from=a /ran/one /\nCOPY --from=b /ran/two /\n"
    machines[1].build(text, cache_from=[source(tmp_path / "no"), source(cache), source(other)])
    assert machines[1].runner.texts == []
    assert any("is not used" in text for text in machines[1].progress.warnings)


def test_a_blob_that_one_cache_lost_comes_from_the_next(
    machines: tuple[Machine, Machine], cache: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    machines[0].build(TEXT, cache_to=[target(cache), target(other)])
    for file in (cache / "blobs/sha256").iterdir():
        if file.name in {digest.hex for digest in DirectoryCache(cache, "latest").read().kept()}:
            file.write_bytes(b"damaged")
    machines[1].build(TEXT, cache_from=[source(cache), source(other)])
    assert machines[1].runner.texts == []
    assert any("is not used any more" in text for text in machines[1].progress.warnings)


def test_what_cannot_be_had_is_made(machines: tuple[Machine, Machine], cache: Path) -> None:
    machines[0].build(TEXT, cache_to=[target(cache)])
    kept = DirectoryCache(cache, "latest").read().kept()
    for digest in kept:
        (cache / "blobs/sha256" / digest.hex).unlink()
    result = machines[1].build(TEXT, cache_from=[source(cache)])
    assert sorted(machines[1].runner.texts) == ["one", "three", "two"]
    assert len(machines[1].layers(result)) == 2


def test_a_layer_with_another_content_than_its_record_says_is_not_used(
    machines: tuple[Machine, Machine], cache: Path
) -> None:
    machines[0].build(TEXT, cache_to=[target(cache)])

    def lie(index: CacheIndex) -> CacheIndex:
        wrong = Digest.of(b"wrong")
        return replace(
            index,
            records=tuple(
                replace(
                    it,
                    layers=tuple(StoredLayer(wrong, la.descriptor, la.created) for la in it.layers),
                )
                for it in index.records
            ),
        )

    tampered = DirectoryCache(cache, "latest")
    tampered.publish(lie)
    text = TEXT.replace("three", "four")
    machines[1].build(text, cache_from=[source(cache)])
    assert sorted(machines[1].runner.texts) == ["four", "one", "two"]
    assert any("its record says" in text for text in machines[1].progress.warnings)


def test_a_failed_build_writes_no_cache_and_ends_as_ever(
    machines: tuple[Machine, Machine], cache: Path
) -> None:
    with pytest.raises(StepFailedError):
        machines[0].build(TEXT, {"three": lambda _: 3}, cache_to=[target(cache)])
    assert not (cache / "index.json").exists()
    assert machines[0].runner.texts.count("three") == 1
    # Nobody waits for the lock of a build that is over.
    DirectoryCache(cache, "latest").publish(lambda index: index)


def test_caches_that_must_be_there(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    with pytest.raises(CacheImportError, match="cannot be used"):
        machines[0].build(TEXT, cache_from=[source(tmp_path / "no", ignore_error=False)])
    (tmp_path / "file").touch()
    bad = target(tmp_path / "file" / "x", ignore_error=False)
    with pytest.raises(CacheExportError, match="cannot be written"):
        machines[0].build(TEXT, cache_to=[bad])
    machines[0].build(TEXT, cache_to=[replace(bad, ignore_error=True)])
    assert any("was not written" in text for text in machines[0].progress.warnings)


def test_the_records_of_earlier_builds_stay(machines: tuple[Machine, Machine], cache: Path) -> None:
    machines[0].build("FROM scratch\nRUN one\n", cache_to=[target(cache)])
    machines[0].build("FROM scratch\nRUN two\n", cache_to=[target(cache)])
    for text in ("one", "two"):
        machines[1].build(f"FROM scratch\nRUN {text}\n", cache_from=[source(cache)])
        assert machines[1].runner.texts == []


def test_a_cached_build_fills_a_cache_too(machines: tuple[Machine, Machine], cache: Path) -> None:
    machines[0].build(TEXT, cache_to=[])
    machines[0].build(TEXT, cache_to=[target(cache)])
    assert machines[0].runner.texts == []
    machines[1].build(TEXT, cache_from=[source(cache)])
    assert machines[1].runner.texts == []


def test_a_cache_is_filled_from_another(
    machines: tuple[Machine, Machine], cache: Path, tmp_path: Path
) -> None:
    first = machines[0].build(TEXT, cache_to=[target(cache)])
    copy = target(tmp_path / "copy", mode="min")
    machines[1].build(TEXT, cache_from=[source(cache)], cache_to=[copy])
    kept = DirectoryCache(tmp_path / "copy", "latest").read().kept()
    assert {str(digest) for digest in kept} == set(machines[0].layers(first))


def test_an_image_stays_unnamed_when_its_content_is_elsewhere(
    machines: tuple[Machine, Machine], cache: Path
) -> None:
    machines[0].build(TEXT, cache_to=[target(cache)])
    result = machines[1].build(TEXT, cache_from=[source(cache)], register=False)
    assert machines[1].store.images() == []
    assert not any(
        machines[1].store.blobs.has(Digest.parse(it)) for it in machines[1].layers(result)
    )


def test_others_files_in_the_directory_are_left_alone(
    machines: tuple[Machine, Machine], cache: Path
) -> None:
    cache.mkdir()
    (cache / "README").write_text("mine")
    machines[0].build(TEXT, cache_to=[target(cache)])
    index = DirectoryCache(cache, "latest").read()
    _, manifest = manifest_of(index)
    assert set(os.listdir(cache)) >= {"README", "index.json", "oci-layout", "blobs"}
    assert (cache / "blobs/sha256" / manifest.digest.hex).exists()
