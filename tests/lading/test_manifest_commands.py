"""``lading manifest`` and ``lading imagetools``, and docker's own command beside them."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from images.client import RegistryClient
from images.config import ImageConfig
from images.manifest import Manifest
from images.mediatype import OCI_CONFIG, OCI_LAYER_GZIP
from images.platform import Platform
from images.reference import Reference
from lading.main import main
from records import replace
from registry.config import RegistryConfig
from tests.conftest import require_program
from tests.registry.running import Running

Run = Callable[..., str]
PLATFORMS = Platform.parse_list(["linux/amd64,linux/arm64"])


async def serve_images(host: str) -> None:
    """Push ``app:amd64`` and ``app:arm64``, two images of one blob that is no real layer."""
    async with RegistryClient() as client:
        for platform in PLATFORMS:
            name = Reference.parse(f"{host}/app:{platform.architecture}")
            layer = await client.put_blob(name, b"layer", OCI_LAYER_GZIP)
            config = ImageConfig.build(platform, [layer.digest])
            described = await client.put_blob(name, config.raw, OCI_CONFIG)
            manifest = Manifest.build(described, [layer])
            await client.put_manifest(name, manifest.raw, manifest.media_type)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """A registry of ours with the images of ``serve_images``."""
    with Running(RegistryConfig(root=tmp_path / "registry", port=0)) as bound:
        asyncio.run(serve_images(f"127.0.0.1:{bound.port}"))
        yield f"127.0.0.1:{bound.port}"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Run:
    monkeypatch.setenv("LADING_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))

    def call(*words: str, status: int = 0) -> str:
        assert main(list(words)) == status, capsys.readouterr().err
        answer = capsys.readouterr()
        return answer.out if status == 0 else answer.err

    return call


def begun(run: Run, host: str) -> str:
    name = f"{host}/app:list"
    run("manifest", "create", name, f"{host}/app:amd64", f"{host}/app:arm64")
    return name


def test_a_list_is_begun_annotated_pushed_and_forgotten(run: Run, host: str) -> None:
    name = f"{host}/app:list"
    words = ("manifest", "create", name, f"{host}/app:amd64")
    assert run(*words) == f"Created manifest list {name}\n"
    assert "refusing to amend an existing manifest list" in run(*words, status=1)
    run("manifest", "create", "--amend", name, f"{host}/app:arm64")
    arm64 = f"{host}/app:arm64"
    run("manifest", "annotate", name, arm64, "--variant", "v9", "--os-features", "a,b")
    run("manifest", "create", "-a", name, arm64)
    shown = json.loads(run("manifest", "inspect", name))
    assert shown["manifests"][1]["platform"] == {
        "architecture": "arm64",
        "os": "linux",
        "os.features": ["a", "b"],
        "variant": "v9",
    }
    digest = run("manifest", "push", "--purge", name).strip()
    assert "No such manifest" in run("manifest", "rm", name, status=1)
    served = json.loads(run("imagetools", "inspect", "--raw", name))
    assert served["manifests"][1]["platform"]["os.features"] == ["a", "b"]
    assert digest in run("imagetools", "inspect", name)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("annotate", "{name}", "{host}/other:1", "--arch", "arm64"), "does not exist in"),
        (("annotate", "{name}", "{host}/app:arm64", "--arch", "z80"), "os/arch combination"),
        (("annotate", "{host}/no:1", "{host}/app:arm64"), "No such manifest"),
        (("push", "{host}/no:1"), "No such manifest"),
        (("inspect", "{host}/no:1"), "no such manifest"),
        (("inspect", "{name}", "{host}/no:1"), "No such manifest"),
        (("create", "{host}/x:1", "{host}/app:both"), "is a manifest list"),
        (("create", "{host}/x:1", "{host}/no:1"), "no such manifest"),
    ],
)
def test_mistakes_are_told(run: Run, host: str, words: tuple[str, ...], message: str) -> None:
    name = begun(run, host)
    run("imagetools", "create", "-t", f"{host}/app:both", f"{host}/app:arm64")
    filled = [word.format(name=name, host=host) for word in words]
    assert message in run("manifest", *filled, status=1)


def test_images_of_another_repository_come_along(run: Run, host: str) -> None:
    name = f"{host}/elsewhere/list:1"
    run("manifest", "create", name, f"{host}/app:amd64", f"{host}/app:arm64")
    lines = run("manifest", "push", name).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"Pushed ref {host}/elsewhere/list@sha256:") for line in lines[:2])


def test_imagetools_make_a_list_that_can_be_looked_at(run: Run, host: str, tmp_path: Path) -> None:
    name, source = f"{host}/made:1", tmp_path / "source"
    source.write_text(f"{host}/app:arm64\n")
    dry = run("imagetools", "create", "--dry-run", f"{host}/app:amd64")
    assert len(json.loads(dry)["manifests"]) == 1
    assert "no tags" in run("imagetools", "create", f"{host}/app:amd64", status=125)
    assert "no sources" in run("imagetools", "create", "-t", name, status=125)
    told = tmp_path / "metadata.json"
    run("imagetools", "create", "-t", name, "--metadata-file", str(told), f"{host}/app:amd64")
    assert json.loads(told.read_text())["image.name"] == name
    missing = ("--metadata-file", str(tmp_path / "missing/x"))
    assert "not there" in run("imagetools", "create", "-t", name, *missing, "x", status=1)
    notes = ("--annotation", "index:org.example=1")
    run("imagetools", "create", "-t", name, "--append", "-f", str(source), *notes)
    form = "{{.Name}} {{len .Manifest.Manifests}} {{.Manifest.MediaType}}"
    assert run("imagetools", "inspect", "--format", form, name) == (
        f"{name} 2 application/vnd.oci.image.index.v1+json\n"
    )
    images = json.loads(run("imagetools", "inspect", "--format", "{{json .Image}}", name))
    assert set(images) == {"linux/amd64", "linux/arm64"}
    system = '{{(index .Image "linux/arm64").OS}}'
    assert run("imagetools", "inspect", "--format", system, name) == "linux\n"
    plain = run("imagetools", "inspect", name)
    assert run("imagetools", "inspect", "--format", "{{ .Manifest }}", name) == plain
    whole = json.loads(run("imagetools", "inspect", "--format", "json", name))
    assert {"name", "manifest", "image", "provenance", "sbom"} == set(whole)
    cheap = json.loads(run("imagetools", "inspect", "--format", "{{json .}}", name))
    assert cheap == {key: whole[key] for key in ("name", "manifest", "image")}
    assert json.loads(run("imagetools", "inspect", "--raw", name))["annotations"] == {
        "org.example": "1"
    }


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ('{{json (index .Image "linux/arm64").RootFS.Type}}', '"layers"'),
        ("{{.Image.Architecture}} {{json .Image.Config}}", "<no value> null"),
        ("{{json .Provenance.SLSA}}{{json .SBOM}}", "null{}"),
        ("{{.Manifest.Annotations.nothing}}", "<no value>"),
    ],
)
def test_what_a_map_of_go_has_not_is_no_mistake(run: Run, host: str, form: str, shown: str) -> None:
    name, notes = f"{host}/made:1", ("--annotation", "index:a=1")
    both = (f"{host}/app:amd64", f"{host}/app:arm64")
    run("imagetools", "create", "-t", name, *notes, *both)
    assert run("imagetools", "inspect", "--format", form, name) == f"{shown}\n"


def test_an_image_alone_is_told_as_buildx_does(run: Run, host: str) -> None:
    name = f"{host}/app:amd64"
    raw = json.loads(run("imagetools", "inspect", "--raw", name))
    told = json.loads(run("imagetools", "inspect", "--format", "{{json .Manifest}}", name))
    assert set(told) == {"mediaType", "digest", "size"}
    assert told["mediaType"] == raw["mediaType"]
    kind = "{{.Image.Config.Labels.zz}} {{(index .Image.History 0).CreatedBy}}"
    assert "no field" in run("imagetools", "inspect", "--format", kind, name, status=1)
    wrong = run("imagetools", "inspect", "--format", "{{.Image.Nothing}}", name, status=1)
    assert "no field .Nothing" in wrong


@pytest.mark.parametrize(
    ("words", "listed"),
    [
        (("--prefer-index=false",), False),
        (("--prefer-index=0", "--prefer-index=true"), True),
        (("--no-prefer-index", "--prefer-index=T"), True),
        (("--prefer-index", "--prefer-index=false"), False),
        (("--append=false",), True),
    ],
)
def test_switches_take_a_value(run: Run, host: str, words: tuple[str, ...], listed: bool) -> None:
    shown = run("imagetools", "create", "--dry-run=true", *words, f"{host}/app:amd64")
    assert ("manifests" in json.loads(shown)) == listed
    wrong = ("imagetools", "create", "--prefer-index=perhaps", f"{host}/app:amd64")
    assert "neither true nor false" in run(*wrong, status=125)


def test_lists_go_through_layouts(run: Run, host: str, tmp_path: Path) -> None:
    layout, list_ = f"oci-layout://{tmp_path}/layout", f"{host}/made:1"
    images = (f"{host}/app:amd64", f"{host}/app:arm64")
    run("imagetools", "create", "-t", list_, *images)
    run("imagetools", "create", "-t", f"{layout}:1", list_)
    raw = run("imagetools", "inspect", "--raw", list_)
    for tag in ("", ":1"):
        assert run("imagetools", "inspect", "--raw", f"{layout}{tag}") == raw
    entries = json.loads((tmp_path / "layout/index.json").read_text())["manifests"]
    assert [it["annotations"] for it in entries] == [{"org.opencontainers.image.ref.name": "1"}]
    other = f"oci-layout://{tmp_path}/other:2"
    run("imagetools", "create", "-t", other, f"{layout}:1")
    run("imagetools", "create", "-t", f"{host}/back/app:1", other)
    assert run("imagetools", "inspect", "--raw", f"{host}/back/app:1") == raw
    config = run("imagetools", "inspect", "--format", "{{json .Image}}", other)
    assert set(json.loads(config)) == {"linux/amd64", "linux/arm64"}
    run("imagetools", "create", "-t", f"{layout}:2", "--no-prefer-index", images[0])
    run("imagetools", "create", "-t", f"{layout}:2", "--append", images[1])
    assert len(json.loads(run("imagetools", "inspect", "--raw", f"{layout}:2"))["manifests"]) == 2


def test_images_of_layouts_in_a_list_by_hand(run: Run, host: str, tmp_path: Path) -> None:
    layout, name = f"oci-layout://{tmp_path}/layout", f"{host}/elsewhere/list:1"
    run("imagetools", "create", "-t", f"{layout}:1", "--no-prefer-index", f"{host}/app:arm64")
    run("manifest", "create", name, f"{layout}:1", f"{host}/app:amd64")
    run("manifest", "annotate", "--variant", "v8", name, f"{layout}:1")
    assert len(run("manifest", "push", "--insecure", name).splitlines()) == 3
    (arm64, _) = json.loads(run("imagetools", "inspect", "--raw", name))["manifests"]
    assert arm64["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8"}


def test_what_points_to_an_image_goes_through_layouts(run: Run, host: str, tmp_path: Path) -> None:
    name, layout = f"{host}/app:amd64", f"oci-layout://{tmp_path}/layout:1"
    subject = Reference.parse(name)

    async def attach() -> None:
        async with RegistryClient() as client:
            about = await client.resolve(subject)
            empty = await client.put_blob(subject, b"{}", "application/vnd.oci.empty.v1+json")
            note = Manifest.build(empty, [empty], subject=about, artifact_type="example/note")
            place = replace(subject, tag=None, digest=note.descriptor.digest)
            await client.put_manifest(place, note.raw, note.media_type)

    async def notes(place: str) -> list[str]:
        async with RegistryClient() as client:
            there = Reference.parse(place)
            found = await client.referrers(there, (await client.resolve(there)).digest)
            return [it.artifact_type for it in found]

    asyncio.run(attach())
    run("imagetools", "create", "-t", layout, "--no-prefer-index", name)
    run("imagetools", "create", "-t", f"{host}/back:1", "--no-prefer-index", layout)
    assert asyncio.run(notes(f"{host}/back:1")) == ["example/note"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("oci-layout://{folder}/missing:1", "no OCI layout is there"),
        ("oci-layout://{folder}/layout:2", "its tags are 1"),
        ("oci-layout://", "no directory is named"),
        ("oci-layout://{folder}/layout:-", "invalid tag"),
        ("oci-layout://{folder}/layout@sha256:00", "digest"),
        ("oci-layout://{folder}/damaged:1", "is another one"),
    ],
)
def test_layouts_that_cannot_be_read(
    run: Run, host: str, tmp_path: Path, place: str, message: str
) -> None:
    for name in ("layout", "damaged"):
        at = ("-t", f"oci-layout://{tmp_path}/{name}:1", "--no-prefer-index")
        run("imagetools", "create", *at, f"{host}/app:amd64")
    for blob in (tmp_path / "damaged/blobs/sha256").iterdir():
        blob.write_bytes(blob.read_bytes()[::-1])
    assert message in run("imagetools", "inspect", place.format(folder=tmp_path), status=1)


@pytest.mark.peer
def test_skopeo_reads_a_layout_that_was_made_of_a_list(run: Run, host: str, tmp_path: Path) -> None:
    require_program("skopeo")
    run("imagetools", "create", "-t", f"oci-layout://{tmp_path}/l:1", f"{host}/app:amd64")
    done = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci:{tmp_path}/l:1"], capture_output=True, check=True
    )
    assert len(json.loads(done.stdout)["manifests"]) == 1


@pytest.mark.peer
def test_docker_says_the_same(run: Run, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = require_program("docker")
    version = subprocess.run([docker, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.split()[2].split(".")[0]) < 24:
        pytest.skip("needs docker 24: earlier ones know no OCI manifests here")
    monkeypatch.setenv("DOCKER_CLI_EXPERIMENTAL", "enabled")

    def both(*words: str) -> None:
        done = subprocess.run(
            [docker, "manifest", *words], capture_output=True, text=True, check=True
        )
        assert run("manifest", *words) == done.stdout

    name, one, two = (f"{host}/app:{tag}" for tag in ("list", "amd64", "arm64"))
    both("create", "--insecure", name, one, two)
    both("annotate", name, two, "--variant", "v8", "--os-version", "6")
    for words in ((name,), ("-v", name), (name, two), ("-v", name, two)):
        both("inspect", *words)
    for words in ((one,), ("-v", one)):
        both("inspect", "--insecure", *words)
    run("manifest", "push", "--purge", name)
    subprocess.run([docker, "manifest", "rm", name], check=True)
    both("inspect", "--insecure", name)
    both("inspect", "--insecure", "-v", name)


@pytest.mark.peer
def test_skopeo_copies_all_of_a_list_from_here_to_there(
    run: Run, host: str, tmp_path: Path
) -> None:
    skopeo = require_program("skopeo")
    name = begun(run, host)
    digest = run("manifest", "push", name).strip()
    layout = tmp_path / "layout"
    words = [skopeo, "copy", "--all", "--preserve-digests", "--src-tls-verify=false"]
    subprocess.run([*words, f"docker://{name}", f"oci:{layout}:x"], check=True)
    index = json.loads((layout / "index.json").read_text())
    assert index["manifests"][0]["digest"] == digest
