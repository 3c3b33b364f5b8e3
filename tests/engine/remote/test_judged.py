"""Signatures that a client asks for of what another machine builds with; the keys stay here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lading.main import main
from tests.engine.builds.test_build_policy import World, labelled, world

__all__ = ["world"]

LADING = Path(sys.executable).with_name("lading")


@pytest.fixture
def far(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Another store in the place of another machine's."""
    script = world.folder / "ssh"
    settings = f"LADING_ROOT={world.folder}/far LADING_RUNTIME_DIR={world.folder}/far-run"
    script.write_text(f"#!/bin/sh\nexec env {settings} {LADING} builder dial-stdio\n")
    script.chmod(0o755)
    monkeypatch.setenv("LADING_SSH", str(script))
    create = ["--root", str(world.folder / "root"), "builder", "create", "far", "ssh://far"]
    assert main(create) == 0
    world.capsys.readouterr()
    return world


def test_a_base_that_is_not_signed_is_refused_there(far: World) -> None:
    far.push(b"one")
    text = labelled(far.base)
    there = ("--builder", "far")
    assert "is not signed" in far.build(text, *there, *far.verify_key)
    assert far.build(text, *there) == "", "without the flag that machine's policy alone counts"
    for _ in range(2):
        refused = far.build(text, *there, *far.verify_key)
        assert "is not signed" in refused, "neither its store nor its records answer"
    far.sign()
    assert far.build(text, *there, *far.verify_key) == ""
    assert far.build(text, *there, *far.verify_key, "--lock", far.lock) == ""
    assert far.base in far.locked()["images"]


def test_files_are_judged_by_the_same_policy(far: World) -> None:
    far.push(b"one")
    policy = far.policy(
        f'[[rule]]\nscopes = ["127.0.0.1:{far.port}"]\nrequire = "accept"', default="reject"
    )
    text = f"{labelled(far.base)}ADD http://127.0.0.1:{far.port}/v2/ /file\n"
    there = ("--builder", "far")
    assert "checksum" in far.build(text, *there, *policy)
