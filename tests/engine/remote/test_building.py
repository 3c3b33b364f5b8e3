"""Whole builds at another machine: here that is another store, over ssh's server or TLS."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from socket import create_connection

import pytest

from tests.conftest import require_program
from tests.engine.remote.conftest import LADING, Machine
from tests.ports import free_port
from tests.waiting import eventually

pytestmark = pytest.mark.root


def answers(port: int) -> bool:
    try:
        create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture
def over_ssh(near: Machine, far: Machine) -> Iterator[Machine]:
    """A real sshd, a key, and a builder named ``far``."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") or require_program("sshd")
    folder = near.folder / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    Path("/run/sshd").mkdir(exist_ok=True)
    port = free_port()
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nPidFile none\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/user.pub\nPasswordAuthentication no\nUsePAM no\n"
    )
    far_lading = folder / "far-lading"
    settings = " ".join(f"{key}={value}" for key, value in far.variables.items() if key != "PATH")
    far_lading.write_text(f'#!/bin/sh\nexec env {settings} {LADING} "$@"\n')
    far_lading.chmod(0o755)
    near.environ["LADING_SSH"] = (
        f"ssh -i {folder}/user -F none -o StrictHostKeyChecking=no"
        f" -o UserKnownHostsFile={folder}/known -o LogLevel=ERROR"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([server, "-D", "-e", "-f", folder / "config"], stderr=log)
    try:
        eventually(lambda: answers(port))
        endpoint = f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
        near.lading("builder", "create", "--use", "--command", far_lading, "far", endpoint)
        yield near
    finally:
        process.terminate()
        process.wait()


@pytest.mark.peer
def test_over_ssh(over_ssh: Machine) -> None:
    near = over_ssh
    context = near.folder / "context"
    assert "running" in near.lading("builder", "inspect")
    said = near.lading("build", "-t", "app:1", "--build-arg", "WORD=well", context)
    assert "RUN echo" in said
    assert near.lading("run", "--rm", "app:1") == "well hello\n"
    assert (
        near.lading("build", "-t", "app:1", "--build-arg", "WORD=well", context).count("CACHED")
        == 3
    )
    (context / "word").write_text("bye\n")
    near.lading("build", "-t", "app:1", context)
    assert near.lading("run", "--rm", "app:1") == "none bye\n"


@pytest.mark.peer
def test_what_goes_wrong_there_is_told_here(over_ssh: Machine) -> None:
    near = over_ssh
    context = near.folder / "context"
    (context / "Dockerfile").write_text("FROM base:1\nRUN echo reason; exit 3\n")
    said = near.lading("build", context, status=1)
    assert "reason" in said
    assert ">>> RUN echo reason; exit 3" in said
    assert "exit code: 3" in said
    (context / "Dockerfile").write_text("FROM base:1\nCOPY absent /\n")
    said = near.lading("build", context, status=1)
    assert f"the context is {context}" in said
    assert "no builder" in near.lading("build", "--builder", "other", context, status=1)


# Seconds, by which a step is told from those of other tests.
MARK = f"7{os.getpid():07}"


def sleeping() -> bool:
    found = subprocess.run(["pgrep", "-f", f"^sleep {MARK}$"], capture_output=True, check=False)
    return found.returncode == 0


@pytest.mark.peer
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_client_that_goes_away_stops_the_build(over_ssh: Machine, number: int) -> None:
    context = over_ssh.folder / "context"
    (context / "Dockerfile").write_text(f"FROM base:1\nRUN sleep {MARK}\n")
    command = [LADING, "build", context]
    with (over_ssh.folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=over_ssh.variables, stdout=log, stderr=log)
    eventually(sleeping)
    process.send_signal(number)
    process.wait(60)
    eventually(lambda: not sleeping())


def test_digests_of_files_that_are_not_new_are_remembered_in_the_cache(by_script: Machine) -> None:
    near = by_script
    context = near.folder / "context"
    for path in context.iterdir():
        os.utime(path, (0, 1_000_000_000))
    near.lading("build", "-t", "app:1", context)
    assert "digests of a context's files" in near.lading("builder", "du", "--verbose")
    near.lading("build", "-t", "app:1", context)


def test_the_node_builds_twice_and_compares(by_script: Machine) -> None:
    near = by_script
    context = near.folder / "context"
    words = ("build", "--verify-reproducible", "--build-arg", "SOURCE_DATE_EPOCH=0", context)
    near.lading(*words, "-t", "good:1")
    assert near.lading("run", "--rm", "good:1") == "none hello\n"
    (context / "Dockerfile").write_text("FROM base:1\nRUN head -c 9 /dev/urandom > /etc/seed\n")
    said = near.lading(*words, "-t", "bad:1", status=1)
    assert "/etc/seed: content differs from byte" in said
    assert "on ssh://far.example" in said
    assert "bad" not in near.lading("images")


def test_a_target_of_a_bake_is_a_context_of_another(by_script: Machine) -> None:
    near = by_script
    (near.folder / "context/again").write_text("FROM other\nRUN cp /said /again\n")
    context = json.dumps(str(near.folder / "context"))
    (near.folder / "bake.hcl").write_text(
        f'target "one" {{ context = {context} }}\n'
        f'target "two" {{\n context = {context}\n dockerfile = "again"\n'
        ' contexts = { other = "target:one" }\n tags = ["two:1"]\n}\n'
    )
    near.lading("bake", "-f", near.folder / "bake.hcl", "--allow", f"fs={near.folder}", "two")
    assert near.lading("run", "--rm", "two:1", "cat", "/again") == "none hello\n"


def test_a_layout_here_is_a_context_there(by_script: Machine) -> None:
    near = by_script
    image = near.folder / "image"
    image.mkdir()
    (image / "Dockerfile").write_text("FROM scratch\nCOPY mark /mark\n")
    (image / "mark").write_text("only here\n")
    layout = near.folder / "layout"
    local = ("--builder", "default", "-o", f"type=oci,tar=false,dest={layout}")
    near.lading("build", *local, image)
    (near.folder / "context/Dockerfile").write_text("FROM base:1\nCOPY --from=other /mark /\n")
    other = f"other=oci-layout://{layout}"
    near.lading("build", "-t", "app:1", "--build-context", other, near.folder / "context")
    assert near.lading("run", "--rm", "app:1", "cat", "/mark") == "only here\n"


def test_the_end_that_builds_says_nothing_of_a_client_that_left(near: Machine) -> None:
    done = subprocess.run(
        [LADING, "builder", "dial-stdio"],
        env=near.variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert b"hello" in done.stdout
    assert done.stderr == b""


def test_over_tls_with_certificates_of_both_sides(near: Machine, far: Machine) -> None:
    folder = near.folder / "tls"
    folder.mkdir()
    for name in ("ca", "server", "client", "stranger"):
        make_certificate(folder, name)
    flags = ("--tls-cert", folder / "server.pem", "--tls-key", folder / "server.key")
    command = [LADING, "builder", "serve", "--addr", "127.0.0.1:0", *flags]
    command += ["--tls-client-ca", folder / "ca.pem"]
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        list(map(str, command)), env=far.variables, stdout=subprocess.PIPE, stderr=log, text=True
    )
    log.close()
    assert process.stdout is not None
    try:
        endpoint = process.stdout.readline().removeprefix("building at ").strip()
        for name in ("client", "stranger"):
            own = ("--tls-cert", folder / f"{name}.pem", "--tls-key", folder / f"{name}.key")
            near.lading("builder", "create", *own, "--tls-ca", folder / "ca.pem", name, endpoint)
        context = near.folder / "context"
        platforms = "linux/amd64,linux/arm64"
        (context / "Dockerfile").write_text("FROM scratch\nCOPY word /\n")
        output = f"type=oci,tar=false,dest={near.folder}/layout"
        client = ("build", "--builder", "client", "--platform", platforms, "-o", output)
        near.lading(*client, context)
        layout = near.folder / "layout"
        (top,) = json.loads((layout / "index.json").read_bytes())["manifests"]
        index = json.loads((layout / "blobs" / top["digest"].replace(":", "/")).read_bytes())
        images = index["manifests"]
        assert [it["platform"]["architecture"] for it in images] == ["amd64", "arm64"]
        assert "ended" in near.lading("build", "--builder", "stranger", context, status=1)
        for line in ("INFO builder: 127.0.0.1 is here as client", "WARNING builder: 127.0.0.1: "):
            eventually(partial(logged, folder / "log", line))
    finally:
        process.terminate()
        assert process.wait(60) == 0
        process.stdout.close()


def logged(log: Path, line: str) -> bool:
    return line in log.read_text()


def make_certificate(folder: Path, name: str) -> None:
    """A certificate for 127.0.0.1 by our authority; the stranger's and the authority's own."""
    run = lambda *words: subprocess.run(  # noqa: E731
        ["openssl", *map(str, words)], check=True, capture_output=True, cwd=folder
    )
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    about = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "9", "-subj", f"/CN={name}")
    name_of = ("-addext", "subjectAltName=IP:127.0.0.1")
    by = () if name in ("ca", "stranger") else ("-CA", "ca.pem", "-CAkey", "ca.key")
    run("req", "-x509", *new, *about, *(name_of if by else ()), *by)
