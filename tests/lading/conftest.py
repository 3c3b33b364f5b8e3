"""A store of its own for every test, and commands called as a person types them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lading.cli import run_command

Result = tuple[int, str, str]


@pytest.fixture
def lading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Run one command line in this process; returns (status, stdout, stderr)."""
    monkeypatch.setenv("LADING_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("LADING_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")

    def run(*argv: str | Path) -> Result:
        capfd.readouterr()
        status = run_command([str(word) for word in argv])
        out, err = capfd.readouterr()
        return status, out, err

    return run


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A small root filesystem as a tar file."""
    path = tmp_path / "rootfs.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in (("etc/os-release", b"ID=test\n"), ("bin/tool", b"#!/bin/sh\n" * 9)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path
