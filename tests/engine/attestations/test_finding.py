"""Statements attached to images: put there in both forms, found again, and judged by subject."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from engine.attestations import manifests
from engine.attestations.finding import find_remote, find_stored, read_remote, read_stored
from engine.attestations.sbom import sbom_of
from engine.attestations.statement import (
    InvalidStatementError,
    Statement,
    image_names,
    make,
    parse,
)
from engine.builds.combining import attestation_entry
from images import archive
from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Index
from images.platform import Platform
from images.reference import Reference
from images.store import Image, ImageStore
from records import replace
from tests.images.clientkit import client
from tests.images.packages.imagekit import file, image_of, status
from tests.images.storekit import age
from tests.simulators.registry import SimulatedRegistry

KIND = "https://example.org/statement"


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore.open(tmp_path / "store")


@pytest.fixture
def image(store: ImageStore) -> Image:
    image = image_of(store, {"base": [file("var/lib/dpkg/status", status(a="1"))]})
    store.tag(Reference.parse("app"), image.descriptor)
    return image


def stated(image: Image, text: str = "x", kind: str = KIND) -> Statement:
    return make(kind, {"text": text}, image.descriptor.digest)


def indexed(store: ImageStore, image: Image, *statements: Statement) -> Index:
    about = manifests.put_manifest(statements, store)
    entries = [
        replace(image.descriptor, platform=Platform.host()),
        attestation_entry(image.descriptor.digest, about),
    ]
    index = Index.build(entries)
    store.blobs.put(index.raw)
    return index


def test_statements_in_an_index_are_as_buildkit_writes_them(
    store: ImageStore, image: Image
) -> None:
    index = indexed(store, image, stated(image))
    entry = index.manifests[1]
    assert str(entry.platform) == "unknown/unknown"
    assert entry.annotations["vnd.docker.reference.type"] == "attestation-manifest"
    assert entry.annotations["vnd.docker.reference.digest"] == str(image.descriptor.digest)
    about = store.image(entry).manifest
    [layer] = about.layers
    assert layer.media_type == "application/vnd.in-toto+json"
    assert layer.annotations == {"in-toto.io/predicate-type": KIND}
    assert store.image(entry).config.diff_ids == (layer.digest,)
    assert index.select(Platform.host()).digest == image.descriptor.digest
    [found] = find_stored(store, index.descriptor).attached
    assert (found.form, found.predicate_type, found.platform) == ("index", KIND, Platform.host())
    assert read_stored(store, found).predicate == {"text": "x"}


def test_referrers_leave_the_image_as_it_is(store: ImageStore, image: Image) -> None:
    [referrer] = manifests.put_referrers([stated(image)], image.descriptor, store)
    assert referrer.artifact_type == "application/vnd.in-toto+json"
    assert referrer.annotations == {"in-toto.io/predicate-type": KIND}
    [found] = find_stored(store, image.descriptor).attached
    assert (found.form, found.subject) == ("referrer", image.descriptor.digest)
    age(store)
    store.gc(grace=0)
    assert read_stored(store, found).predicate == {"text": "x"}


def test_a_later_statement_of_a_type_takes_the_place_of_the_earlier(
    store: ImageStore, image: Image
) -> None:
    for text in ("one", "two"):
        other = stated(image, kind=f"{KIND}/other")
        manifests.put_referrers([stated(image, text), other], image.descriptor, store)
    found = find_stored(store, image.descriptor).attached
    texts = sorted(str(read_stored(store, item).predicate["text"]) for item in found)
    assert texts == ["two", "x"]


def test_a_statement_about_another_image_is_refused(store: ImageStore, image: Image) -> None:
    foreign = make(KIND, {}, Digest.of(b"another image"))
    manifests.put_referrers([foreign], image.descriptor, store)
    [found] = find_stored(store, image.descriptor).attached
    with pytest.raises(InvalidStatementError, match="says nothing of it"):
        read_stored(store, found)


def test_an_attached_sbom_goes_before_a_look_into_the_layers(
    store: ImageStore, image: Image
) -> None:
    made = sbom_of(store, "app", tool="t")
    assert made.attached is None
    assert [item["name"] for item in made.document["packages"]] == ["app", "a"]
    statement = make("https://spdx.dev/Document", {"packages": []}, image.descriptor.digest)
    manifests.put_referrers([statement], image.descriptor, store)
    found = sbom_of(store, "app", tool="t")
    assert found.attached == Digest.of(statement.raw)
    assert found.document == {"packages": []}
    assert sbom_of(store, "app", tool="t", scan=True).attached is None


def test_what_an_index_lists_and_the_store_lacks_is_counted(
    store: ImageStore, image: Image
) -> None:
    index = indexed(store, image, stated(image))
    store.blobs.delete(index.manifests[1].digest)
    findings = find_stored(store, index.descriptor)
    assert (findings.attached, findings.elsewhere) == ((), 1)


@pytest.mark.parametrize("form", ["index", "referrer"])
async def test_statements_are_read_in_a_registry(
    store: ImageStore, image: Image, form: str
) -> None:
    root = image.descriptor
    if form == "index":
        root = indexed(store, image, stated(image)).descriptor
    else:
        manifests.put_referrers([stated(image)], image.descriptor, store)
    async with SimulatedRegistry().serve() as host, client() as it:
        name = Reference.parse(f"{host}/team/app:1")
        await it.push(name, store, root)
        [found] = (await find_remote(it, name)).attached
        assert (found.form, found.predicate_type) == (form, KIND)
        assert (await read_remote(it, name, found)).predicate == {"text": "x"}


def test_an_archive_takes_statements_along_and_brings_them_back(
    store: ImageStore, image: Image, tmp_path: Path
) -> None:
    [referrer] = manifests.put_referrers([stated(image)], image.descriptor, store)
    out, name = io.BytesIO(), Reference.parse("app")
    archive.save([(image.descriptor, [name]), (referrer, [])], store, out.write, docker=False)
    out.seek(0)
    other = ImageStore.open(tmp_path / "other")
    loaded = archive.load(out, other)
    assert [item.descriptor.digest for item in loaded] == [image.descriptor.digest]
    assert [item.descriptor.digest for item in other.images()] == [image.descriptor.digest]
    [found] = find_stored(other, image.descriptor).attached
    assert found.predicate_type == KIND
    assert read_stored(other, found).predicate == {"text": "x"}
    assert other.referrers(image.descriptor.digest) == [referrer]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"_type": "https://in-toto.io/Statement/v1"}',
        b'{"_type": "x", "predicateType": "y"}',
        b'{"_type": "https://in-toto.io/Statement/v1", "predicateType": "y", "subject": {}}',
        b'{"_type": "https://in-toto.io/Statement/v1", "predicateType": ["y"]}',
        b'{"_type": "https://in-toto.io/Statement/v1", "predicateType": "y",'
        b' "subject": [{"digest": {"sha256": "../../x"}}]}',
    ],
)
def test_what_is_no_statement_is_refused(raw: bytes) -> None:
    with pytest.raises(ImagesError):
        parse(raw)


def test_subjects_have_the_names_that_buildkit_gives_them() -> None:
    names = [Reference.parse("debian:12"), Reference.parse("r.example:5000/team/app:1")]
    assert image_names(names, Platform("linux", "arm64")) == [
        "pkg:docker/debian@12?platform=linux%2Farm64",
        "pkg:docker/r.example%3A5000/team/app@1?platform=linux%2Farm64",
    ]
    statement = make(KIND, {}, Digest.of(b""), names=["a", "b"])
    assert parse(statement.raw).subjects == (Digest.of(b""),) * 2
