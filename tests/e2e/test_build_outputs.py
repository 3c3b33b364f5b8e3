"""What ``lading build`` writes, read by those it is for: skopeo, umoci, podman, docker, tar."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.peers import Docker, dockerd
from tests.conftest import require_program
from tests.e2e.conftest import LADING, Lading, Registry, write

pytestmark = pytest.mark.root

DOCKERFILE = """\
FROM busybox
RUN mkdir /kept /gone && echo 1 > /kept/one && echo 2 > /gone/two && ln /kept/one /kept/same
RUN rm -r /gone && mkdir /gone && echo 3 > /gone/three && chmod 4711 /kept/one
COPY f /kept/
LABEL a=b
CMD ["cat", "/kept/f"]
"""
EPOCH = ("--build-arg", "SOURCE_DATE_EPOCH=1700000000")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return write(tmp_path / "context", {"Dockerfile": DOCKERFILE, "f": "hello\n"})


def peer(*argv: str | Path) -> str:
    program = require_program(str(argv[0]))
    done = subprocess.run([program, *argv[1:]], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def metadata(lading: Lading, *argv: str | Path) -> dict:
    """What a build says of itself in its metadata file."""
    path = lading.folder / "metadata.json"
    lading("build", "--metadata-file", path, *EPOCH, *argv)
    return json.loads(path.read_text())


@pytest.mark.peer
def test_layouts_and_archives_are_read_by_skopeo(
    lading: Lading, context: Path, tmp_path: Path
) -> None:
    layout, archive, docker = tmp_path / "layout", tmp_path / "oci.tar", tmp_path / "docker.tar"
    told = metadata(
        lading,
        *("-t", "app:1", "-o", f"type=oci,dest={layout},tar=false"),
        *("-o", f"type=oci,dest={archive}", "-o", f"type=docker,dest={docker}", context),
    )
    assert told["image.name"] == "docker.io/library/app:1"
    for name in (f"oci:{layout}:1", f"oci-archive:{archive}:1"):
        seen = json.loads(peer("skopeo", "inspect", name))
        assert seen["Digest"] == told["containerimage.digest"]
        assert seen["Labels"] == {"a": "b"}
    assert json.loads(peer("skopeo", "inspect", f"docker-archive:{docker}"))["Labels"] == {"a": "b"}
    copied = tmp_path / "copied"
    for source in (f"oci:{layout}:1", f"oci-archive:{archive}:1", f"docker-archive:{docker}"):
        peer("skopeo", "--insecure-policy", "copy", source, f"dir:{copied}")


@pytest.mark.peer
@pytest.mark.parametrize("more", ["", ",compression=estargz,force-compression=true"])
def test_a_layout_is_unpacked_by_umoci(
    lading: Lading, context: Path, tmp_path: Path, more: str
) -> None:
    layout, bundle = tmp_path / "layout", tmp_path / "bundle"
    lading("build", "-t", "app:1", "-o", f"type=oci,dest={layout},tar=false{more}", context)
    peer("umoci", "unpack", "--image", f"{layout}:1", bundle)
    root = bundle / "rootfs"
    assert (root / "kept/f").read_text() == "hello\n"
    assert [path.name for path in (root / "gone").iterdir()] == ["three"]
    assert (root / "kept/one").stat().st_mode & 0o7777 == 0o4711
    # The step that changed its mode copied it up, and the other name stayed below.
    assert (root / "kept/same").read_text() == "1\n"
    spec = json.loads((bundle / "config.json").read_text())
    assert spec["process"]["args"] == ["cat", "/kept/f"]


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_archives_are_loaded_by_podman(
    lading: Lading, context: Path, tmp_path: Path, kind: str
) -> None:
    told = metadata(lading, "-t", "app:1", "-o", f"type={kind},dest={tmp_path}/i.tar", context)
    with tempfile.TemporaryDirectory(prefix="podman-") as short:
        # podman's own limit: its sockets are in there.
        folders = ("--root", f"{short}/root", "--runroot", f"{short}/run")
        podman = ("podman", *folders, "--storage-driver", "vfs")
        assert "docker.io/library/app:1" in peer(*podman, "load", "-i", tmp_path / "i.tar")
        (image,) = json.loads(peer(*podman, "image", "inspect", "app:1"))
        peer(*podman, "rmi", "--all", "--force")
    assert image["Labels"] == {"a": "b"}
    if kind == "oci":
        assert f"sha256:{image['Id']}" == told["containerimage.config.digest"]


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    require_program("dockerd")
    with dockerd() as daemon:
        yield daemon


@pytest.mark.peer
@pytest.mark.slow
def test_docker_loads_and_runs_it(
    lading: Lading, context: Path, tmp_path: Path, docker: Docker
) -> None:
    told = metadata(
        lading, "-t", "app:1", "--squash", "-o", f"type=docker,dest={tmp_path}/d.tar", context
    )
    client = (docker.client, "-H", f"unix://{docker.socket}")
    assert "app:1" in peer(*client, "load", "-i", tmp_path / "d.tar")
    (image,) = json.loads(peer(*client, "image", "inspect", "app:1"))
    assert image["Id"] == told["containerimage.config.digest"]
    assert len(image["RootFS"]["Layers"]) == 2
    assert peer(*client, "run", "--rm", "--network=none", "app:1") == "hello\n"
    tree = peer(*client, "run", "--rm", "--network=none", "app:1", "ls", "/gone", "/kept")
    assert tree.split() == ["/gone:", "three", "/kept:", "f", "one", "same"]


def tree_of(lading: Lading, *argv: str | Path) -> dict[str, tuple]:
    """The files of a build, by way of a tar on standard output."""
    done = subprocess.run(
        [LADING, "build", *EPOCH, "-o", "-", *argv],
        env=lading.environment,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    path = lading.folder / "tree.tar"
    path.write_bytes(done.stdout)
    with tarfile.open(path) as archive:
        return {
            m.name: (m.type, m.mode, m.uid, m.size, m.mtime, m.linkname)
            for m in archive.getmembers()
        }


def test_squashed_or_not_the_files_are_the_same(lading: Lading, context: Path) -> None:
    plain = tree_of(lading, context)
    assert tree_of(lading, "--squash", context) == plain
    assert plain["gone/three"][0] == tarfile.REGTYPE
    assert "gone/two" not in plain
    lading("build", *EPOCH, "--squash", "-t", "squashed", context)
    text = lading("build", *EPOCH, "--squash", "-t", "squashed", context).stderr
    assert "merging 3 layers\n#5 CACHED" in text.replace("#6", "#5")
    assert lading("run", "--rm", "squashed", "ls", "/gone").stdout == "three\n"
    history = lading("history", "-q", "squashed").stdout.splitlines()
    assert len(history) > 5, "what was merged is still told"


@pytest.mark.parametrize("form", ["zstd", "estargz", "uncompressed"])
def test_images_of_every_compression_run(lading: Lading, context: Path, form: str) -> None:
    output = f"type=image,compression={form},force-compression=true"
    lading("build", "-t", "app", "-o", output, context)
    assert lading("run", "--rm", "app").stdout == "hello\n"


def test_pushed_by_tag_and_by_digest(
    lading: Lading, registry: Registry, context: Path, tmp_path: Path
) -> None:
    name = f"{registry.address}/team/app"
    told = metadata(lading, "--push", "-t", f"{name}:1", "-t", f"{name}:2", context)
    assert told["image.name"] == f"{name}:1,{name}:2"
    assert f"{name}" not in lading("images").stdout, "what is pushed is not stored as well"
    lading("pull", f"{name}:2")
    assert lading("run", "--rm", f"{name}:2").stdout == "hello\n"

    output = f"type=image,name={name},push-by-digest=true,push=true,compression=zstd"
    by_digest = metadata(lading, "-o", output, context)
    assert by_digest["containerimage.digest"] != told["containerimage.digest"]
    assert by_digest["image.name"] == name
    lading("pull", f"{name}@{by_digest['containerimage.digest']}")


def test_the_files_that_programs_read(lading: Lading, context: Path, tmp_path: Path) -> None:
    iid = tmp_path / "iid"
    told = metadata(lading, "--iidfile", iid, "--load", "-t", "app", context)
    assert iid.read_text() == told["containerimage.config.digest"]
    assert told["containerimage.config.digest"] in lading("images", "--no-trunc").stdout
    quiet = lading("build", *EPOCH, "-q", "-o", tmp_path / "out", context)
    assert quiet.stdout.strip() == iid.read_text()
    assert (tmp_path / "out/kept/f").stat().st_uid == os.geteuid()


def test_reproducible_or_not(lading: Lading, tmp_path: Path) -> None:
    good = write(tmp_path / "good", {"Dockerfile": "FROM busybox\nRUN echo 1 > /a\n"})
    lading("build", *EPOCH, "--verify-reproducible", "-t", "good", good)
    bad = write(
        tmp_path / "bad",
        {"Dockerfile": "FROM busybox\nRUN echo 1 > /a\nRUN head -c 9 /dev/urandom > /etc/seed\n"},
    )
    done = lading("build", *EPOCH, "--verify-reproducible", "-t", "bad", bad, status=1)
    assert "layer 3 of 3: RUN /bin/sh -c head -c 9 /dev/urandom > /etc/seed" in done.stderr
    assert "/etc/seed: content differs from byte " in done.stderr
    assert "layer 2 of 3" not in done.stderr
    names = lading("images", "--format", "{{.Repository}}").stdout.split()
    assert "good" in names
    assert "bad" not in names


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("-o", "type=oic"), "unknown type oic (did you mean oci?)"),
        (("-o", "type=oci,dset=x"), "type=oci has no attribute dset (did you mean dest?)"),
        (("--push",), "there is no name to push to"),
        (("--annotation", "indx:a=b"), "unknown annotation level indx (did you mean index?)"),
        (("-o", "type=docker,dest=x", "--platform", "linux/amd64,linux/arm64"), "holds one image"),
        (("-o", "type=local,dest=/,mode=delete"), "mode=delete would empty the file system"),
    ],
)
def test_mistakes_are_sentences(
    lading: Lading, context: Path, argv: tuple[str, ...], text: str
) -> None:
    done = lading("build", *argv, context, status=None)
    assert done.returncode in (1, 125)
    assert text in done.stderr
    assert "bug" not in done.stderr
