"""Real clients, unchanged, over plain HTTP and TLS: skopeo, podman, buildah and dockerd."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import bcrypt
import pytest

from images.mediatype import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from registry.config import AccessSettings, RegistryConfig
from registry.settings import TlsSettings
from tests.conftest import require_program
from tests.registry.crashmodel import exchange as call
from tests.registry.kit import descriptor
from tests.registry.running import Running, certificate

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI image layout with the tag ``t``: one layer of 3 MB that does not compress."""
    root = tmp_path_factory.mktemp("layout")
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        entry = tarfile.TarInfo("hello")
        entry.size = 3_000_000
        archive.addfile(entry, io.BytesIO(os.urandom(entry.size)))
    layer = gzip.compress(tar.getvalue(), 1, mtime=0)
    diff_id = "sha256:" + hashlib.sha256(tar.getvalue()).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(config, OCI_CONFIG),
            "layers": [descriptor(layer, OCI_LAYER_GZIP)],
        }
    ).encode()
    blobs = root / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for data in (layer, config, manifest):
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
    name = {"org.opencontainers.image.ref.name": "t"}
    entries = [descriptor(manifest, OCI_MANIFEST, annotations=name)]
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return root


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def docker_carries(archive: Path, name: str, tmp_path: Path) -> None:
    """Docker loads an image that is called ``name``, pushes it, forgets it and pulls it."""
    docker, folder = require_program("docker"), tmp_path / "d"
    folder.mkdir()
    with dockerd(folder) as address:
        client = (docker, "-H", address)
        run(*client, "load", "-i", archive)
        run(*client, "push", name)
        run(*client, "rmi", name)
        run(*client, "pull", name)
        assert run(*client, "images", "-q").strip()


@pytest.fixture(params=["plain", "tls"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A registry's host:port, and the folder of CA certificates that its clients need."""
    trusted = tmp_path / "certs"
    trusted.mkdir()
    root = tmp_path / "registry"
    if request.param == "tls":
        cert, key = certificate(tmp_path)
        shutil.copy(cert, trusted / "ca.crt")
        config = RegistryConfig(root=root, port=0, tls=TlsSettings(cert, key))
    else:
        config = RegistryConfig(root=root, port=0)
    with Running(config) as bound:
        yield f"localhost:{bound.port}", trusted


def flags(trusted: Path, prefix: str = "") -> list[str]:
    """Verify by our certificate where there is one, else allow plain HTTP."""
    if any(trusted.iterdir()):
        return [f"--{prefix}cert-dir={trusted}"]
    return [f"--{prefix}tls-verify=false"]


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_skopeo_pushes_and_pulls(
    registry: tuple[str, Path], layout: Path, tmp_path: Path, form: str
) -> None:
    skopeo = require_program("skopeo")
    host, trusted = registry
    there = f"docker://{host}/deep/er/app:1"
    run(skopeo, "copy", "--format", form, *flags(trusted, "dest-"), f"oci:{layout}:t", there)
    details = json.loads(run(skopeo, "inspect", *flags(trusted), there))
    assert details["RepoTags"] == ["1"]
    run(skopeo, "copy", *flags(trusted, "src-"), there, f"dir:{tmp_path}/out")
    pulled = {path.name for path in (tmp_path / "out").iterdir()} - {"manifest.json", "version"}
    pushed = {path.name for path in (layout / "blobs" / "sha256").iterdir()}
    assert len(pulled) == 2
    assert pulled <= pushed
    assert (
        details["Digest"]
        == run(skopeo, "manifest-digest", tmp_path / "out" / "manifest.json").strip()
    )
    both = [*flags(trusted, "src-"), *flags(trusted, "dest-")]
    run(skopeo, "copy", *both, there, f"docker://{host}/copied:1")
    run(skopeo, "delete", *flags(trusted), there)
    listed = json.loads(run(skopeo, "list-tags", *flags(trusted), f"docker://{host}/copied"))
    assert listed["Tags"] == ["1"]


def test_podman_pushes_and_pulls(
    registry: tuple[str, Path],
    layout: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    program = require_program("podman")
    host, trusted = registry
    run_root = tempfile.mkdtemp(prefix="podman-")  # podman refuses more than 50 characters
    request.addfinalizer(partial(shutil.rmtree, run_root, ignore_errors=True))
    podman = [program, "--root", tmp_path / "storage", "--runroot", run_root]
    podman += ["--storage-driver", "vfs"]
    image = run(*podman, "pull", "-q", f"oci:{layout}:t").strip().splitlines()[-1]
    run(*podman, "push", *flags(trusted), image, f"{host}/from/podman:1")
    run(*podman, "rmi", "--all", "--force")
    run(*podman, "pull", *flags(trusted), f"{host}/from/podman:1")
    assert image in run(*podman, "images", "--no-trunc", "--format", "{{.ID}}")


def test_skopeo_logs_in(layout: Path, tmp_path: Path) -> None:
    skopeo = require_program("skopeo")
    users = tmp_path / "htpasswd"
    users.write_bytes(b"ada:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)) + b"\n")
    config = RegistryConfig(root=tmp_path / "registry", port=0, access=AccessSettings(users, True))
    with Running(config) as bound:
        there = f"docker://localhost:{bound.port}/app:1"
        plain = "--dest-tls-verify=false"
        source = f"oci:{layout}:t"
        with pytest.raises(AssertionError, match=r"authentication required|unauthorized"):
            run(skopeo, "copy", plain, source, there)
        run(skopeo, "copy", plain, "--dest-creds", "ada:secret", source, there)
        run(skopeo, "copy", "--src-tls-verify=false", there, f"dir:{tmp_path}/out")


@contextmanager
def dockerd(folder: Path) -> Iterator[str]:
    """A daemon of our own without network and images; yields its socket."""
    program = require_program("dockerd")
    (folder / "daemon.json").write_text("{}")
    # A socket's path has 107 bytes at most, containerd's too, and pytest's folders are long.
    place = Path(tempfile.mkdtemp(prefix="dockerd-"))
    address = f"unix://{place}/docker.sock"
    command = [program, "-H", address, "--data-root", folder / "data", "--exec-root"]
    command += [place / "exec", "-p", folder / "docker.pid", "--bridge=none", "--iptables=false"]
    command += ["--storage-driver=vfs", "--config-file", folder / "daemon.json"]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log)
    try:
        for _ in range(600):
            if (place / "docker.sock").exists():
                break
            assert daemon.poll() is None, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        yield address
    finally:
        daemon.terminate()
        daemon.wait(60)
        # dockerd binds its data onto itself and leaves that.
        subprocess.run(["umount", folder / "data"], capture_output=True, check=False)
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.root
@pytest.mark.slow
def test_docker_pushes_and_pulls(layout: Path, tmp_path: Path) -> None:
    skopeo = require_program("skopeo")
    archive = tmp_path / "image.tar"
    # The engine takes every address of 127.0.0.0/8 for an insecure registry.
    with Running(RegistryConfig(root=tmp_path / "registry", port=0)) as bound:
        name = f"127.0.0.1:{bound.port}/from/docker:1"
        run(skopeo, "copy", f"oci:{layout}:t", f"docker-archive:{archive}:{name}")
        docker_carries(archive, name, tmp_path)
        status, _, _ = call(bound.port, "GET", "/v2/from/docker/manifests/1")
        assert status == 200
