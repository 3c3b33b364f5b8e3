"""Images for several platforms as a person makes them, with QEMU, real registries and peers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.e2e.conftest import Lading, Registry, write
from tests.engine.builds.test_emulation import registered
from tests.images.test_client_peers import distribution

pytestmark = pytest.mark.root

CACHE = Path(__file__).parents[2] / ".cache"

CROSS = """\
FROM --platform=$BUILDPLATFORM busybox AS compiler
RUN echo compiler > /compiler
FROM --platform=$BUILDPLATFORM busybox AS build
ARG BUILDPLATFORM TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT
COPY --from=compiler /compiler /
RUN echo "$BUILDPLATFORM $TARGETPLATFORM $TARGETOS $TARGETARCH $TARGETVARIANT" > /program
FROM scratch
COPY --from=build /program /
"""
NATIVE = """\
FROM {base}
RUN busybox uname -m > /machine
"""


def arm64_busybox() -> Path:
    """A root filesystem of Debian's busybox for arm64, made once and kept beside the project."""
    archive = CACHE / "busybox-arm64.tar"
    if not archive.exists():
        bootstrap = require_program("mmdebstrap")
        CACHE.mkdir(exist_ok=True)
        folder = CACHE / f"arm64.{os.getpid()}"
        command = [bootstrap, "--variant=extract", "--architectures=arm64", "--quiet"]
        command += ["--include=busybox-static", "bookworm", folder]
        command += filter(None, [os.environ.get("LADING_DEBIAN_MIRROR")])
        subprocess.run(command, check=True)
        (folder / "bin/sh").unlink(missing_ok=True)
        (folder / "bin/sh").symlink_to("busybox")
        partial = archive.with_suffix(f".{os.getpid()}.tar")
        subprocess.run(["tar", "-C", folder, "-cf", partial, "bin"], check=True)
        subprocess.run(["rm", "-r", folder], check=True)
        partial.rename(archive)
    return archive


@pytest.fixture(params=["ours", pytest.param("distribution", marks=pytest.mark.peer)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A registry: ours, and the reference implementation."""
    if request.param == "ours":
        registry: Registry = request.getfixturevalue("registry")
        yield registry.address
        return
    with distribution(tmp_path / "distribution") as address:
        yield address


def executed(shown: str, text: str) -> int:
    """How many steps that say ``text`` were done rather than found."""
    lines = [json.loads(line) for line in shown.splitlines() if line.startswith("{")]
    steps = {it["digest"]: it for line in lines for it in line.get("vertexes", ())}
    return sum(text in it["name"] and not it.get("cached") for it in steps.values())


def test_cross_compilation_and_back_from_a_registry(
    lading: Lading, address: str, tmp_path: Path
) -> None:
    context = write(tmp_path / "context", {"Dockerfile": CROSS})
    name = f"{address}/cross:1"
    words = ("--platform", "linux/amd64,linux/arm64", "--platform", "linux/arm/v6")
    shown = lading("build", "--progress=rawjson", *words, "-t", name, context).stderr
    assert executed(shown, "RUN echo compiler") == 1
    assert executed(shown, "RUN echo ") == 1 + 3
    lading("push", name)
    out = tmp_path / "out"
    lading("build", "-q", *words, "-o", f"type=local,dest={out}", context)
    programs = {it.name: (it / "program").read_text().split() for it in out.iterdir()}
    assert programs["linux_arm_v6"] == ["linux/amd64", "linux/arm/v6", "linux", "arm", "v6"]
    assert programs["linux_arm64"] == ["linux/amd64", "linux/arm64", "linux", "arm64"]
    raw = lading("imagetools", "inspect", "--raw", name).stdout
    shown_platforms = [
        "/".join(
            filter(None, (it["platform"].get(key) for key in ("os", "architecture", "variant")))
        )
        for it in json.loads(raw)["manifests"]
    ]
    assert shown_platforms == ["linux/amd64", "linux/arm64", "linux/arm/v6"]


@pytest.mark.peer
def test_peers_find_the_image_of_each_platform(
    lading: Lading, registry: Registry, tmp_path: Path
) -> None:
    context = write(tmp_path / "context", {"Dockerfile": CROSS})
    name = f"{registry.address}/cross:1"
    lading("build", "-q", "--platform", "linux/amd64,linux/arm64", "--push", "-t", name, context)
    skopeo, docker = require_program("skopeo"), require_program("docker")
    for architecture in ("amd64", "arm64"):
        words = [skopeo, "--override-arch", architecture, "inspect", "--tls-verify=false"]
        done = subprocess.run([*words, f"docker://{name}"], capture_output=True, check=True)
        assert json.loads(done.stdout)["Architecture"] == architecture
    environment = {**lading.environment, "DOCKER_CLI_EXPERIMENTAL": "enabled"}
    done = subprocess.run(
        [docker, "manifest", "inspect", "--insecure", name],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == lading("manifest", "inspect", name).stdout
    layout = tmp_path / "layout"
    words = [skopeo, "copy", "--all", "--src-tls-verify=false", f"docker://{name}"]
    subprocess.run([*words, f"oci:{layout}:x"], capture_output=True, check=True)
    copied = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    assert copied in lading("imagetools", "inspect", name).stdout


def test_a_foreign_run_without_an_emulator(lading: Lading, tmp_path: Path) -> None:
    text = "FROM busybox AS first\nRUN touch /x\nFROM --platform=linux/sparc64 busybox\nRUN true\n"
    context = write(tmp_path / "context", {"Dockerfile": text})
    told = lading("build", context, status=1).stderr
    assert "RUN on linux/sparc64 needs an emulator" in told
    assert ">>> RUN true" in told
    assert "FROM --platform=$BUILDPLATFORM" in told
    assert "DONE" not in told.partition("RUN touch")[2], "nothing was executed"


@pytest.mark.network
@pytest.mark.peer
def test_each_platform_runs_its_own_programs(
    lading: Lading, registry: Registry, tmp_path: Path
) -> None:
    lading("import", "--platform", "linux/arm64", arm64_busybox(), f"{registry.address}/base:arm64")
    lading("tag", "busybox", f"{registry.address}/base:amd64")
    for tag in ("amd64", "arm64"):
        lading("push", f"{registry.address}/base:{tag}")
    base = f"{registry.address}/base:1"
    lading("imagetools", "create", "-t", base, f"{base[:-1]}amd64", f"{base[:-1]}arm64")
    context = write(tmp_path / "context", {"Dockerfile": NATIVE.format(base=base)})
    name = f"{registry.address}/native:1"
    with registered("OPF"):
        lading("build", "--platform", "linux/arm64,linux/amd64", "--push", "-t", name, context)
    out = tmp_path / "out"
    # All of it is on record, so no emulator is needed any more.
    words = ("-o", f"type=local,dest={out}")
    lading("build", "--platform", "linux/arm64,linux/amd64", *words, context)
    machines = {it.name: (it / "machine").read_text() for it in out.iterdir()}
    assert machines == {"linux_arm64": "aarch64\n", "linux_amd64": "x86_64\n"}


def test_a_base_that_was_pulled_for_one_platform_is_completed(
    lading: Lading, registry: Registry, tmp_path: Path
) -> None:
    context = write(tmp_path / "context", {"Dockerfile": CROSS})
    base = f"{registry.address}/cross:1"
    lading("build", "-q", "--platform", "linux/amd64,linux/arm64", "--push", "-t", base, context)
    other = Lading(tmp_path / "other")
    other("pull", "-q", base)
    form = ("images", "--format", "{{.Digest}}", base.rpartition(":")[0])
    before = other(*form).stdout
    text = f"FROM {base}\nLABEL a=b\n"
    again = write(tmp_path / "again", {"Dockerfile": text})
    other("build", "-q", "--platform", "linux/amd64,linux/arm64", "-t", "both", again)
    assert other(*form).stdout == before != ""
    assert other("inspect", "--platform", "linux/arm64", "both").stdout
    assert (
        "linux/riscv64" in other("inspect", "--platform", "linux/riscv64", "both", status=1).stderr
    )


def test_statements_in_a_list_are_shown_and_copied(
    lading: Lading, registry: Registry, tmp_path: Path
) -> None:
    context = write(tmp_path / "context", {"Dockerfile": CROSS})
    name, copy = f"{registry.address}/stated:1", f"{registry.address}/copies/stated:1"
    words = ("--platform", "linux/amd64,linux/arm64", "--provenance=true", "--attest-as", "index")
    lading("build", "-q", *words, "--push", "-t", name, context)
    lading("imagetools", "create", "-t", copy, name)
    for place in (name, copy):
        form = "{{json .Provenance}}"
        stated = json.loads(lading("imagetools", "inspect", "--format", form, place).stdout)
        assert {key: list(value) for key, value in stated.items()} == {
            "linux/amd64": ["SLSA"],
            "linux/arm64": ["SLSA"],
        }
    only = ("--platform", "linux/arm64")
    lading("imagetools", "create", "-t", copy, *only, name)
    shown = json.loads(lading("imagetools", "inspect", "--raw", copy).stdout)
    assert [it["platform"]["architecture"] for it in shown["manifests"]] == ["arm64", "unknown"]
    single = lading("imagetools", "inspect", "--format", "{{json .Provenance.SLSA}}", copy).stdout
    assert "linux/arm64" in single
