import json

import pytest

from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import InvalidManifestError, PlatformUnknownError, SizeLimitError
from images.manifest import Index, Manifest, parse
from images.mediatype import (
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
)
from images.platform import Platform

CONFIG = Descriptor(OCI_CONFIG, Digest.of(b"config"), 6)
LAYER = Descriptor(OCI_LAYER_GZIP, Digest.of(b"layer"), 5)


def document(**changes) -> bytes:
    base = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG.to_json(), "layers": []}
    base.update(changes)
    return json.dumps({k: v for k, v in base.items() if v is not ...}).encode()


def index_document(**changes) -> bytes:
    return document(
        **{"mediaType": OCI_INDEX, "config": ..., "layers": ..., "manifests": [], **changes}
    )


def for_platform(text: str) -> Descriptor:
    return Descriptor(OCI_MANIFEST, Digest.of(text.encode()), 9, platform=Platform.parse(text))


def test_manifest():
    raw = document(
        layers=[LAYER.to_json()],
        annotations={"a": "b"},
        subject=CONFIG.to_json(),
        artifactType="application/x",
        unknown={"kept": [1]},
    )
    manifest = Manifest.parse(raw)
    assert manifest.raw == raw
    assert (manifest.config, manifest.layers) == (CONFIG, (LAYER,))
    assert manifest.annotations == {"a": "b"}
    assert (manifest.subject, manifest.artifact_type) == (CONFIG, "application/x")
    assert manifest.digest == Digest.of(raw)
    assert manifest.descriptor.size == len(raw)
    assert manifest.descriptor.media_type == OCI_MANIFEST


def test_index():
    raw = index_document(manifests=[for_platform("linux/arm64").to_json()])
    index = parse(raw)
    assert isinstance(index, Index)
    assert index.manifests[0].platform == Platform("linux", "arm64")
    assert index.descriptor == Descriptor(OCI_INDEX, Digest.of(raw), len(raw))


@pytest.mark.parametrize(
    ("raw", "served", "wanted"),
    [
        (document(), None, OCI_MANIFEST),
        (document(mediaType=...), None, OCI_MANIFEST),
        (document(mediaType=...), DOCKER_MANIFEST, DOCKER_MANIFEST),
        (document(mediaType=DOCKER_MANIFEST), DOCKER_MANIFEST, DOCKER_MANIFEST),
        (document(), f"{OCI_MANIFEST}; charset=utf-8", OCI_MANIFEST),
        (index_document(), None, OCI_INDEX),
        (index_document(mediaType=...), None, OCI_INDEX),
        (index_document(mediaType=...), DOCKER_INDEX, DOCKER_INDEX),
    ],
)
def test_media_types(raw, served, wanted):
    assert parse(raw, served).media_type == wanted


@pytest.mark.parametrize(
    ("raw", "served", "message"),
    [
        (document(manifests=[]), None, "ambiguous"),
        (document(manifests=[], config=...), None, "ambiguous"),
        (document(manifests=[], layers=...), OCI_INDEX, "served as"),
        (index_document(config={}), None, "ambiguous"),
        (document(), OCI_INDEX, "served as"),
        (document(mediaType=...), OCI_INDEX, "does not fit"),
        (index_document(mediaType=...), OCI_MANIFEST, "does not fit"),
        (index_document(mediaType=OCI_MANIFEST), None, "does not fit"),
        (document(mediaType="text/plain"), None, "unsupported manifest type"),
        (document(mediaType=...), "text/plain", "unsupported manifest type"),
        (document(mediaType=7), None, "mediaType must be a string"),
    ],
)
def test_type_confusion(raw, served, message):
    """CVE-2021-41190: one digest must not be two things."""
    with pytest.raises(InvalidManifestError, match=message):
        parse(raw, served)


@pytest.mark.parametrize(
    "raw",
    [
        document(schemaVersion=1),
        document(schemaVersion=True),
        document(schemaVersion="2"),
        document(schemaVersion=...),
        document(config=...),
        document(config=[]),
        document(layers=...),
        document(layers=None),
        document(layers={}),
        document(layers=[1]),
        document(layers=[{**LAYER.to_json(), "size": -1}]),
        document(layers=[{**LAYER.to_json(), "size": 1.5}]),
        document(layers=[{**LAYER.to_json(), "size": 2**64}]),
        document(annotations=[]),
        document(annotations={"a": 1}),
        document(subject="x"),
        document(artifactType=1),
        b"[]",
        b"null",
        b"",
        b"{",
    ],
)
def test_malformed(raw):
    with pytest.raises(InvalidManifestError):
        parse(raw)


@pytest.mark.parametrize("digest", ["sha256:../../etc/passwd", "sha256:ABC", "md5:00", "x", ""])
def test_digests_that_are_not(digest):
    from images.errors import InputError

    with pytest.raises(InputError):
        parse(document(config={**CONFIG.to_json(), "digest": digest}))


def test_a_manifest_asked_for_as_an_index():
    with pytest.raises(InvalidManifestError, match="expected an index"):
        Index.parse(document())
    with pytest.raises(InvalidManifestError, match="expected an image manifest"):
        Manifest.parse(index_document())


def test_size_limit():
    with pytest.raises(SizeLimitError):
        parse(document(annotations={"a": "x" * (4 << 20)}))


class TestBuild:
    def test_round_trip(self):
        manifest = Manifest.build(
            CONFIG,
            [LAYER, LAYER],
            annotations={"b": "1", "a": "2"},
            subject=LAYER,
            artifact_type="x/y",
        )
        assert Manifest.parse(manifest.raw, OCI_MANIFEST) == manifest
        assert manifest.layers == (LAYER, LAYER)
        assert json.loads(manifest.raw)["schemaVersion"] == 2

    def test_canonical(self):
        one = Manifest.build(CONFIG, [LAYER], annotations={"b": "1", "a": "2"})
        two = Manifest.build(CONFIG, [LAYER], annotations={"a": "2", "b": "1"})
        assert one.raw == two.raw
        assert b" " not in one.raw

    def test_golden(self):
        assert Manifest.build(CONFIG, [LAYER]).digest.hex == (
            "ab85512e9a8845524a9495a2c2e016330ca370aa6cf5695f8835008f79b887d7"
        )

    def test_docker_types(self):
        layer = Descriptor(DOCKER_LAYER_GZIP, LAYER.digest, 5)
        assert (
            Manifest.build(CONFIG, [layer], media_type=DOCKER_MANIFEST).media_type
            == DOCKER_MANIFEST
        )
        with pytest.raises(InvalidManifestError, match="no annotations"):
            Manifest.build(CONFIG, [], media_type=DOCKER_MANIFEST, annotations={"a": "b"})

    def test_index(self):
        index = Index.build([for_platform("linux/amd64")], annotations={"x": "y"})
        assert Index.parse(index.raw) == index
        assert index.descriptor.media_type == OCI_INDEX


class TestSelect:
    def select(self, wanted: str, *offered: str) -> str:
        index = Index.build([for_platform(text) for text in offered])
        return str(index.select(Platform.parse(wanted)).platform)

    def test_exact(self):
        assert self.select("linux/arm64", "linux/amd64", "linux/arm64") == "linux/arm64"

    def test_the_exact_variant_before_another(self):
        assert self.select("linux/arm/v6", "linux/arm/v7", "linux/arm/v6") == "linux/arm/v6"

    def test_an_older_arm_will_do_and_the_newest_of_those(self):
        assert self.select("linux/arm/v7", "linux/arm/v5", "linux/arm/v6") == "linux/arm/v6"

    def test_a_newer_arm_will_not(self):
        with pytest.raises(PlatformUnknownError):
            self.select("linux/arm/v6", "linux/arm/v7")

    def test_none(self):
        with pytest.raises(PlatformUnknownError, match="linux/s390x") as caught:
            self.select("linux/s390x", "linux/amd64", "linux/arm64", "unknown/unknown")
        assert caught.value.fix == "this image offers linux/amd64, linux/arm64"

    def test_attestations_are_not_platforms(self):
        index = Index.build([for_platform("unknown/unknown"), for_platform("linux/amd64")])
        assert index.platforms() == (Platform("linux", "amd64"),)
