"""``lading builder binfmt``."""

from __future__ import annotations

import json

import pytest

from engine.builds import binfmt, emulation
from images.platform import Platform
from lading.main import main
from tests.engine.builds.test_binfmt import AARCH64


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An amd64 machine with QEMU for arm64 installed; returns what the kernel was told."""
    told: list[str] = []
    host = Platform.parse("linux/amd64")
    monkeypatch.setattr(Platform, "host", classmethod(lambda cls: host))
    monkeypatch.setattr(binfmt, "executes", lambda platform, host: platform == host)
    monkeypatch.setattr(binfmt, "configured", lambda: {"qemu-aarch64": AARCH64})
    monkeypatch.setattr(binfmt, "register", told.append)
    monkeypatch.setattr(binfmt, "read_entries", lambda: tuple(map(binfmt.parse_line, told)))
    return told


def test_the_states(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["builder", "binfmt", "--format", "json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    states = {row["Platform"]: (row["State"], row["Interpreter"]) for row in rows}
    assert states["linux/amd64"] == ("native", "")
    assert states["linux/arm64"] == ("installed", "/bin/sh (F)")
    assert states["linux/s390x"] == ("missing", "")


def test_installed_ones_are_registered(
    machine: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["builder", "binfmt", "--register", "-q"]) == 0
    assert machine == [AARCH64]
    assert capsys.readouterr().out == "linux/amd64\nlinux/arm64\n"
    emulation.register_installed()
    assert machine == [AARCH64], "what the kernel knows is not told again"
