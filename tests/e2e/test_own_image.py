"""deploy/Dockerfile: lading builds itself, runs as a registry, serves as a pod would have it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from tests.conftest import require_program
from tests.deploy.manifests import one, pod
from tests.e2e.conftest import Lading, leftover_mounts
from tests.e2e.real_world import BASE, PROJECT, World, accepts, debian_archive
from tests.ports import free_port

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.peer, pytest.mark.soak]

IMAGE = "lading"
UID = 10001


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A store with Debian and our image in it."""
    folder = tmp_path_factory.mktemp("own")
    lading = Lading(folder)
    lading("import", "-c", 'CMD ["bash"]', debian_archive(), BASE)
    made = World(lading)
    made.build(IMAGE, "-f", PROJECT / "deploy" / "Dockerfile", context=sources(folder / "src"))
    yield made
    lading("system", "shutdown")
    assert not leftover_mounts(folder)
    shutil.rmtree(folder, ignore_errors=True)


def sources(folder: Path) -> Path:
    """A copy of what the image is made of: somebody may be writing to the tree while it builds."""
    ignore = (PROJECT / "deploy" / "Dockerfile.dockerignore").read_text()
    for name in (line[1:] for line in ignore.splitlines() if line.startswith("!")):
        source, target = PROJECT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return folder


def skopeo(*argv: str) -> str:
    """What skopeo says; it has to succeed."""
    command = [require_program("skopeo"), *argv]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def ready(port: int) -> bool:
    """Whether the metrics port says so."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
        return bool(answer.status == 200)


def test_it_serves_what_skopeo_pushes(world: World, tmp_path: Path) -> None:
    archive, port = tmp_path / "image.tar", free_port()
    world.lading("save", "-o", archive, IMAGE)
    with world.started("-p", f"127.0.0.1:{port}:5000", IMAGE) as running:
        running.until(lambda: accepts(port))
        target = f"docker://127.0.0.1:{port}/team/lading:1"
        skopeo("copy", "--dest-tls-verify=false", f"docker-archive:{archive}", target)
        found = json.loads(skopeo("inspect", "--tls-verify=false", target))
        assert found["Labels"]["org.opencontainers.image.title"] == "lading"
        assert running.stop() == 0


def test_it_is_nobody_in_particular(world: World) -> None:
    script = "id -u; id -g; stat -c '%u %a' /var/lib/lading-registry; command -v pip gcc || true"
    assert world.shell(IMAGE, script).split("\n") == [f"{UID}", f"{UID}", f"{UID} 750", ""]


def test_its_configuration_says_how_to_run_it(world: World) -> None:
    config = json.loads(world.lading("inspect", IMAGE).stdout)[0]["Config"]
    assert config["User"] == f"{UID}:{UID}"
    assert config["StopSignal"] == "SIGTERM"
    assert set(config["ExposedPorts"]) == {"5000/tcp", "9464/tcp"}
    assert set(config["Volumes"]) == {"/var/lib/lading-registry"}


def test_its_health_check_tells_life_from_death(world: World) -> None:
    check = json.loads(world.lading("inspect", IMAGE).stdout)[0]["Config"]["Healthcheck"]["Test"]
    assert check[0] == "CMD"
    script = """
    "$@" 2>/dev/null && echo healthy too early
    lading registry serve --config /etc/lading/registry.toml >/dev/null 2>&1 &
    for try in $(seq 100); do "$@" 2>/dev/null && echo healthy && break; sleep 0.1; done
    lading registry check --storage "$LADING_REGISTRY_ROOT" >/dev/null && echo sound
    kill -TERM $! && wait $!
    """
    argv = ("--entrypoint", "sh", IMAGE, "-c", script, "sh", *check[1:])
    assert world.lading("run", "--rm", *argv).stdout.split() == ["healthy", "sound"]


def as_a_pod(folder: Path) -> list[str]:
    """The flags that make a container of what the StatefulSet asks for; ada may log in."""
    (container,) = pod()["containers"]
    sources = {name: folder / name for name in ("config", "secrets", "store")}
    for source in sources.values():
        source.mkdir()
    (sources["config"] / "registry.toml").write_text(one("ConfigMap")["data"]["registry.toml"])
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (sources["secrets"] / "users").write_text(f"ada:{hashed}\n")
    os.chown(sources["store"], 0, pod()["securityContext"]["fsGroup"])
    sources["store"].chmod(0o2775)
    flags = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    flags += ["--user", "{runAsUser}:{runAsGroup}".format(**pod()["securityContext"])]
    for mount in container["volumeMounts"]:
        if mount["name"] == "tmp":
            flags += ["--tmpfs", mount["mountPath"]]
        else:
            end = ":ro" if mount.get("readOnly") else ""
            flags += ["-v", f"{sources[mount['name']]}:{mount['mountPath']}{end}"]
    return flags


def test_it_needs_no_more_than_its_pod_has(world: World, tmp_path: Path) -> None:
    (container,) = pod()["containers"]
    port, metrics = free_port(), free_port()
    ports = ["-p", f"127.0.0.1:{port}:5000", "-p", f"127.0.0.1:{metrics}:9464"]
    argv = [*as_a_pod(tmp_path), *ports, IMAGE, *container["args"]]
    with world.started(*argv) as running:
        running.until(lambda: ready(metrics))
        archive = tmp_path / "image.tar"
        world.lading("save", "-o", archive, IMAGE)
        target = f"docker://127.0.0.1:{port}/team/lading:1"
        skopeo(
            *("copy", "--dest-tls-verify=false", "--dest-creds=ada:secret"),
            *(f"docker-archive:{archive}", target),
        )
        with pytest.raises(subprocess.CalledProcessError):
            skopeo("inspect", "--tls-verify=false", "--no-creds", target)
        assert running.stop() == 0
    assert (tmp_path / "store" / "index.db").stat().st_uid == UID
