"""What a build elsewhere uses of its client's: agents, caches, locks, verdicts, terminals."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_program
from tests.engine.remote.conftest import LADING, Machine
from tests.waiting import eventually

pytestmark = pytest.mark.root


@pytest.fixture
def agent(near: Machine) -> Iterator[Path]:
    """A real ssh-agent with one key."""
    require_program("ssh-agent")
    folder = near.folder
    socket = Path(f"/tmp/agent-{os.getpid()}")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "the key", "-f", folder / "key"],
        check=True,
    )
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        eventually(socket.exists)
        environ = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        subprocess.run(["ssh-add", "-q", folder / "key"], env=environ, check=True)
        yield socket
    finally:
        process.terminate()
        process.wait()
        socket.unlink(missing_ok=True)


def test_an_agent_is_lent(by_script: Machine, agent: Path) -> None:
    """The step speaks to the client's agent; the key is not there."""
    near = by_script
    context = near.folder / "context"
    with_libraries(Path(require_program("ssh-add")), context / "files")
    (context / "Dockerfile").write_text(
        "FROM base:1\nCOPY files /\nRUN --mount=type=ssh ssh-add -L | grep 'the key'\n"
        "RUN --mount=type=ssh,id=other ssh-add -l && exit 1 || exit 0\n"
    )
    near.lading("build", "--ssh", f"default={agent}", context)
    near.lading("build", "--no-cache", context, status=1)


def with_libraries(program: Path, root: Path) -> None:
    """A program and what it is linked with, at their paths below a root."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for name in (str(program), *(word for word in listed.split() if word.startswith("/"))):
        target = root / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, target)


def test_a_cache_in_a_directory_of_the_client(by_script: Machine, far: Machine) -> None:
    near = by_script
    context, cache = near.folder / "context", near.folder / "cache"
    (context / "Dockerfile").write_text(
        "FROM base:1 AS tool\nRUN --mount=type=cache,target=/c echo a >> /c/f; cp /c/f /tool\n"
        "FROM base:1\nCOPY --from=tool /tool /tool\nRUN date +%N > /now\n"
    )
    target = f"type=local,dest={cache},mode=max,mounts=true"
    first = near.lading("build", "-t", "app:1", "--cache-to", target, context)
    assert "writing cache manifest" in first
    # Another builder, which has nothing, does nothing.
    other = Machine(near.folder / "other")
    other.folder.mkdir()
    shutil.copy(far.folder / "base.tar", other.folder)
    other.lading("import", other.folder / "base.tar", "base:1")
    script = near.folder / "other-ssh"
    settings = " ".join(f"{key}={value}" for key, value in other.variables.items())
    script.write_text(f"#!/bin/sh\nexec env {settings} {LADING} builder dial-stdio\n")
    script.chmod(0o755)
    near.environ["LADING_SSH"] = str(script)
    shutil.rmtree(near.folder / "root/cache", ignore_errors=True)
    again = near.lading("build", "-t", "app:2", "--cache-from", f"type=local,src={cache}", context)
    assert again.count("CACHED") == 4, again
    now = [near.lading("run", "--rm", f"app:{it}", "cat", "/now") for it in "12"]
    assert now[0] == now[1]
    # A cache mount is filled from there before the first step that has it.
    (context / "Dockerfile").write_text(
        "FROM base:1\nRUN --mount=type=cache,target=/c test -s /c/f && date +%N > /then\n"
    )
    near.lading("build", "--cache-from", f"type=local,src={cache}", context)
    gone = f"type=local,src={near.folder}/gone"
    (context / "Dockerfile").write_text("FROM base:1\nRUN date +%N > /later\n")
    assert "is not used" in near.lading("build", "--cache-from", gone, context)
    other.lading("system", "shutdown")


def test_a_lock_is_obeyed_and_written(by_script: Machine, far: Machine) -> None:
    near = by_script
    lock = near.folder / "lading.lock"
    near.lading("build", "--lock", lock, near.folder / "context")
    images = json.loads(lock.read_bytes())["images"]
    (held,) = images["docker.io/library/base:1"].values()
    assert held.startswith("sha256:")
    near.lading("build", "--lock", lock, "--locked", near.folder / "context")
    (near.folder / "context/Dockerfile").write_text("FROM base:2\n")
    far.lading("tag", "base:1", "base:2")
    said = near.lading("build", "--lock", lock, "--locked", near.folder / "context", status=1)
    assert "is not in the lock" in said
    assert str(lock) in said


def test_a_policy_is_judged_by_the_client(by_script: Machine) -> None:
    near = by_script
    policy = near.folder / "policy.json"
    rule: dict[str, Any] = {"default": [{"type": "reject"}]}
    policy.write_text(json.dumps(rule))
    context = near.folder / "context"
    said = near.lading("build", "--policy", policy, context, status=1)
    assert "the policy refuses this image" in said
    assert "base:1" in said
    # What is in the builder's cache is judged as well.
    near.lading("build", context)
    near.lading("build", "--policy", policy, context, status=1)
    rule["transports"] = {"docker": {"docker.io/library": [{"type": "insecureAcceptAnything"}]}}
    policy.write_text(json.dumps(rule))
    near.lading("build", "--policy", policy, context)
    (context / "Dockerfile").write_text("FROM base:1\nADD http://127.0.0.1:1/file /\n")
    said = near.lading("build", "--policy", policy, context, status=1)
    assert "checksum" in said
    policy.write_text("{")
    near.lading("build", "--policy", policy, context, status=1)


def test_provenance_names_the_builder(by_script: Machine) -> None:
    near = by_script
    layout = near.folder / "layout"
    flags = ("--provenance=mode=max", "-o", f"type=oci,tar=false,dest={layout}")
    near.lading("build", *flags, near.folder / "context")
    statements = [
        document["predicate"]
        for path in (layout / "blobs/sha256").iterdir()
        if (document := as_json(path)).get("predicateType") == "https://slsa.dev/provenance/v1"
    ]
    (predicate,) = statements
    assert (
        predicate["runDetails"]["builder"]["id"] == f"pkg:pypi/lading?builder={os.uname().nodename}"
    )


def as_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def test_a_shell_in_a_step_that_failed_there(by_script: Machine) -> None:
    near = by_script
    context = near.folder / "context"
    (context / "Dockerfile").write_text("FROM base:1\nRUN echo something > /left; exit 7\n")
    master, slave = pty.openpty()
    command = [str(LADING), "build", "--on-error=shell", str(context)]
    environ = {**near.variables, "TERM": "vt100"}
    process = subprocess.Popen(command, env=environ, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    said = read_until(master, b"leave it to end")
    os.write(master, b"cat /left; echo is $TERM; exit\n")
    said += read_until(master, b"is vt100")
    assert b"something" in said
    # What comes next may have been read along with it.
    read_until(master, b"exit code: 7", said.rpartition(b"is vt100")[2])
    while read_some(master):
        pass
    assert process.wait(60) == 1
    os.close(master)


def read_some(master: int) -> bytes:
    try:
        return os.read(master, 9999)
    except OSError:
        return b""


def read_until(master: int, text: bytes, found: bytes = b"") -> bytes:
    deadline = time.monotonic() + 60
    while text not in found:
        assert time.monotonic() < deadline, found
        if select.select([master], [], [], 1)[0]:
            piece = read_some(master)
            assert piece, found
            found += piece
    return found
