"""deploy/*.service and *.socket: systemd's own words on them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import require_program
from tests.deploy.manifests import DEPLOY

MOST_EXPOSED = 20
"""In tenths; ``systemd-analyze security`` calls 0 fully locked and 100 fully exposed."""


def unit(tmp_path: Path) -> Path:
    """The service with a program that exists here, its socket beside it."""
    text = (DEPLOY / "lading-registry.service").read_text()
    program = Path(sys.executable).with_name("lading")
    assert "=/usr/bin/lading " in text
    service = tmp_path / "lading-registry.service"
    service.write_text(text.replace("=/usr/bin/lading ", f"={program} "))
    socket = tmp_path / "lading-registry.socket"
    socket.write_text((DEPLOY / "lading-registry.socket").read_text())
    return service


def test_systemd_has_nothing_to_say_against_them(tmp_path: Path) -> None:
    analyze = require_program("systemd-analyze")
    service = unit(tmp_path)
    done = subprocess.run(
        [analyze, "verify", service, service.with_suffix(".socket")], capture_output=True, text=True
    )
    about = [line for line in done.stderr.splitlines() if "lading" in line]
    assert (done.returncode, about) == (0, [])


def test_the_service_is_locked_down(tmp_path: Path) -> None:
    analyze = require_program("systemd-analyze")
    command = [analyze, "security", "--offline=true", f"--threshold={MOST_EXPOSED}"]
    done = subprocess.run([*command, unit(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
