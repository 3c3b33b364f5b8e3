"""Commands on a store whose blobs are in a bucket, and what a registry of files does not pay."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from registry.config import RegistryConfig
from registry.errors import RegistryStartError
from registry.service import open_storage
from tests.conftest import require_program
from tests.registry import kit
from tests.registry.s3.kit import Server, lading
from tests.registry.s3.test_service import layout
from tests.registry.service_kit import PROJECT, call, service
from tests.registry.test_peers import docker_carries, run


@pytest.mark.peer
def test_looking_after_a_store(used: Path, s3_server: Server) -> None:
    status, said = lading(s3_server, "check", "-c", used)
    assert (status, "every promise is kept" in said) == (0, True), said
    status, said = lading(s3_server, "scrub", "-c", used, "--format", "json")
    assert (status, json.loads(said)["blobs"]) == (0, 3), said
    status, said = lading(s3_server, "gc", "-c", used, "--lease", "0", "--format", "json")
    assert (status, json.loads(said)["files"]) == (0, 0), said


@pytest.mark.peer
def test_a_store_stays_where_its_blobs_are(used: Path, s3_server: Server, tmp_path: Path) -> None:
    text = used.read_text()
    for other in (text.replace('type = "s3"', ""), text.replace("prefix = ", 'prefix = "x" #')):
        used.write_text(other)
        status, said = lading(s3_server, "serve", "-c", used)
        assert status != 0
        assert "the blobs of this store are in" in said, said
        assert f"registry/{tmp_path.name}/" in said


@pytest.mark.peer
def test_a_store_of_files_is_not_taken_for_a_bucket(s3_server: Server, tmp_path: Path) -> None:
    with service(tmp_path, workers=1) as served:
        path = f"/v2/a/blobs/uploads/?digest={kit.digest_of(b'x')}"
        assert call(served.port, "POST", path, b"x")[0] == 201
    file = tmp_path / "registry.toml"
    file.write_text(file.read_text() + s3_server.settings("y/"))
    status, said = lading(s3_server, "serve", "-c", file)
    assert status != 0
    assert "the blobs of this store are in files" in said


def test_a_registry_of_files_imports_nothing_of_the_sdk(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from registry.config import RegistryConfig;"
        " from registry.service import open_registry;"
        f" open_registry(RegistryConfig(pathlib.Path({str(tmp_path)!r}))).close();"
        " sys.exit(any(name.startswith(('botocore', 'registry.s3.st', 'registry.s3.b'))"
        " for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)


def test_without_the_sdk_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("botocore", "registry.s3"))]:
        if name != "registry.s3.settings":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "botocore", None)
    from registry.s3.settings import StorageSettings, StorageType

    config = RegistryConfig(tmp_path, storage=StorageSettings(StorageType.S3, bucket="bucket"))
    with pytest.raises(RegistryStartError) as refused:
        open_storage(config)
    assert refused.value.fix == "pip install 'lading[s3]'"


@pytest.mark.peer
@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("redirect", ["false", "true"])
def test_docker_pushes_and_pulls(s3_server: Server, tmp_path: Path, redirect: str) -> None:
    skopeo = require_program("skopeo")
    archive = tmp_path / "image.tar"
    source = layout(tmp_path / "layout", [tarball()])
    config = s3_server.settings(f"{tmp_path.name}/", redirect=redirect)
    with service(tmp_path, config, environment=s3_server.environment) as served:
        name = f"127.0.0.1:{served.port}/from/docker:1"
        run(skopeo, "copy", f"oci:{source}:t", f"docker-archive:{archive}:{name}")
        docker_carries(archive, name, tmp_path)


def tarball() -> bytes:
    """A layer of more than one part."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        data = os.urandom(12 << 20)
        member = tarfile.TarInfo("random")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
