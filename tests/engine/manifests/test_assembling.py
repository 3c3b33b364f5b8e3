"""Lists assembled from registries: what goes in, what is copied, and what stays as it is."""

from __future__ import annotations

import json

import pytest

from engine.builds.delivery.annotations import parse_annotations
from engine.manifests import assembling, looking
from engine.manifests.assembling import Source, assemble, existing, parse_source, publish
from engine.manifests.errors import ManifestListError
from images.descriptor import Descriptor
from images.errors import InvalidReferenceError
from images.manifest import Index, Manifest, parse
from images.mediatype import DOCKER_INDEX, DOCKER_MANIFEST, OCI_EMPTY, OCI_INDEX
from images.platform import Platform
from images.reference import Reference
from tests.images.clientkit import AMD64, ARM64, client, publish_index, sample
from tests.images.clientkit import publish as serve
from tests.simulators.registry import SimulatedRegistry

ONE, TWO = sample(b"one", platform=AMD64), sample(b"two", platform=ARM64)


def ref(host: str, name: str, tag: str = "1") -> Reference:
    return Reference.parse(f"{host}/{name}:{tag}")


def index_of(assembled: assembling.Assembled) -> Index:
    document = parse(assembled.raw, assembled.media_type)
    assert isinstance(document, Index)
    return document


async def test_images_become_a_list_and_are_mounted_where_it_is() -> None:
    registry, told = SimulatedRegistry(), list[Reference]()
    serve(registry, "team/a", ONE, "1")
    serve(registry, "team/b", TWO, "1")
    async with registry.serve() as host, client() as it:
        made = await assemble(it, [Source(ref(host, "team/a")), Source(ref(host, "team/b"))])
        layers = [r for r in registry.requests if str(ONE.manifest.layers[0].digest) in r.path]
        assert layers == [], "no layer is so much as asked for"
        target = ref(host, "team/list")
        pushed = await publish(it, made, target, told=told.append)
        assert await it.resolve(target) == pushed
        for image in (ONE, TWO):
            assert await it.manifest_exists(target.with_digest(image.descriptor.digest))
    index = index_of(made)
    assert [entry.platform for entry in index.manifests] == [AMD64, ARM64]
    assert [reference.digest for reference in told] == [
        ONE.descriptor.digest,
        TWO.descriptor.digest,
    ]


async def test_from_another_registry_what_is_missing_is_copied() -> None:
    first, second = SimulatedRegistry(), SimulatedRegistry()
    publish_index(first, "team/a", "1", ONE, TWO)
    async with first.serve() as here, second.serve() as there, client() as it:
        made = await assemble(it, [Source(ref(here, "team/a"))])
        await publish(it, made, ref(there, "x/y"))
        raw, _ = await it.manifest(ref(there, "x/y"))
        config = await it.read_blob(ref(there, "x/y"), TWO.manifest.config)
    assert raw == made.raw
    assert config == TWO.config


async def test_one_list_alone_stays_as_it_is_byte_for_byte() -> None:
    registry = SimulatedRegistry()
    index = publish_index(registry, "team/a", "1", ONE, TWO)
    spaced = json.dumps(json.loads(index.raw), indent=4).encode()
    registry.add_manifest("team/a", spaced, OCI_INDEX, "2")
    async with registry.serve() as host, client() as it:
        source = Source(ref(host, "team/a", "2"))
        assert (await assemble(it, [source])).raw == spaced
        chosen = await assemble(it, [source], platforms=[ARM64])
    assert [entry.platform for entry in index_of(chosen).manifests] == [ARM64]


@pytest.mark.parametrize("prefer", [True, False])
async def test_one_image_alone(*, prefer: bool) -> None:
    registry = SimulatedRegistry()
    serve(registry, "team/a", ONE, "1")
    async with registry.serve() as host, client() as it:
        made = await assemble(it, [Source(ref(host, "team/a"))], prefer_index=prefer)
        await publish(it, made, ref(host, "team/b"))
        raw, _ = await it.manifest(ref(host, "team/b"))
    assert raw == made.raw
    assert (raw == ONE.manifest.raw) is not prefer


async def test_dockers_images_make_dockers_list() -> None:
    registry = SimulatedRegistry()
    raw = ONE.manifest.raw.replace(ONE.manifest.media_type.encode(), DOCKER_MANIFEST.encode())
    serve(registry, "team/a", ONE)
    registry.add_manifest("team/a", raw, DOCKER_MANIFEST, "1")
    async with registry.serve() as host, client() as it:
        source = Source(ref(host, "team/a"))
        assert (await assemble(it, [source])).media_type == DOCKER_INDEX
        notes = parse_annotations(["index:a=b"])
        assert (await assemble(it, [source], annotations=notes)).media_type == OCI_INDEX


async def test_annotations_go_to_their_levels() -> None:
    registry = SimulatedRegistry()
    publish_index(registry, "team/a", "1", ONE, TWO)
    notes = parse_annotations(["index:a=1", "manifest-descriptor[linux/arm64]:b=2"])
    async with registry.serve() as host, client() as it:
        index = index_of(await assemble(it, [Source(ref(host, "team/a"))], annotations=notes))
        for level in ("manifest:a=b", "a=b", "index-descriptor:a=b"):
            with pytest.raises(ManifestListError):
                await assemble(it, [], annotations=parse_annotations([level]))
    assert index.annotations == {"a": "1"}
    assert [dict(entry.annotations) for entry in index.manifests] == [{}, {"b": "2"}]


async def test_entries_of_one_digest_become_one_and_unknown_fields_stay() -> None:
    registry = SimulatedRegistry()
    index = publish_index(registry, "team/a", "1", ONE)
    document = json.loads(index.raw)
    document["manifests"][0] |= {"data": "e30=", "annotations": {"old": "1"}}
    document["manifests"][0]["platform"]["os.features"] = ["f"]
    registry.add_manifest("team/a", json.dumps(document).encode(), OCI_INDEX, "2")
    serve(registry, "team/a", ONE, "plain")
    async with registry.serve() as host, client() as it:
        sources = [Source(ref(host, "team/a", tag)) for tag in ("2", "plain", "1")]
        made = await assemble(it, sources)
    (entry,) = json.loads(made.raw)["manifests"]
    assert entry == document["manifests"][0]


async def test_appending_to_what_a_tag_names() -> None:
    registry = SimulatedRegistry()
    publish_index(registry, "team/a", "1", ONE)
    serve(registry, "team/a", TWO, "2")
    async with registry.serve() as host, client() as it:
        assert await existing(it, ref(host, "team/a", "none")) == ()
        before = await existing(it, ref(host, "team/a"))
        made = await assemble(it, [*before, Source(ref(host, "team/a", "2"))])
    assert [entry.platform for entry in index_of(made).manifests] == [AMD64, ARM64]


def test_sources_as_they_are_typed() -> None:
    tags = (Reference.parse("reg.test/a:1"), Reference.parse("reg.test/a:2"))
    digest = ONE.descriptor.digest
    assert parse_source("reg.test/b:3", ()).reference == Reference.parse("reg.test/b:3")
    pinned = Reference.parse(f"reg.test/a@{digest}")
    assert parse_source(str(digest), tags) == Source(pinned)
    data = {**ONE.descriptor.to_json(), "platform": {"os": "linux", "architecture": "arm64"}}
    assert parse_source(json.dumps(data), tags) == Source(pinned, data)
    for text in (str(digest), json.dumps(data)):
        with pytest.raises(ManifestListError, match="which repository"):
            parse_source(text, ())
    with pytest.raises(ManifestListError, match="not a descriptor"):
        parse_source('{"digest": 1}', tags)
    with pytest.raises(InvalidReferenceError):
        parse_source("Not A Name", tags)


async def test_a_descriptor_may_say_another_platform() -> None:
    registry = SimulatedRegistry()
    serve(registry, "team/a", ONE, "1")
    async with registry.serve() as host, client() as it:
        said = {**ONE.descriptor.to_json(), "platform": {"os": "linux", "architecture": "riscv64"}}
        source = parse_source(json.dumps(said), [ref(host, "team/a")])
        index = index_of(await assemble(it, [source]))
    assert index.manifests[0].platform == Platform.parse("linux/riscv64")


async def test_what_people_and_templates_see() -> None:
    registry = SimulatedRegistry()
    index = publish_index(registry, "team/a", "1", ONE, TWO)
    async with registry.serve() as host, client() as it:
        name = ref(host, "team/a")
        text = await looking.text(it, name)
        fields = await looking.fields(it, name, wanted=("image", "sbom"))
        assert await looking.raw(it, name) == index.raw
    assert f"Digest:    {index.digest}\n\nManifests:\n  Name:      {name}@" in text
    assert "  Platform:  linux/arm64\n" in text
    assert fields["image"]["linux/arm64"]["architecture"] == "arm64"
    assert fields["sbom"] == {}
    assert fields["manifest"]["digest"] == str(index.digest)


def _point(registry: SimulatedRegistry, name: str, subject: Descriptor, text: bytes) -> Descriptor:
    """Put something into a repository that points to a manifest of it."""
    empty = Descriptor(OCI_EMPTY, registry.add_blob(name, b"{}"), 2)
    layer = Descriptor("text/plain", registry.add_blob(name, text), len(text))
    made = Manifest.build(empty, [layer], subject=subject, artifact_type="text/plain")
    registry.add_manifest(name, made.raw, made.media_type)
    return made.descriptor


@pytest.mark.parametrize("api", [True, False], ids=["api", "fallback-tags"])
async def test_what_points_to_the_images_comes_along(api: bool) -> None:
    registry, other = SimulatedRegistry(), SimulatedRegistry(referrers_api=api)
    index = publish_index(registry, "team/a", "1", ONE, TWO)
    signature = _point(registry, "team/a", ONE.descriptor, b"signature")
    above = _point(registry, "team/a", signature, b"signature of the signature")
    whole = _point(registry, "team/a", index.descriptor, b"signature of the list")
    async with registry.serve() as here, other.serve() as there, client() as it:
        made = await assemble(it, [Source(ref(here, "team/a"))])
        target = ref(there, "team/b")
        await publish(it, made, target)
        found = [
            [one.digest for one in await it.referrers(target, subject.digest)]
            for subject in (ONE.descriptor, signature, index.descriptor, TWO.descriptor)
        ]
    assert found == [[signature.digest], [above.digest], [whole.digest], []]


async def test_what_points_to_the_images_may_stay() -> None:
    registry, other = SimulatedRegistry(), SimulatedRegistry()
    publish_index(registry, "team/a", "1", ONE)
    _point(registry, "team/a", ONE.descriptor, b"signature")
    async with registry.serve() as here, other.serve() as there, client() as it:
        made = await assemble(it, [Source(ref(here, "team/a"))])
        await publish(it, made, ref(there, "team/b"), referrers=False)
        assert await it.referrers(ref(there, "team/b"), ONE.descriptor.digest) == []


async def test_a_new_list_has_no_signature_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, other = SimulatedRegistry(), SimulatedRegistry()
    index = publish_index(registry, "team/a", "1", ONE, TWO)
    _point(registry, "team/a", index.descriptor, b"signature of the list")
    _point(registry, "team/a", ONE.descriptor, b"one")
    _point(registry, "team/a", ONE.descriptor, b"two")
    async with registry.serve() as here, other.serve() as there, client() as it:
        made = await assemble(it, [Source(ref(here, "team/a"))], platforms=[AMD64])
        await publish(it, made, ref(there, "team/b"))
        assert await it.referrers(ref(there, "team/b"), index.descriptor.digest) == []
        assert len(await it.referrers(ref(there, "team/b"), ONE.descriptor.digest)) == 2
        monkeypatch.setattr(assembling, "MOST", 1)
        with pytest.raises(ManifestListError, match="more than 1 referrers"):
            await publish(it, made, ref(there, "team/c"))
