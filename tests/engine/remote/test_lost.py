"""Builders that are killed in the middle, and those that cannot be reached."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.engine.remote.conftest import LADING, Machine
from tests.waiting import eventually

pytestmark = pytest.mark.root

MARK = f"6{os.getpid():07}"
"""Seconds, by which a step is told from those of other test runs."""


@pytest.fixture
def farm(near: Machine, far: Machine) -> Machine:
    """Two nodes: at ``slow.example`` the base makes a step take for ever, ``far.example`` is fine.

    The process that serves the first leaves its number in ``slow.pid``.
    """
    slow = Machine(near.folder / "slow")
    slow.folder.mkdir()
    shutil.copy(far.folder / "base.tar", slow.folder)
    slow.lading("import", slow.folder / "base.tar", "plain:1")
    (slow.folder / "Dockerfile").write_text("FROM plain:1\nRUN touch /slow\n")
    slow.lading("build", "-t", "base:1", slow.folder)
    script = near.folder / "ssh"
    lines = ["#!/bin/sh"]
    for machine, host in ((slow, "slow.example"), (far, "far.example")):
        settings = " ".join(f"{key}={value}" for key, value in machine.variables.items())
        lines.append(
            f'case "$*" in *{host}*) echo $$ > {near.folder}/{host.split(".")[0]}.pid\n'
            f"exec env {settings} {LADING} builder dial-stdio;; esac"
        )
    script.write_text("\n".join([*lines, "exit 255", ""]))
    script.chmod(0o755)
    near.environ["LADING_SSH"] = str(script)
    (near.folder / "context/Dockerfile").write_text(
        f"FROM base:1\nRUN test ! -e /slow || sleep {MARK}\nRUN echo done > /said\n"
    )
    return near


def asleep() -> bool:
    found = subprocess.run(["pgrep", "-f", f"^sleep {MARK}$"], capture_output=True, check=False)
    return found.returncode == 0


def killed_in_the_middle(near: Machine) -> tuple[int, str]:
    """The status and the log of a build whose first builder is killed."""
    log = near.folder / "log"
    command = [str(LADING), "build", "-t", "app:1", "--progress", "plain", near.folder / "context"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=near.variables, stdout=file, stderr=file)
        eventually(asleep)
        os.kill(int((near.folder / "slow.pid").read_text()), signal.SIGKILL)
        status = process.wait(120)
    eventually(lambda: not asleep())
    return status, log.read_text()


def test_another_node_takes_over(farm: Machine) -> None:
    farm.lading("builder", "create", "--use", "farm", "ssh://slow.example")
    farm.lading("builder", "create", "--append", "farm", "ssh://far.example")
    status, log = killed_in_the_middle(farm)
    assert status == 0, log
    assert "the builder went away in the middle of the build; building at ssh://far" in log
    assert "CANCELED" in log
    assert farm.lading("run", "--rm", "app:1", "cat", "/said") == "done\n"


def test_without_another_the_error_says_what_happened(farm: Machine) -> None:
    farm.lading("builder", "create", "--use", "alone", "ssh://slow.example")
    status, log = killed_in_the_middle(farm)
    assert status == 1
    assert "ssh://slow.example: the builder went away in the middle of the build" in log
    # Nothing is locked there.
    (farm.folder / "context/Dockerfile").write_text("FROM base:1\nRUN echo done > /said\n")
    farm.lading("build", farm.folder / "context")


def test_a_node_that_cannot_be_reached_is_passed_over(farm: Machine) -> None:
    farm.lading("builder", "create", "--use", "farm", "ssh://nowhere.example")
    context = farm.folder / "context"
    assert "the connection ended" in farm.lading("build", context, status=1)
    farm.lading("builder", "create", "--append", "farm", "ssh://far.example")
    farm.lading("build", context)
    farm.lading("builder", "create", "--platform", "linux/amd64", "fixed", "ssh://nowhere.example")
    farm.lading("builder", "create", "--append", "fixed", "local")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY word /\n")
    cache = farm.folder / "cache"
    said = farm.lading(
        *("build", "--builder", "fixed", "--cache-to", f"type=local,dest={cache}", context)
    )
    assert "building at local" in said
    assert (cache / "index.json").exists()


def test_two_machines_fill_one_cache(farm: Machine, tmp_path: Path) -> None:
    farm.lading("builder", "create", "--platform", "linux/amd64", "farm", "ssh://far.example")
    farm.lading(
        *(
            "builder",
            "create",
            "--append",
            "--platform",
            "linux/arm64",
            "farm",
            "ssh://slow.example",
        )
    )
    context = farm.folder / "context"
    (context / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY word /$TARGETARCH\n")
    platforms = ("--platform", "linux/amd64,linux/arm64")
    target = f"type=local,dest={tmp_path}/cache,reset=true"
    output = ("-o", "type=cacheonly")
    farm.lading("build", "--builder", "farm", *platforms, *output, "--cache-to", target, context)
    (context / "word").touch()
    here = Machine(tmp_path / "here")
    here.folder.mkdir()
    source = f"type=local,src={tmp_path}/cache"
    said = here.lading("build", *platforms, *output, "--cache-from", source, context)
    assert said.count("CACHED") == 2, said
