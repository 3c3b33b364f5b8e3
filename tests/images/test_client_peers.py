"""The client and the archives against the programs that people have."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import pytest

from images.archive import LoadedImage, RootfsImport, import_rootfs, load, save
from images.client.errors import ManifestUnknownError, UnauthorizedError
from images.credentials import Credentials, CredentialStore
from images.digest import Digest
from images.manifest import Manifest
from images.mediatype import OCI_EMPTY, OCI_MANIFEST
from images.platform import Platform
from images.reference import Reference
from images.store import ImageStore
from tests.conftest import require_program
from tests.images.clientkit import ARM64, client, index_of, sample
from tests.ports import free_port

pytestmark = pytest.mark.peer

REF = Reference.parse("team/app:1")


@contextmanager
def distribution(folder: Path, *, user: str | None = None) -> Iterator[str]:
    """A docker-registry on a free loopback port; with ``user``, behind a password."""
    program = require_program("docker-registry")
    host = f"127.0.0.1:{free_port()}"
    folder.mkdir(exist_ok=True)
    config = f"version: 0.1\nhttp: {{addr: '{host}'}}\n"
    config += f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\nlog: {{level: error}}\n"
    if user is not None:
        line = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(4)).decode()
        (folder / "htpasswd").write_text(f"{user}:{line}\n")
        config += f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
    (folder / "config.yml").write_text(config)
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [program, "serve", str(folder / "config.yml")], stdout=log, stderr=subprocess.STDOUT
    )
    try:
        _await(host)
        yield host
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        log.close()


def _await(host: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{host}/v2/", timeout=5):
                return
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the registry did not start")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    opened = ImageStore.open(tmp_path / "store")
    yield opened
    opened.close()


def rootfs() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("etc", "bin"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        for name, size in (("etc/motd", 12), ("bin/noise", 900_000)):
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(os.urandom(size)))
    return buffer.getvalue()


def small_image(store: ImageStore) -> LoadedImage:
    request = RootfsImport(
        REF, config={"Cmd": ["/bin/noise"], "Env": ["A=b"]}, created="2024-01-01T00:00:00Z"
    )
    return import_rootfs(io.BytesIO(rootfs()), store, request)


def saved(store: ImageStore, path: Path, image: LoadedImage, *references: Reference) -> Path:
    with path.open("wb") as file:
        save([(image.descriptor, references)], store, file.write)
    return path


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def skopeo(*arguments: str) -> str:
    return run(require_program("skopeo"), "--insecure-policy", *arguments)


# -- distribution


async def test_push_and_pull_through_distribution(store: ImageStore, tmp_path: Path) -> None:
    image = small_image(store)
    other = ImageStore.open(tmp_path / "other")
    with distribution(tmp_path / "registry") as host:
        target = Reference.parse(f"{host}/team/app:1")
        async with client() as it:
            pushed = await it.push(target, store, image.descriptor)
            assert pushed == image.descriptor
            assert await it.pull(target, other) == pushed
            assert await it.tags(target) == ["1"]
            copy = Reference.parse(f"{host}/team/copy:1")
            store.tag(target, image.descriptor)
            await it.push(copy, store, image.descriptor)  # by mounting
            with pytest.raises(ManifestUnknownError):
                await it.resolve(target.with_tag("2"))
        seen = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{target}"))
        assert seen["Digest"] == str(pushed.digest)
        assert seen["Env"] == ["A=b"]
    assert other.check() == []
    other.close()


async def test_chunked_upload_to_distribution(store: ImageStore, tmp_path: Path) -> None:
    image = small_image(store)
    with distribution(tmp_path / "registry") as host:
        target = Reference.parse(f"{host}/team/app:1")
        async with client(chunk_size=200_000) as it:
            await it.push(target, store, image.descriptor)
            layer = Manifest.parse(store.blobs.read(image.descriptor.digest)).layers[0]
            assert len(await it.read_blob(target, layer)) == layer.size > 200_000


async def test_distribution_behind_a_password(store: ImageStore, tmp_path: Path) -> None:
    image = small_image(store)
    keyring = CredentialStore(tmp_path / "docker" / "config.json")
    with distribution(tmp_path / "registry", user="alice") as host:
        target = Reference.parse(f"{host}/team/app:1")
        async with client() as it:
            with pytest.raises(UnauthorizedError) as caught:
                await it.push(target, store, image.descriptor)
            assert caught.value.fix == f"lading login {host}"
            with pytest.raises(UnauthorizedError):
                await it.login(host, Credentials("alice", "wrong"))
            keyring.store(host, await it.login(host, Credentials("alice", "s3cret")))
        async with client(credentials=keyring) as it:  # type: ignore[arg-type]
            await it.push(target, store, image.descriptor)
        # What we stored is what other programs read.
        seen = skopeo(
            "inspect", "--raw", "--tls-verify=false", "--authfile", str(keyring.path),
            f"docker://{target}",
        )  # fmt: skip
        assert Digest.of(seen.encode()) == image.descriptor.digest


async def test_signatures_on_a_registry_without_the_referrers_api(
    store: ImageStore, tmp_path: Path
) -> None:
    image = small_image(store)
    with distribution(tmp_path / "registry") as host:
        target = Reference.parse(f"{host}/team/app:1")
        async with client() as it:
            await it.push(target, store, image.descriptor)
            config = await it.put_blob(target, b"{}", OCI_EMPTY)
            artifact = Manifest.build(
                config, [config], subject=image.descriptor, artifact_type="application/x.test"
            )
            pinned = Reference(host, "team/app", digest=artifact.digest)
            await it.put_manifest(pinned, artifact.raw, OCI_MANIFEST)
            found = await it.referrers(target, image.descriptor.digest)
            assert [item.digest for item in found] == [artifact.digest]


async def test_an_index_through_distribution(store: ImageStore, tmp_path: Path) -> None:
    amd, arm = sample(), sample(platform=ARM64)
    index = index_of(amd, arm)
    for data in (*amd.blobs, *arm.blobs, amd.manifest.raw, arm.manifest.raw, index.raw):
        store.blobs.put(data)
    other = ImageStore.open(tmp_path / "other")
    with distribution(tmp_path / "registry") as host:
        target = Reference.parse(f"{host}/team/app:1")
        async with client() as it:
            await it.push(target, store, index.descriptor)
            found = await it.pull(target, other, platform=Platform.parse("linux/arm64"))
        raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{target}")
    assert found == index.descriptor
    assert raw.encode() == index.raw
    assert not other.blobs.has(amd.descriptor.digest)
    other.close()


# -- archives


def test_skopeo_reads_our_archive_both_ways(store: ImageStore, tmp_path: Path) -> None:
    image = small_image(store)
    path = saved(store, tmp_path / "image.tar", image, REF)
    docker = json.loads(skopeo("inspect", f"docker-archive:{path}:docker.io/team/app:1"))
    oci = json.loads(skopeo("inspect", f"oci-archive:{path}:1"))
    assert docker["Env"] == oci["Env"] == ["A=b"]
    assert oci["Digest"] == str(image.descriptor.digest)
    config = json.loads(skopeo("inspect", "--config", f"docker-archive:{path}"))
    assert config["rootfs"]["diff_ids"] == [
        str(d) for d in store.image(image.descriptor).config.diff_ids
    ]


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_we_load_what_skopeo_writes(transport: str, store: ImageStore, tmp_path: Path) -> None:
    image = small_image(store)
    ours = saved(store, tmp_path / "ours.tar", image, REF)
    theirs = tmp_path / "theirs.tar"
    skopeo("copy", f"oci-archive:{ours}:1", f"{transport}:{theirs}:docker.io/team/other:2")
    other = ImageStore.open(tmp_path / "other")
    with theirs.open("rb") as file:
        (loaded,) = load(file, other)
    assert loaded.image_id is not None
    diff_ids = store.image(image.descriptor).config.diff_ids
    assert other.image(loaded.descriptor).config.diff_ids == diff_ids
    assert other.resolve(Reference.parse("team/other:2")) == loaded.descriptor
    assert other.check() == []
    other.close()


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for sockets and for podman's run root."""
    with tempfile.TemporaryDirectory(prefix="lp") as folder:
        yield Path(folder)


def same_image(path: Path, root: Path, store: ImageStore, image: LoadedImage) -> bool:
    """Whether loading ``path`` gives the layers of ``image``, and its name."""
    other = ImageStore.open(root)
    with path.open("rb") as file:
        (loaded,) = load(file, other)
    found = other.image(loaded.descriptor)
    named = other.resolve(REF) == loaded.descriptor
    problems = other.check()
    other.close()
    same = found.config.diff_ids == store.image(image.descriptor).config.diff_ids
    return same and named and problems == []


@pytest.mark.root
def test_podman_loads_our_archive_and_we_load_its(
    store: ImageStore, tmp_path: Path, short: Path
) -> None:
    podman = [
        require_program("podman"), "--root", f"{short}/root", "--runroot", f"{short}/run",
        "--storage-driver", "vfs",
    ]  # fmt: skip
    image = small_image(store)
    ours = saved(store, tmp_path / "ours.tar", image, REF)
    try:
        assert "team/app:1" in run(*podman, "load", "-i", str(ours))
        (seen,) = json.loads(run(*podman, "image", "inspect", "docker.io/team/app:1"))
        assert image.image_id is not None
        assert seen["Id"] == image.image_id.hex
        for kind in ("docker-archive", "oci-archive"):
            theirs = tmp_path / f"{kind}.tar"
            run(*podman, "save", "--format", kind, "-o", str(theirs), "docker.io/team/app:1")
            assert same_image(theirs, tmp_path / kind, store, image)
    finally:
        run(*podman, "rmi", "--all", "--force")


@contextmanager
def engine(folder: Path) -> Iterator[list[str]]:
    """A dockerd that can load and save, with nothing of the machine's network touched."""
    program, docker = require_program("dockerd"), require_program("docker")
    socket_path = f"unix://{folder}/docker.sock"
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [
            program, "--host", socket_path, "--data-root", f"{folder}/data",
            "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid",
            "--storage-driver", "vfs", "--bridge", "none", "--iptables=false",
            "--config-file", f"{folder}/daemon.json",
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    command = [docker, "--host", socket_path]
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if (
                subprocess.run([*command, "version"], capture_output=True, check=False).returncode
                == 0
            ):
                break
            time.sleep(0.1)
        yield command
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        log.close()


@pytest.mark.root
@pytest.mark.slow
def test_docker_loads_our_archive_and_we_load_its(
    store: ImageStore, tmp_path: Path, short: Path
) -> None:
    image = small_image(store)
    ours = saved(store, tmp_path / "ours.tar", image, REF)
    (short / "daemon.json").write_text("{}")
    with engine(short) as docker:
        assert "Loaded image: team/app:1" in run(*docker, "load", "-i", str(ours))
        identity = run(*docker, "image", "inspect", "--format", "{{.Id}}", "team/app:1").strip()
        assert identity == str(image.image_id)
        theirs = tmp_path / "theirs.tar"
        run(*docker, "save", "-o", str(theirs), "team/app:1")
    assert same_image(theirs, tmp_path / "theirs", store, image)
