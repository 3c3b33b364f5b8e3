import os
from pathlib import Path

import pytest

from images.digest import Digest
from images.errors import (
    BlobUnknownError,
    EnvironmentFault,
    ImageInUseError,
    ImageUnknownError,
    InvalidManifestError,
    PlatformUnknownError,
)
from images.manifest import Index
from images.platform import Platform
from images.store import ImageStore, default_root
from tests.images.layers.archives import directory, file
from tests.images.storekit import put_image, put_index, put_layer, ref

OTHER = Platform("linux", "s390x")


@pytest.fixture
def store(tmp_path):
    store = ImageStore.open(tmp_path / "root")
    yield store
    store.close()


@pytest.fixture
def image(store):
    """A manifest in the blob store, not named."""
    return put_image(store, [put_layer(store, directory("etc"), file("etc/x"))])


class TestOpen:
    def test_makes_the_root(self, tmp_path):
        store = ImageStore.open(tmp_path / "a/b")
        assert (tmp_path / "a/b/lading.db").exists()
        assert (tmp_path / "a/b").stat().st_mode & 0o077 == 0o011
        store.close()

    def test_says_why_not(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(EnvironmentFault, match="cannot make the store") as caught:
            ImageStore.open(tmp_path / "file/root")
        assert "LADING_ROOT" in (caught.value.fix or "")

    def test_default_root(self, monkeypatch):
        monkeypatch.setenv("LADING_ROOT", "/chosen")
        assert default_root() == Path("/chosen")
        monkeypatch.delenv("LADING_ROOT")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert default_root() == Path("/var/lib/lading")
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setenv("XDG_DATA_HOME", "/data")
        assert default_root() == Path("/data/lading")
        monkeypatch.delenv("XDG_DATA_HOME")
        monkeypatch.setenv("HOME", "/home/me")
        assert default_root() == Path("/home/me/.local/share/lading")


class TestNames:
    def test_tag_and_resolve(self, store, image):
        assert store.resolve(ref("web")) is None
        store.tag(ref("web:1"), image.descriptor)
        assert store.resolve(ref("web:1")) == image.descriptor
        assert store.resolve(ref("docker.io/library/web:1")) == image.descriptor
        assert store.resolve(ref("web:2")) is None
        assert store.names() == [(ref("web:1"), image.descriptor)]

    def test_another_process_sees_it(self, store, image):
        store.tag(ref("web:1"), image.descriptor)
        other = ImageStore.open(store.root)
        assert other.resolve(ref("web:1")) == image.descriptor
        other.close()

    def test_by_digest(self, store, image):
        pinned = ref(f"web@{image.digest}")
        assert store.resolve(pinned) is None
        store.add_image(image.descriptor)
        assert store.resolve(pinned) == image.descriptor

    def test_tag_with_a_digest_beside_it(self, store, image):
        store.tag(ref("web:1").with_digest(image.digest), image.descriptor)
        assert store.resolve(ref("web:1")) == image.descriptor

    def test_a_name_moves(self, store, image):
        other = put_image(store, [], label="other")
        store.tag(ref("web"), image.descriptor)
        store.tag(ref("web"), other.descriptor)
        assert store.resolve(ref("web")) == other.descriptor
        assert {stored.names for stored in store.images()} == {(), (ref("web"),)}

    def test_untag(self, store, image):
        store.tag(ref("web"), image.descriptor)
        assert store.untag(ref("web"))
        assert not store.untag(ref("web"))
        assert store.names() == []
        assert len(store.images()) == 1

    def test_only_what_is_there_is_named(self, store, image):
        from dataclasses import replace

        missing = replace(image.descriptor, digest=Digest.of(b"missing"))
        with pytest.raises(BlobUnknownError):
            store.tag(ref("web"), missing)
        assert store.names() == []
        with pytest.raises(InvalidManifestError):
            store.tag(ref("web"), image.config)

    def test_a_name_needs_a_tag(self, store, image):
        with pytest.raises(ImageUnknownError, match="needs a tag"):
            store.tag(ref(f"web@{image.digest}"), image.descriptor)


class TestImages:
    def test_add_image(self, store, image):
        assert store.add_image(image.descriptor) == image.config.digest
        store.add_image(image.descriptor)
        (stored,) = store.images()
        assert stored.descriptor == image.descriptor
        assert stored.image_id == image.config.digest
        assert stored.names == ()

    def test_newest_first_with_their_names(self, store):
        made = [put_image(store, [], label=str(n)) for n in range(3)]
        for manifest in made:
            store.add_image(manifest.descriptor)
        store.tag(ref("b"), made[0].descriptor)
        store.tag(ref("a"), made[0].descriptor)
        assert [s.descriptor for s in store.images()] == [m.descriptor for m in reversed(made)]
        assert store.images()[2].names == (ref("a"), ref("b"))

    def test_image(self, store, image):
        found = store.image(image.descriptor)
        assert found.manifest == image
        assert found.config.digest == image.config.digest == found.id
        assert found.descriptor == image.descriptor

    def test_index_for_a_platform(self, store):
        here, there = put_image(store, []), put_image(store, [], platform=OTHER)
        index = put_index(store, {str(OTHER): there, str(Platform.host()): here})
        store.tag(ref("multi"), index.descriptor)
        assert store.image(index.descriptor).manifest == here
        assert store.image(index.descriptor, OTHER).manifest == there
        with pytest.raises(PlatformUnknownError):
            store.image(index.descriptor, Platform("linux", "mips"))
        assert store.images()[0].image_id == here.config.digest

    def test_an_index_has_the_id_of_what_is_here(self, store):
        there = put_image(store, [], platform=OTHER)
        here = put_image(store, [])
        index = put_index(store, {str(Platform.host()): here, str(OTHER): there})
        store.blobs.delete(here.digest)
        assert store.add_image(index.descriptor) == there.config.digest
        store.blobs.delete(there.digest)
        assert store.add_image(index.descriptor) == index.digest

    def test_indexes_inside_indexes(self, store):
        from dataclasses import replace

        manifest = put_image(store, [])
        inner = put_index(store, {str(Platform.host()): manifest})
        for _ in range(2):
            inner = Index.build([replace(inner.descriptor, platform=Platform.host())])
            store.blobs.put(inner.raw)
        assert store.image(inner.descriptor).manifest == manifest
        for _ in range(4):
            inner = Index.build([replace(inner.descriptor, platform=Platform.host())])
            store.blobs.put(inner.raw)
        with pytest.raises(InvalidManifestError, match="nested too deeply"):
            store.image(inner.descriptor)

    def test_lowerdirs(self, store):
        layers = [put_layer(store, file("a")), put_layer(store, file("b"))]
        found = store.image(put_image(store, layers).descriptor)
        assert [os.listdir(path) for path in store.lowerdirs(found)] == [["b"], ["a"]]

    def test_config_and_manifest_that_disagree(self, store):
        from images.manifest import Manifest

        layer = put_layer(store, file("a"))
        good = put_image(store, [layer])
        bad = Manifest.build(good.config, [layer.descriptor] * 2)
        store.blobs.put(bad.raw)
        with pytest.raises(InvalidManifestError, match="2 layers, config has 1"):
            store.lowerdirs(store.image(bad.descriptor))


class TestLookup:
    def test_by_name_id_and_prefix(self, store, image):
        store.tag(ref("web:1"), image.descriptor)
        image_id = image.config.digest
        texts = ["web:1", "docker.io/library/web:1", str(image_id), image_id.hex]
        texts += [
            image_id.short,
            image_id.hex[:1],
            f"sha256:{image_id.short}",
            f"web@{image.digest}",
        ]
        texts += [str(image.digest)]
        for text in texts:
            assert store.lookup(text).descriptor == image.descriptor, text

    def test_a_name_before_the_start_of_an_id(self, store):
        images = [put_image(store, [], label=str(n)) for n in range(2)]
        store.tag(ref("x"), images[0].descriptor)
        short = images[0].config.digest.hex[:6]
        store.tag(ref(short), images[1].descriptor)
        assert store.lookup(short).descriptor == images[1].descriptor

    @pytest.mark.parametrize("text", ["nothing", "ffffffffffff", "", "Bad Name", "sha256:", "%"])
    def test_none(self, store, image, text):
        store.tag(ref("web:1"), image.descriptor)
        with pytest.raises(ImageUnknownError, match="no such image"):
            store.lookup(text)

    def test_ambiguous(self, store):
        made = [put_image(store, [], label=str(n)) for n in range(17)]
        for manifest in made:
            store.add_image(manifest.descriptor)
        firsts = [m.config.digest.hex[0] for m in made]
        twice = next(c for c in firsts if firsts.count(c) > 1)
        with pytest.raises(
            ImageUnknownError, match=f"several image ids start with {twice}"
        ) as caught:
            store.lookup(twice)
        assert "write more of it" in (caught.value.fix or "")

    def test_one_image_in_two_manifests_is_not_ambiguous(self, store, image):
        from images.manifest import Manifest

        again = Manifest.build(image.config, image.layers, annotations={"a": "b"})
        store.blobs.put(again.raw)
        store.add_image(image.descriptor)
        store.add_image(again.descriptor)
        assert store.lookup(image.config.digest.short).image_id == image.config.digest


class TestRemove:
    def test_the_last_name_takes_the_image(self, store, image):
        store.tag(ref("a"), image.descriptor)
        store.tag(ref("b"), image.descriptor)
        assert store.remove("a").deleted == ()
        removal = store.remove("b")
        assert (removal.untagged, removal.deleted) == ((ref("b"),), (image.config.digest,))
        assert store.images() == []

    def test_an_id_takes_the_names_of_one_repository(self, store, image):
        store.tag(ref("a:1"), image.descriptor)
        store.tag(ref("a:2"), image.descriptor)
        removal = store.remove(image.config.digest.short)
        assert removal.untagged == (ref("a:1"), ref("a:2"))
        assert store.names() == []

    def test_an_id_with_several_repositories_needs_force(self, store, image):
        store.tag(ref("a"), image.descriptor)
        store.tag(ref("b"), image.descriptor)
        with pytest.raises(ImageInUseError, match="multiple repositories"):
            store.remove(image.config.digest.short)
        assert len(store.names()) == 2
        assert len(store.remove(image.config.digest.short, force=True).untagged) == 2

    def test_an_image_without_a_name(self, store, image):
        store.add_image(image.descriptor)
        assert store.remove(image.config.digest.hex).deleted == (image.config.digest,)

    def test_nothing(self, store):
        with pytest.raises(ImageUnknownError):
            store.remove("nothing")


class TestLayers:
    def test_a_recorded_layer_is_found_by_its_diff_id(self, store):
        gzip, zstd = (put_layer(store, file("a"), compression=c) for c in ("gzip", "zstd"))
        assert gzip.diff_id == zstd.diff_id
        wanted = zstd.descriptor.media_type
        assert store.layer_blob(gzip.diff_id, media_type=wanted) == zstd.descriptor
        store.blobs.delete(gzip.descriptor.digest)
        assert store.layer_blob(gzip.diff_id) == zstd.descriptor
        store.blobs.delete(zstd.descriptor.digest)
        assert store.layer_blob(gzip.diff_id) is None

    def test_the_cache_is_at_hand(self, store):
        store.cache.put(b"k", "run", b"v")
        assert store.cache.get(b"k").value == b"v"
