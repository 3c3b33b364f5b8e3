"""The peers the benchmarks run beside us, started by hand on state of their own."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.harness import Action, quietly

LADING = Path(sys.executable).with_name("lading")


@dataclass(frozen=True)
class Docker:
    """A dockerd of our own and the client that matches it (Debian's, with BuildKit built in)."""

    socket: Path
    client: str = "/usr/bin/docker"

    def command(self, *argv: str | Path) -> Action:
        """A callable that runs one docker command against this daemon, with BuildKit."""
        environment = {
            **os.environ,
            "DOCKER_BUILDKIT": "1",
            "DOCKER_CONFIG": str(self.socket.parent),
        }
        return quietly(self.client, "-H", f"unix://{self.socket}", *argv, env=environment)


@dataclass(frozen=True)
class Buildah:
    """Debian's buildah on storage of its own; chroot isolation, the one that starts fastest."""

    folder: Path

    def command(self, *argv: str | Path) -> Action:
        """A callable that runs one buildah command."""
        storage = ("--root", self.folder / "root", "--runroot", self.folder / "run")
        return quietly("buildah", *storage, "--storage-driver", "overlay", *argv)

    def base(self, archive: Path, name: str) -> None:
        """Make an image of a root file system archive."""
        (self.folder / "base").mkdir(parents=True)
        dockerfile = self.folder / "base" / "Dockerfile"
        dockerfile.write_text(f"FROM scratch\nADD {archive.name} /\n")
        self.command("bud", "-q", "-t", name, "-f", dockerfile, archive.parent)()

    def build(self, context: Path, *flags: str) -> Action:
        """A callable that builds a context, with a cache of layers as the others have."""
        return self.command(
            "bud", "-q", "--layers", "--isolation", "chroot", *flags, "-t", "bench/app", context
        )

    def remove(self) -> None:
        """Remove the storage, and unmount what buildah leaves mounted."""
        self.command("rmi", "--all", "--force")()
        subprocess.run(["umount", self.folder / "root/overlay"], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def set_aside(folder: Path) -> None:
    """Take a folder away for who measures an empty machine, to be removed later by its parent.

    ext4 looks at every inode that was freed within minutes before it makes a new one, so after a
    removal each file costs several times what it does on a fresh machine.
    """
    with suppress(FileNotFoundError):
        folder.rename(folder.with_name(f"{folder.name}-{time.time_ns()}"))
    # What was written must not be on its way to the disk while somebody else is measured.
    os.sync()


class BuildKit:
    """A buildkitd of our own, from PATH, that can be made anew; not running before ``start``.

    Registries of ``insecure`` are spoken to in plain HTTP.
    """

    def __init__(self, folder: Path, *, insecure: Sequence[str] = ()) -> None:
        self._folder = folder
        self._insecure = insecure
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _address(self) -> str:
        return f"unix://{self._folder}/buildkitd.sock"

    def command(self, *argv: str | Path) -> Action:
        """A callable that runs one buildctl command against this daemon."""
        return quietly("buildctl", "--addr", self._address, *argv)

    def fresh(self) -> None:
        """Start it anew, without anything it knew."""
        self.stop()
        self.start()

    def start(self) -> None:
        """Start it, and return as soon as it takes connections, which is when it is ready.

        ``buildctl --wait`` would do, but asks once a second.
        """
        self._folder.mkdir()
        config = self._folder / "buildkitd.toml"
        plain = (f'[registry."{host}"]\nhttp = true\n' for host in self._insecure)
        config.write_text("[worker.containerd]\nenabled = false\n" + "".join(plain))
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "buildkitd",
                    f"--addr={self._address}",
                    f"--root={self._folder}/root",
                    f"--config={config}",
                    "--oci-worker-net=host",
                    "--oci-worker-snapshotter=overlayfs",
                ],
                stdout=log,
                stderr=log,
            )

        with socket.socket(socket.AF_UNIX) as probe:
            for _ in range(6000):
                if probe.connect_ex(f"{self._folder}/buildkitd.sock") == 0:
                    return
                time.sleep(0.005)
        raise RuntimeError(f"no buildkitd: {(self._folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """End it and put aside what it has, beside its folder."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None
        set_aside(self._folder)


class Buildx:
    """docker buildx whose builder is a container, as a CI job makes one: buildx's default driver.

    The container's image has buildkitd, buildctl and runc from PATH. It is in ``registry``, where
    buildx asks for a newer one, and which is spoken to in plain HTTP.
    """

    _BUILDER: Final = "bench"

    def __init__(self, docker: Docker, folder: Path, registry: str) -> None:
        self._folder = folder
        self._image = f"{registry}/buildkit"
        self._environment = {
            **os.environ,
            "DOCKER_HOST": f"unix://{docker.socket}",
            "BUILDX_CONFIG": str(folder),
        }
        folder.mkdir()
        self._config = folder / "buildkitd.toml"
        self._config.write_text(f'[registry."{registry}"]\nhttp = true\n')
        entry = 'ENTRYPOINT ["/bin/buildkitd"]'
        docker.command("import", "-c", entry, self._programs(), self._image)()
        docker.command("push", self._image)()

    def _programs(self) -> Path:
        """A root file system of the programs, as a tar file."""
        rootfs = busybox_rootfs(self._folder)
        root = self._folder / "busybox-root"
        for name in ("buildkitd", "buildctl", "runc"):
            program = shutil.which(name)
            assert program is not None, name
            shutil.copy2(program, root / "bin" / name)
            libraries = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
            for path in re.findall(r"(?:=> |^\s*)(/\S+)", libraries, re.MULTILINE):
                (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, root / path[1:])
        subprocess.run(["tar", "-C", root, "-cf", rootfs, "."], check=True)
        return rootfs

    def build(self, *argv: str | Path) -> Action:
        """A callable that makes the builder and builds with it."""
        create = self._buildx(
            "create", "--name", self._BUILDER, "--driver", "docker-container", "--driver-opt",
            f"image={self._image},network=host", "--buildkitd-config", self._config,
        )  # fmt: skip
        build = self._buildx(
            "build", "--builder", self._BUILDER, "--provenance=false", "--progress=quiet", *argv
        )

        def both() -> None:
            create()
            build()

        return both

    def remove(self) -> None:
        """Remove the builder with all it has, where there is one."""
        command = ["docker-buildx", "rm", "--force", self._BUILDER]
        subprocess.run(command, env=self._environment, capture_output=True)
        os.sync()

    def _buildx(self, *argv: str | Path) -> Action:
        return quietly("docker-buildx", *argv, env=self._environment)


@contextmanager
def lading_registry(folder: Path) -> Iterator[str]:
    """Our registry as it is without configuration, on a free port of loopback; its address."""
    process = subprocess.Popen(
        [LADING, "registry", "serve", "--addr", "127.0.0.1:0", "--storage", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[1].removeprefix("http://")
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


_RUNTIME: Final = """\
#!/bin/sh
for word; do
    case $last in
    --bundle) sed -i 's/"CAP_SYS_RESOURCE",//g' "$word/config.json" ;;
    --process) sed -i 's/"CAP_SYS_RESOURCE",//g' "$word" ;;
    esac
    last=$word
done
exec runc "$@"
"""
"""runc for machines that may not give away what they have not got."""


@contextmanager
def dockerd(*, lacking: bool = False) -> Iterator[Docker]:
    """Start a dockerd on a socket and state of its own; stop it afterwards.

    When ``lacking``, no container has CAP_SYS_RESOURCE, privileged ones neither, and each starts
    some milliseconds later.
    """
    base = Path(tempfile.mkdtemp(prefix="bench-dockerd-"))
    flags = []
    if lacking:
        runtime = base / "runtime"
        runtime.write_text(_RUNTIME)
        runtime.chmod(0o755)
        flags = [f"--add-runtime=bench={runtime}", "--default-runtime=bench"]
    # All have one bridge and one set of rules for it, and fail when another makes these meanwhile.
    turn = (base.parent / "bench-dockerd.lock").open("wb")
    fcntl.flock(turn, fcntl.LOCK_EX)
    with (base / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "dockerd",
                f"--host=unix://{base}/docker.sock",
                f"--data-root={base}/data",
                f"--exec-root={base}/exec",
                f"--pidfile={base}/pid",
                *flags,
            ],
            stdout=log,
            stderr=log,
        )
    docker = Docker(base / "docker.sock")
    try:
        with turn:
            _wait_for(docker, process, base / "log")
        yield docker
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(base, ignore_errors=True)


def _wait_for(docker: Docker, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"dockerd ended: {log.read_text()[-2000:]}")
        probe = [docker.client, "-H", f"unix://{docker.socket}", "version"]
        if subprocess.run(probe, capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    raise RuntimeError(f"dockerd does not answer: {log.read_text()[-2000:]}")


def busybox_rootfs(folder: Path) -> Path:
    """A root filesystem of one static busybox and its links, as a tar file."""
    root = folder / "busybox-root"
    for name in ("bin", "etc", "tmp", "proc", "sys", "dev", "root"):
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copy2("/bin/busybox", root / "bin/busybox")
    names = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True)
    for name in names.stdout.split():
        link = root / "bin" / name
        if not link.exists():
            link.symlink_to("busybox")
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
    )
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    archive = folder / "busybox.tar"
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
    return archive
