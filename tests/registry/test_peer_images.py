"""What real clients make of unusual images: lists, zstd layers, huge manifests, mounts.

sha512 has no peer here: the distribution's skopeo and podman compute sha256 alone.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from images.mediatype import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST
from registry.config import RegistryConfig
from tests.conftest import require_program
from tests.registry.crashmodel import exchange
from tests.registry.kit import descriptor, digest_of
from tests.registry.running import Running
from tests.registry.test_peers import dockerd, run

pytestmark = pytest.mark.peer


class Layout:
    """An OCI image layout that is written by hand; ``names`` are the tags in its index."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.entries: list[dict[str, Any]] = []
        (root / "blobs" / "sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def put(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        described = descriptor(data, media_type, **more)
        (self.root / "blobs" / "sha256" / described["digest"][7:]).write_bytes(data)
        return described

    def name(self, described: dict[str, Any], tag: str) -> str:
        annotations = {"org.opencontainers.image.ref.name": tag}
        self.entries.append({**described, "annotations": annotations})
        index = {"schemaVersion": 2, "manifests": self.entries}
        (self.root / "index.json").write_text(json.dumps(index))
        return f"oci:{self.root}:{tag}"

    def image(
        self, seed: int, *, zstd: bool = False, size: int = 100_000, **more: Any
    ) -> dict[str, Any]:
        """A manifest of one layer of random bytes."""
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            entry = tarfile.TarInfo(f"file{seed}")
            entry.size = size
            archive.addfile(entry, io.BytesIO(random.Random(seed).randbytes(size)))
        plain = tar.getvalue()
        packed = zstandard.compress(plain) if zstd else gzip.compress(plain, 1, mtime=0)
        layer = self.put(packed, OCI_LAYER_ZSTD if zstd else OCI_LAYER_GZIP)
        architecture = more.pop("architecture", "amd64")
        diff_ids = [f"sha256:{hashlib.sha256(plain).hexdigest()}"]
        config = {"architecture": architecture, "os": "linux", "config": {"Cmd": ["/x"]}}
        config["rootfs"] = {"type": "layers", "diff_ids": diff_ids}
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.put(json.dumps(config).encode(), OCI_CONFIG),
            "layers": [layer],
            **more,
        }
        platform = {"architecture": architecture, "os": "linux"}
        return self.put(json.dumps(document).encode(), OCI_MANIFEST, platform=platform)

    def index(self, *children: dict[str, Any]) -> dict[str, Any]:
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}
        return self.put(json.dumps(document).encode(), OCI_INDEX)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    with Running(RegistryConfig(root=tmp_path / "registry", port=0)) as bound:
        yield bound.port


@pytest.fixture
def place(tmp_path: Path) -> Iterator[list[str | Path]]:
    """Flags that give podman or buildah a store of their own."""
    run_root = tempfile.mkdtemp(prefix="podman-")  # podman refuses more than 50 characters
    yield ["--root", tmp_path / "storage", "--runroot", run_root, "--storage-driver", "vfs"]
    shutil.rmtree(run_root, ignore_errors=True)


def copy(source: str, target: str, *more: str) -> None:
    plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    run(require_program("skopeo"), "copy", "-q", *plain, *more, source, target)


def digest_at(port: int, name: str, tag: str) -> str:
    status, headers, raw = exchange(port, "GET", f"/v2/{name}/manifests/{tag}")
    assert status == 200
    assert headers["Docker-Content-Digest"] == digest_of(raw)
    return digest_of(raw)


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_lists_of_platforms(layout: Layout, port: int, tmp_path: Path, form: str) -> None:
    """As an OCI index, and converted to Docker's manifest list; both come back whole."""
    children = [layout.image(n, architecture=a) for n, a in enumerate(["amd64", "arm64"])]
    source = layout.name(layout.index(*children), "multi")
    there = f"docker://localhost:{port}/multi:1"
    copy(source, there, "--all", "--format", form)
    copy(there, f"docker://localhost:{port}/elsewhere:2", "--all")
    assert digest_at(port, "multi", "1") == digest_at(port, "elsewhere", "2")
    copy(there, f"dir:{tmp_path}/out", "--all")
    assert len(list((tmp_path / "out").glob("*.manifest.json"))) == 2
    raw = exchange(port, "GET", "/v2/multi/manifests/1")[2]
    kind = "docker.distribution.manifest.list" if form == "v2s2" else "oci.image.index"
    assert kind in json.loads(raw)["mediaType"]


def test_zstd_layers(layout: Layout, port: int, place: list[str | Path]) -> None:
    podman = [require_program("podman"), *place]
    source = layout.name(layout.image(1, zstd=True), "z")
    copy(source, f"docker://localhost:{port}/zstd:1")
    run(*podman, "pull", "-q", "--tls-verify=false", f"localhost:{port}/zstd:1")
    push = ["push", "-q", "--tls-verify=false", "--compression-format", "zstd", "--format", "oci"]
    run(*podman, *push, f"localhost:{port}/zstd:1", f"localhost:{port}/again:1")
    raw = json.loads(exchange(port, "GET", "/v2/again/manifests/1")[2])
    assert [layer["mediaType"] for layer in raw["layers"]] == [OCI_LAYER_ZSTD]


def test_a_huge_manifest(layout: Layout, port: int, tmp_path: Path) -> None:
    """3.9 MB of annotations: under the specification's limit, and under ours."""
    annotations = {f"key{n}": "v" * 1000 for n in range(3840)}
    source = layout.name(layout.image(2, annotations=annotations), "huge")
    copy(source, f"docker://localhost:{port}/huge:1")
    copy(f"docker://localhost:{port}/huge:1", f"dir:{tmp_path}/out")
    assert (tmp_path / "out" / "manifest.json").stat().st_size > 3_850_000


def test_buildah_builds_pushes_and_pulls(
    port: int, tmp_path: Path, place: list[str | Path]
) -> None:
    buildah = [require_program("buildah"), *place]
    (tmp_path / "file").write_bytes(os.urandom(50_000))
    container = run(*buildah, "from", "scratch").strip()
    run(*buildah, "copy", container, tmp_path / "file", "/file")
    image = run(*buildah, "commit", "-q", container).strip()
    name = f"docker://localhost:{port}/from/buildah:1"
    run(*buildah, "push", "-q", "--tls-verify=false", image, name)
    run(*buildah, "rmi", "--all", "--force")
    assert run(*buildah, "pull", "-q", "--tls-verify=false", name).strip()
    digest_at(port, "from/buildah", "1")


@pytest.mark.root
@pytest.mark.slow
def test_docker_mounts_and_pulls_a_list(layout: Layout, port: int, tmp_path: Path) -> None:
    """The engine mounts layers across repositories, and picks its platform from a list."""
    docker = require_program("docker")
    children = [layout.image(n, architecture=a) for n, a in enumerate(["amd64", "arm64"])]
    host = f"127.0.0.1:{port}"
    copy(layout.name(layout.index(*children), "multi"), f"docker://{host}/one:1", "--all")
    folder = tmp_path / "d"
    folder.mkdir()
    with dockerd(folder) as address:
        command = [docker, "-H", address]
        run(*command, "pull", f"{host}/one:1")
        run(*command, "tag", f"{host}/one:1", f"{host}/two/deep:1")
        done = subprocess.run(
            [*command, "push", f"{host}/two/deep:1"], capture_output=True, text=True, check=True
        )
        assert "Mounted from one" in done.stdout
        run(*command, "rmi", f"{host}/one:1", f"{host}/two/deep:1")
        run(*command, "pull", f"{host}/two/deep:1")
        digest = digest_at(port, "two/deep", "1")
        run(*command, "pull", f"{host}/two/deep@{digest}")
