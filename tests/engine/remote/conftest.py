"""Two machines: a store and a run-time directory each, used by the command alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.engine.conftest import small_rootfs

LADING = Path(sys.executable).with_name("lading")
DOCKERFILE = """FROM base:1
COPY . /app
ARG WORD=none
RUN echo "$WORD $(cat /app/word)" > /said
CMD ["cat", "/said"]
"""


@dataclass
class Machine:
    """One store and run-time directory, used by the command."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        return {
            "LADING_ROOT": str(self.folder / "root"),
            "LADING_RUNTIME_DIR": str(self.folder / "run"),
            "DOCKER_CONFIG": str(self.folder / "docker"),
            "HOME": str(self.folder),
            "PATH": os.environ["PATH"],
            **self.environ,
        }

    def lading(self, *words: object, status: int = 0) -> str:
        command = [str(word) for word in (LADING, *words)]
        done = subprocess.run(
            command, env=self.variables, capture_output=True, text=True, timeout=240, check=False
        )
        text = done.stdout + done.stderr
        assert done.returncode == status, text
        return text


@pytest.fixture(scope="module")
def far() -> Iterator[Machine]:
    """The machine that builds; it has the base image."""
    with TemporaryDirectory(prefix="far-") as folder:
        machine = Machine(Path(folder))
        (machine.folder / "base.tar").write_bytes(small_rootfs().read())
        machine.lading("import", machine.folder / "base.tar", "base:1")
        yield machine
        from runtime.client import stop_launcher

        stop_launcher(machine.folder / "run")


@pytest.fixture
def near(tmp_path: Path) -> Machine:
    """The machine of the user."""
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "context/word").write_text("hello\n")
    return Machine(tmp_path)


@pytest.fixture
def by_script(near: Machine, far: Machine) -> Machine:
    """A builder named ``far``, where a script stands for ssh and its server."""
    script = near.folder / "ssh"
    settings = " ".join(f"{key}={value}" for key, value in far.variables.items())
    script.write_text(f"#!/bin/sh\nexec env {settings} {LADING} builder dial-stdio\n")
    script.chmod(0o755)
    near.environ["LADING_SSH"] = str(script)
    near.lading("builder", "create", "--use", "far", "ssh://far.example")
    return near
