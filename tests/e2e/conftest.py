"""Whole programs: the installed `lading` command on state of its own, with a registry beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from tests.bench.peers import busybox_rootfs
from tests.conftest import require_program

LADING = Path(sys.executable).with_name("lading")
PATIENCE = 60.0


@dataclass(frozen=True)
class Lading:
    """One user's lading: a root, a runtime directory, an environment."""

    folder: Path
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What every command sees."""
        return {
            **os.environ,
            "LADING_ROOT": str(self.folder / "root"),
            "LADING_RUNTIME_DIR": str(self.folder / "run"),
            "DOCKER_CONFIG": str(self.folder / "docker"),
            "LADING_PASSPHRASE": "e2e",
            **self.extra,
        }

    def __call__(
        self, *argv: str | Path, status: int | None = 0, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; ``status`` None accepts any exit status."""
        done = subprocess.run(
            [LADING, *argv],
            env=self.environment,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=120,
        )
        if status is not None:
            assert done.returncode == status, (
                f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def start(
        self, *argv: str | Path, stderr: int | IO[bytes] = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """Start and do not wait."""
        return subprocess.Popen(
            [LADING, *argv],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )


@pytest.fixture(scope="session")
def busybox_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root filesystem of one static busybox."""
    require_program("busybox")
    return busybox_rootfs(tmp_path_factory.mktemp("busybox"))


@pytest.fixture
def lading(tmp_path: Path, busybox_tar: Path) -> Iterator[Lading]:
    """A fresh lading that has `busybox` stored; its launcher is stopped afterwards."""
    user = Lading(tmp_path)
    user("import", "-c", 'CMD ["/bin/sh"]', busybox_tar, "busybox")
    yield user
    user("system", "shutdown", status=None)
    assert not leftover_mounts(tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


@dataclass(frozen=True)
class Registry:
    """A running `lading registry serve`."""

    address: str
    storage: Path


@pytest.fixture
def registry(lading: Lading, tmp_path: Path) -> Iterator[Registry]:
    """A registry of ours on a free loopback port."""
    storage = tmp_path / "registry"
    argv = ("registry", "serve", "--addr", "127.0.0.1:0", "--storage", storage)
    # It logs every request, and a pipe that nobody reads would fill up and stop it.
    with tempfile.TemporaryFile() as log:
        process = lading.start(*argv, stderr=log)
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.split()[1].removeprefix("http://")
        _answers(f"http://{address}/v2/")
        yield Registry(address, storage)
        process.terminate()
        assert process.wait(PATIENCE) == 0
        process.stdout.close()


def _answers(url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    pytest.fail(f"{url} does not answer")


def files_below(folder: Path) -> Iterator[Path]:
    """The files below a folder, some of which may go meanwhile, folders and all.

    ``Path.rglob`` fails when a folder goes that it is about to list.
    """
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def leftover_mounts(folder: Path) -> list[str]:
    """Mounts below a folder in this namespace."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if f" {folder}" in line]


def write(folder: Path, files: dict[str, str]) -> Path:
    """A build context."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
