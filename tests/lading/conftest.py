"""A store of its own for every test, and commands called as a person types them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lading.cli import run_command
from registry.config import RegistryConfig
from tests.registry.running import Running

Result = tuple[int, str, str]
Lading = Callable[..., Result]


def ok(result: Result) -> str:
    """What a command printed that must have succeeded."""
    assert result[0] == 0, result
    return result[1]


def refusal(result: Result) -> str:
    """What a command said that must have failed."""
    assert result[0] == 1, result
    return result[2]


def push_image(lading: Lading, rootfs: Path, host: str) -> str:
    """The name of a small image that was pushed to a registry, by what the environment says."""
    image = f"{host}/lib/app:v1"
    ok(lading("import", rootfs, image))
    ok(lading("push", image))
    return image


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


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """The address of a registry in this process."""
    with Running(RegistryConfig(root=tmp_path / "served", port=0, workers=1)) as bound:
        yield bound.authority
