"""Goods arrive where they were sent, whole, and only what is in the store or pushed has names."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from builder.progress.events import WarningRaised
from engine.builds.attesting.options import Attesting, Provenance
from engine.builds.delivery.listing import listed
from engine.builds.delivery.metadata import describe, encode, warnings_of
from engine.builds.delivery.outputs import OutputError
from images.archive import load
from images.config import ImageConfig
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import EnvironmentFault
from images.manifest import Index, Manifest
from images.mediatype import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from images.outgoing import OccupiedError
from images.platform import Platform
from images.reference import Reference
from images.store import ImageStore
from tests.engine.builds.delivery.conftest import Bench

TAGS = ("app:1", "registry.example/app:2")
TWO = (Platform.parse("linux/amd64"), Platform.parse("linux/arm64"))
SCRATCH = "FROM scratch\nARG TARGETARCH\nCOPY a /a\nCOPY b /$TARGETARCH\n"


def names(bench: Bench) -> set[str]:
    return {reference.familiar for reference, _ in bench.store.names()}


def test_into_the_store_under_the_tags(bench: Bench) -> None:
    outcome = bench("type=image,compression=zstd", tags=TAGS)
    assert names(bench) == {"base:latest", *TAGS}
    assert {name.familiar for name in outcome.named} == set(TAGS)
    for tag in TAGS:
        found = bench.store.resolve(Reference.parse(tag))
        assert found is not None
        assert found.digest == outcome.root.digest


def test_an_output_has_names_of_its_own(bench: Bench) -> None:
    bench('type=image,"name=other:3,another:4"', "type=image,name=third")
    assert names(bench) == {"base:latest", "other:3", "another:4", "third:latest"}


def test_tags_go_before_the_names_of_outputs(bench: Bench) -> None:
    outcome = bench("type=image,name=target", tags=TAGS)
    assert names(bench) == {"base:latest", *TAGS}
    assert {name.familiar for name in outcome.named} == set(TAGS)
    warned = [event for event in bench.progress.events if isinstance(event, WarningRaised)]
    assert [event.message for event in warned] == [
        f"the output's name=target:latest gives way to -t {TAGS[0]}"
    ]


@pytest.mark.parametrize("output", ["type=cacheonly", "type=local,dest={}/o", "type=oci,dest={}/o"])
def test_other_outputs_name_nothing(bench: Bench, tmp_path: Path, output: str) -> None:
    before = bench.store.images()
    outcome = bench(output.format(tmp_path), tags=TAGS)
    assert names(bench) == {"base:latest"}
    assert outcome.named == ()
    assert [image.descriptor for image in bench.store.images()] == [i.descriptor for i in before]


def test_by_digest_the_store_has_the_image_and_no_name(bench: Bench) -> None:
    outcome = bench("type=image,push-by-digest=true,name-canonical=true", tags=TAGS)
    assert names(bench) == {"base:latest"}
    canonical = Reference.parse(f"app@{outcome.root.digest}")
    assert bench.store.resolve(canonical) is not None


def test_files_of_the_image_in_a_directory(bench: Bench, tmp_path: Path) -> None:
    outcome = bench(f"{tmp_path}/out")
    out = tmp_path / "out"
    assert outcome.places == (str(out),)
    assert (out / "etc/b").read_text() == "new"
    assert (out / "new/c").read_text() == "a" * 10_000
    assert os.readlink(out / "link") == "etc/base"
    status = (out / "etc/base").stat()
    assert status.st_mode & 0o7777 == 0o4755
    assert (status.st_uid, status.st_nlink) == (os.geteuid(), 2)
    assert not (out / "zero").exists(), "devices stay out of directories"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_files_of_the_image_in_a_tar(bench: Bench, tmp_path: Path) -> None:
    bench(f"type=tar,dest={tmp_path}/a.tar")
    bench(f"type=tar,dest={tmp_path}/b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        owner = archive.getmember("etc/base")
        assert (owner.uid, owner.gid, owner.mode) == (1, 2, 0o4755)
        assert archive.getmember("zero").ischr()
        assert archive.getmember("twin").linkname == "etc/base"


def test_a_directory_is_merged_or_made_equal(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "etc").mkdir(parents=True)
    (out / "etc/mine").write_text("mine")
    (out / "etc/b").write_text("mine too")
    bench(str(out))
    assert (out / "etc/mine").read_text() == "mine"
    assert (out / "etc/b").read_text() == "new"
    bench(f"type=local,dest={out},mode=delete")
    assert not (out / "etc/mine").exists()
    assert (out / "etc/b").read_text() == "new"


def test_what_must_not_be_emptied(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "here").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home / "here")
    for dest in ("/", str(home), ".", ".."):
        with pytest.raises(OutputError, match="mode=delete would empty"):
            bench(f"type=local,dest={dest},mode=delete")
        assert bench.progress.names == [], "nothing was built"
    bench(f"type=local,dest={home}/here/out,mode=delete")


def test_a_link_in_the_way_leads_nowhere(bench: Bench, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "etc").symlink_to(elsewhere)
    with pytest.raises(OccupiedError, match="is a symbolic link where the result has a directory"):
        bench(str(out))
    assert list(elsewhere.iterdir()) == []
    assert [path.name for path in out.iterdir()] == ["etc"]
    (out / "etc").unlink()
    (out / "link").symlink_to(elsewhere / "file")
    bench(str(out))
    assert os.readlink(out / "link") == "etc/base"
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_archives_can_be_loaded(bench: Bench, tmp_path: Path, kind: str) -> None:
    outcome = bench(f"type={kind},dest={tmp_path}/image.tar", tags=TAGS)
    other = ImageStore.open(tmp_path / "other")
    with (tmp_path / "image.tar").open("rb") as file:
        (loaded,) = load(file, other)
    assert {name.familiar for name in loaded.references} == set(TAGS)
    assert other.image(loaded.descriptor).id == outcome.images[0].image_id
    kind_of = {"oci": OCI_MANIFEST, "docker": DOCKER_MANIFEST}[kind]
    assert loaded.descriptor.media_type == kind_of
    with tarfile.open(tmp_path / "image.tar") as archive:
        assert ("manifest.json" in archive.getnames()) == (kind == "docker")
    other.close()


def test_a_layout_directory_collects_images(bench: Bench, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    output = f"type=oci,dest={layout},tar=false"
    first = bench(output, tags=("app:1",))
    second = bench(output, tags=("app:2",), dockerfile="FROM base\nCOPY b /\n")
    third = bench(output, tags=("app:1",), dockerfile="FROM base\nCOPY a /\n")
    index = Index.parse((layout / "index.json").read_bytes())
    tagged = {m.annotations["org.opencontainers.image.ref.name"]: m for m in index.manifests}
    assert tagged["1"].digest == third.root.digest != first.root.digest
    assert tagged["2"].digest == second.root.digest
    for digest in (first.root.digest, second.root.digest):
        assert (layout / "blobs/sha256" / digest.hex).exists()
    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}


def test_a_layout_lists_images_as_buildkit_does(bench: Bench, tmp_path: Path) -> None:
    created = {"org.opencontainers.image.created": "2023-11-14T22:13:20Z"}
    for tar in ("true", "false"):
        where = tmp_path / f"one-{tar}"
        bench(f"type=oci,dest={where},tar={tar}", tags=TAGS)
        entries = listed_in(where)
        assert [entry.platform for entry in entries] == [TWO[0], TWO[0]]
        assert [dict(entry.annotations) for entry in entries] == [
            {
                **created,
                "io.containerd.image.name": "docker.io/library/app:1",
                "org.opencontainers.image.ref.name": "1",
            },
            {
                **created,
                "io.containerd.image.name": "registry.example/app:2",
                "org.opencontainers.image.ref.name": "2",
            },
        ]
    bench(f"type=oci,dest={tmp_path}/two", dockerfile=SCRATCH, platforms=TWO)
    (index,) = listed_in(tmp_path / "two")
    assert (index.platform, dict(index.annotations)) == (None, created)
    own = "manifest-descriptor:org.opencontainers.image.created=2001-01-01T00:00:00Z"
    bench(f"type=docker,dest={tmp_path}/own", annotations=(own,))
    (entry,) = listed_in(tmp_path / "own")
    assert entry.annotations["org.opencontainers.image.created"] == "2001-01-01T00:00:00Z"


def listed_in(place: Path) -> tuple[Descriptor, ...]:
    """What the index of a layout lists, of a directory or an archive."""
    if place.is_dir():
        return Index.parse((place / "index.json").read_bytes()).manifests
    with tarfile.open(place) as archive:
        file = archive.extractfile("index.json")
        assert file is not None
        return Index.parse(file.read()).manifests


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (("2020-01-02T03:04:05.678Z", "2020-01-02T05:04:06+02:00"), "2020-01-02T03:04:06Z"),
        (("yesterday", ""), None),
        (("0001-01-01T00:00:00+14:00", "2020-01-02T03:04:05Z"), "2020-01-02T03:04:05Z"),
    ],
)
def test_the_date_in_a_list_is_the_latest(dates: tuple[str, ...], expected: str | None) -> None:
    configs = [ImageConfig.build(TWO[0], [], created=date) for date in dates]
    root = Descriptor(OCI_INDEX, Digest.of(b"1"), 1)
    found = listed(root, configs).annotations.get("org.opencontainers.image.created")
    assert found == expected


def test_a_blob_that_was_cut_short_is_written_again(bench: Bench, tmp_path: Path) -> None:
    output = f"type=oci,dest={tmp_path}/layout,tar=false"
    outcome = bench(output)
    blob = tmp_path / "layout/blobs/sha256" / outcome.root.digest.hex
    whole = blob.read_bytes()
    blob.write_bytes(whole[:10])
    bench(output)
    assert blob.read_bytes() == whole


def test_annotations_at_every_level(bench: Bench, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    outcome = bench(
        f"type=oci,dest={layout},tar=false,annotation-index.own=1",
        annotations=(
            "a=every",
            "manifest[linux/arm64]:a=arm",
            "index:b=index",
            "manifest-descriptor[linux/amd64]:c=amd",
            "index-descriptor:d=top",
        ),
        dockerfile=SCRATCH,
        platforms=TWO,
        tags=("app:1",),
    )
    (top,) = Index.parse((layout / "index.json").read_bytes()).manifests
    assert top.annotations["d"] == "top"
    assert top.digest == outcome.root.digest
    index = Index.parse(bench.store.blobs.read(top.digest))
    assert index.annotations == {"b": "index", "own": "1"}
    amd, arm = index.manifests
    assert (amd.annotations, arm.annotations) == ({"c": "amd"}, {})
    read = [bench.store.image(one).manifest.annotations for one in (amd, arm)]
    assert read == [{"a": "every"}, {"a": "arm"}]


def test_a_manifest_descriptor_without_an_index(bench: Bench, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    bench(f"type=oci,dest={layout},tar=false", annotations=("manifest-descriptor:a=b", "k=v"))
    (top,) = Index.parse((layout / "index.json").read_bytes()).manifests
    assert top.annotations["a"] == "b"


def test_annotations_of_an_index_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(OutputError, match="index:a has no index to be on"):
        bench("type=image", annotations=("index:a=b",))
    assert bench.progress.names == [], "nothing was built"


def test_annotations_let_an_archive_of_docker_have_other_types(
    bench: Bench, tmp_path: Path
) -> None:
    outcome = bench(f"type=docker,dest={tmp_path}/d.tar", annotations=("a=b",))
    assert outcome.root.media_type == OCI_MANIFEST
    with pytest.raises(OutputError, match="no annotations"):
        bench("type=image,oci-mediatypes=false", annotations=("a=b",))


def test_several_outputs_in_several_forms(bench: Bench, tmp_path: Path) -> None:
    outcome = bench(
        f"type=oci,dest={tmp_path}/z.tar,compression=zstd",
        f"type=docker,dest={tmp_path}/d.tar",
        f"{tmp_path}/files",
        "type=image",
        tags=("app:1",),
    )
    assert len(outcome.places) == 3
    digests = set()
    for name in ("z.tar", "d.tar"):
        with tarfile.open(tmp_path / name) as archive:
            file = archive.extractfile("index.json")
            assert file is not None
            digests.add(Index.parse(file.read()).manifests[0].digest)
    stored = bench.store.resolve(Reference.parse("app:1"))
    assert stored is not None
    assert len({*digests, stored.digest}) == 3


def test_platforms_in_a_directory(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bench(str(out), dockerfile=SCRATCH, platforms=TWO)
    assert sorted(path.name for path in out.iterdir()) == ["linux_amd64", "linux_arm64"]
    assert sorted(path.name for path in (out / "linux_arm64").iterdir()) == ["a", "arm64"]
    with pytest.raises(OutputError, match="linux/amd64 and linux/arm64 both have /a"):
        bench(f"type=local,dest={out}2,platform-split=false", dockerfile=SCRATCH, platforms=TWO)
    assert not (tmp_path / "out2").exists()
    alone = "FROM scratch\nARG TARGETARCH\nCOPY b /$TARGETARCH/b\n"
    bench(f"type=tar,dest={out}.tar,platform-split=false", dockerfile=alone, platforms=TWO)
    with tarfile.open(f"{out}.tar") as archive:
        assert {"amd64/b", "arm64/b"} <= set(archive.getnames())
    bench(f"type=local,dest={out}3,platform-split=true", dockerfile=alone)
    assert [path.name for path in (tmp_path / "out3").iterdir()] == [
        str(Platform.host()).replace("/", "_")
    ]


def test_platforms_in_an_archive(bench: Bench, tmp_path: Path) -> None:
    outcome = bench(f"type=oci,dest={tmp_path}/o.tar", dockerfile=SCRATCH, platforms=TWO)
    assert outcome.root.media_type == OCI_INDEX
    other = ImageStore.open(tmp_path / "other")
    with (tmp_path / "o.tar").open("rb") as file:
        (loaded,) = load(file, other)
    assert loaded.descriptor.digest == outcome.root.digest
    for platform in TWO:
        assert other.image(loaded.descriptor, platform).config.platform == platform
    other.close()
    with pytest.raises(OutputError, match="holds one image, not 2 platforms") as caught:
        bench(f"type=docker,dest={tmp_path}/d.tar", dockerfile=SCRATCH, platforms=TWO)
    assert "type=oci" in (caught.value.fix or "")
    assert not (tmp_path / "d.tar").exists()


@pytest.mark.parametrize(
    ("more", "media_type"),
    [("", OCI_MANIFEST), (",oci-artifact=true", OCI_MANIFEST), (",oci-artifact=false", OCI_INDEX)],
)
def test_statements_are_attached_as_the_output_wants(
    bench: Bench, more: str, media_type: str
) -> None:
    outcome = bench(f"type=image{more}", attesting=Attesting(Provenance()), tags=("app:1",))
    assert outcome.root.media_type == media_type


def test_a_docker_archive_holds_the_image_without_its_statements(
    bench: Bench, tmp_path: Path
) -> None:
    asked = Attesting(Provenance(), form="index")
    outcome = bench(f"type=docker,dest={tmp_path}/d.tar", attesting=asked, tags=("app:1",))
    other = ImageStore.open(tmp_path / "other")
    with (tmp_path / "d.tar").open("rb") as file:
        (loaded,) = load(file, other)
    assert loaded.descriptor.digest == outcome.images[0].descriptor.digest
    other.close()


def test_a_tar_on_standard_output(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written))
    bench("-")
    with tarfile.open(fileobj=io.BytesIO(written.getvalue())) as archive:
        assert "etc/b" in archive.getnames()


def test_nothing_half_written_stays(bench: Bench, tmp_path: Path) -> None:
    outcome = bench("type=image", tags=("app:1",))
    layer = bench.store.image(outcome.root).manifest.layers[-1]
    path = bench.store.blobs.path(layer.digest)
    path.write_bytes(path.read_bytes()[:-20])
    for output in (f"type=tar,dest={tmp_path}/x.tar", f"{tmp_path}/x"):
        with pytest.raises(Exception, match=r"truncated|damaged"):
            bench(output)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["context", "store"]


def test_a_place_that_cannot_be(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OccupiedError, match="is not a directory"):
        bench(f"{tmp_path}/file")
    with pytest.raises(OccupiedError, match="is a directory"):
        bench(f"type=tar,dest={tmp_path}/folder")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        bench(f"type=tar,dest={tmp_path}/file/x")


def test_metadata(bench: Bench) -> None:
    outcome = bench("type=image", tags=TAGS)
    told = json.loads(encode(describe(outcome, {}, bench.store)))
    assert told["containerimage.digest"] == str(outcome.root.digest)
    assert told["containerimage.config.digest"] == str(outcome.image_id)
    assert told["containerimage.descriptor"] == outcome.root.to_json() | {
        "annotations": {"org.opencontainers.image.created": "2023-11-14T22:13:20Z"},
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    assert told["image.name"] == "docker.io/library/app:1,registry.example/app:2"
    assert told["buildx.build.ref"] == outcome.ref
    assert warnings_of([outcome], {"BUILDX_METADATA_WARNINGS": "true"}) == {}


@pytest.mark.parametrize("form", ["index", "referrers"])
def test_metadata_has_the_provenance_that_is_stated(bench: Bench, form: str) -> None:
    asked = Attesting(Provenance(), form=form)
    outcome = bench("type=image", tags=TAGS, attesting=asked)
    told = describe(outcome, {}, bench.store)["buildx.build.provenance"]
    assert told["buildDefinition"]["externalParameters"]["configSource"]
    for off in ("disabled", "false"):
        environment = {"BUILDX_METADATA_PROVENANCE": off}
        assert "buildx.build.provenance" not in describe(outcome, environment, bench.store)
    several = bench("type=image", dockerfile=SCRATCH, platforms=TWO, attesting=asked)
    assert {key for key in describe(several, {}, bench.store) if "provenance" in key} == {
        "buildx.build.provenance/linux/amd64",
        "buildx.build.provenance/linux/arm64",
    }
    plain = bench("type=image", dockerfile="FROM scratch\nCOPY a /plain\n")
    assert "buildx.build.provenance" not in describe(plain, {}, bench.store)


def test_metadata_has_as_much_of_the_provenance_as_is_asked(bench: Bench) -> None:
    full = Attesting(Provenance(mode="max"))
    outcome = bench("type=image", tags=TAGS, attesting=full)
    key = "buildx.build.provenance"
    short = describe(outcome, {}, bench.store)[key]
    assert short == describe(outcome, {"BUILDX_METADATA_PROVENANCE": "min"}, bench.store)[key]
    assert "metadata" not in short["runDetails"]
    assert set(short["buildDefinition"]["internalParameters"]) == {"builderPlatform"}
    whole = describe(outcome, {"BUILDX_METADATA_PROVENANCE": "max"}, bench.store)[key]
    assert whole["buildDefinition"]["internalParameters"]["buildConfig"]["steps"]
    assert whole["runDetails"]["metadata"]["startedOn"]


def test_metadata_of_what_nothing_holds_any_more(bench: Bench) -> None:
    outcome = bench("type=cacheonly")
    bench.store.blobs.path(outcome.root.digest).unlink()
    told = describe(outcome, {}, bench.store)
    assert told["containerimage.descriptor"] == outcome.root.to_json()


def test_metadata_is_of_one_form(bench: Bench, tmp_path: Path) -> None:
    archive = f"type=oci,dest={tmp_path}/a.tar,compression=zstd,name=archive:1"
    outcome = bench(archive, "type=image,name=stored:1")
    assert bench.store.resolve(Reference.parse("stored:1")) == outcome.root
    told = describe(outcome, {}, bench.store)
    assert told["containerimage.digest"] == str(outcome.root.digest)
    assert told["image.name"] == "docker.io/library/stored:1"
    assert outcome.places == (f"{tmp_path}/a.tar",)


def test_metadata_of_an_index_and_of_warnings(bench: Bench) -> None:
    text = f"{SCRATCH}CMD run\n"
    outcome = bench("type=image", dockerfile=text, platforms=TWO)
    told = describe(outcome, {}, bench.store)
    assert told["containerimage.digest"] == str(outcome.root.digest)
    assert "containerimage.config.digest" not in told
    assert "image.name" not in told
    assert warnings_of([outcome], {}) == {}
    asked = {"BUILDX_METADATA_WARNINGS": "1"}
    (warning,) = warnings_of([outcome, outcome], asked)["buildx.build.warnings"]
    assert warning["level"] == 1
    assert base64.b64decode(warning["short"]).startswith(b"JSONArgsRecommended: JSON arguments")
    assert base64.b64decode(warning["detail"][0]).startswith(b"JSON arguments recommended for")
    assert warning["url"].endswith("/rule/json-args-recommended/")
    assert warning["sourceInfo"] == {"filename": "Dockerfile", "language": "Dockerfile"}
    assert warning["range"] == [{"start": {"line": 5}, "end": {"line": 5}}]


def test_a_squashed_image_that_cannot_carry_its_cache(bench: Bench) -> None:
    bench(squash=True)
    assert not bench.progress.warnings
    bench(squash=True, request={"inline_cache": True})
    (warning,) = bench.progress.warnings
    assert "carries no cache" in warning


def test_the_second_squash_is_cached(bench: Bench) -> None:
    first = bench(squash=True, tags=("app:1",))
    second = bench(squash=True, tags=("app:1",))
    assert second.cached
    assert "merging 3 layers" in bench.progress.cached
    assert second.root == first.root
    assert names(bench) == {"base:latest", "app:1"}


def test_the_system_of_the_base_stays_with_the_image(bench: Bench) -> None:
    system = {"os.version": "10.0.20348.1", "os.features": ["win32k"]}
    base = ImageConfig.build(Platform("windows", "amd64"), [], extra=system)
    bench.store.blobs.put(base.raw)
    manifest = Manifest.build(base.descriptor(), [])
    bench.store.blobs.put(manifest.raw)
    bench.store.tag(Reference.parse("win"), manifest.descriptor)
    outcome = bench(
        "type=image",
        dockerfile="FROM win AS one\nLABEL a=b\nFROM one\nCOPY a /a\n",
        platforms=(Platform("windows", "amd64"),),
        request={"build_args": {"BUILDKIT_MULTI_PLATFORM": "1"}},
    )
    (image,) = outcome.images
    config = bench.store.image(image.descriptor).config.to_json()
    assert {key: config[key] for key in system} == system
    index = json.loads(bench.store.blobs.read(outcome.root.digest))
    assert index["manifests"][0]["platform"] == {"os": "windows", "architecture": "amd64", **system}
