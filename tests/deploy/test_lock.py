"""deploy/requirements.lock is a part of requirements.lock: what runs is what was tested."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests.deploy.manifests import DEPLOY

PROJECT = DEPLOY.parent
EXTRAS = ("s3", "tracing")
"""What the image can do beyond a plain installation."""


def entries(lock: Path) -> dict[str, str]:
    """What each package is held to: version and hashes."""
    found = re.findall(r"^([\w.-]+)==(\S+)((?: \\\n +--hash=\S+)+)", lock.read_text(), re.M)
    return {name: version + "".join(sorted(hashes.split("\\"))) for name, version, hashes in found}


def test_each_pin_is_one_of_the_whole_lock() -> None:
    image, whole = entries(DEPLOY / "requirements.lock"), entries(PROJECT / "requirements.lock")
    different = sorted(name for name, pin in image.items() if whole.get(name) != pin)
    assert not different, f"`make lock` brings both in line: {different}"


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(entry for name in EXTRAS for entry in extras[name])]
    names = {re.split(r"[^\w.-]", entry)[0].lower() for entry in wanted}
    assert names <= set(entries(DEPLOY / "requirements.lock")), "`make lock`"
