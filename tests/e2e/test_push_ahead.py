"""What a push needs goes to the registry while the build runs, and names come after it."""

from __future__ import annotations

import json
import re
import signal
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from socket import create_server
from subprocess import Popen

import pytest

from images.mediatype import OCI_INDEX, OCI_MANIFEST
from tests.e2e.conftest import Lading, Registry
from tests.e2e.remote_cache_kit import build, make_context
from tests.e2e.test_remote_cache_faults import has_blob_of, wait_until

pytestmark = pytest.mark.root


def then(seconds: int) -> str:
    """A Dockerfile with a layer that is found at its size, and a step on top of it."""
    return f"FROM busybox\nRUN head -c 900000 /dev/urandom > /file\nRUN sleep {seconds}; exit 0\n"


def tags(registry: Registry, repository: str = "app") -> list[str]:
    """The names that a repository has."""
    url = f"http://{registry.address}/v2/{repository}/tags/list"
    try:
        with urllib.request.urlopen(url) as answer:
            return list(json.load(answer)["tags"] or ())
    except urllib.error.HTTPError as error:
        return [] if error.code == 404 else [str(error)]


def interrupted(running: Popen[str]) -> str:
    """What a build says that is interrupted; it ends."""
    running.send_signal(signal.SIGINT)
    _, log = running.communicate(timeout=60)
    assert running.returncode != 0, log
    return log


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_layers_are_there_before_the_end_and_names_are_not(
    lading: Lading, registry: Registry, tmp_path: Path, end: signal.Signals
) -> None:
    context = make_context(tmp_path / "context", "", then(600))
    push = ("--push", "-t", f"{registry.address}/app:1")
    running = lading.start("build", "--progress", "plain", *push, context)
    wait_until(lambda: has_blob_of(registry, 900_000), running)
    running.send_signal(end)
    running.communicate(timeout=60)
    assert running.returncode != 0
    assert tags(registry) == []
    # Nothing is locked, and what is there is not sent again.
    (context / "Dockerfile").write_text(then(0))
    again = build(lading, context, *push)
    assert again.executed == ["RUN"]
    assert re.search(r"sending layer of \[2/3\] RUN head", again.log)
    assert "bytes: exists" in again.log
    assert tags(registry) == ["1"]


def test_a_build_that_fails_names_nothing(
    lading: Lading, registry: Registry, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "context", "", then(0).replace("exit 0", "exit 3"))
    cache = f"type=registry,ref={registry.address}/app:cache,mode=max"
    flags = ("--push", "-t", f"{registry.address}/app:1", "--cache-to", cache)
    assert "did not complete successfully" in build(lading, context, *flags, status=1).log
    assert tags(registry) == []


def test_a_registry_that_refuses_ends_the_build(
    lading: Lading, registry: Registry, tmp_path: Path
) -> None:
    password = tmp_path / "htpasswd"
    password.write_text("me:$2b$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK\n")
    context = make_context(tmp_path / "context", "", then(600))
    process = lading.start(
        *("registry", "serve", "--addr", "127.0.0.1:0", "--storage", tmp_path / "closed"),
        *("--htpasswd", password),
    )
    assert process.stdout is not None
    host = process.stdout.readline().split()[1].removeprefix("http://")
    try:
        push = ("--push", "-t", f"{host}/app:1")
        # The refusal may come between two steps, where nothing is under way.
        for _ in range(5):
            log = build(lading, context, "--no-cache", *push, status=1).log
            assert "while the layer of" in log
            if "CANCELED" in log:
                break
        assert "CANCELED" in log
        cache = f"type=registry,ref={host}/app:cache"
        log = build(lading, context, "--cache-to", f"{cache},ignore-error=false", status=1).log
        assert "the cache cannot be written" in log
        (context / "Dockerfile").write_text(then(0))
        log = build(lading, context, "--cache-to", cache).log
        assert re.search(r"was not written.*while the layer of \[[23]/3\] RUN", log), log
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.parametrize("what", ["--push", "--cache-to"])
def test_a_registry_that_says_nothing_does_not_hold_up_an_interrupt(
    lading: Lading, tmp_path: Path, what: str
) -> None:
    context = make_context(tmp_path / "context", "", then(600))
    with closing(create_server(("127.0.0.1", 0))) as silent:
        name = f"127.0.0.1:{silent.getsockname()[1]}/app:1"
        flags = ("--push", "-t", name) if what == "--push" else ("--cache-to", name)
        running = lading.start("build", "--progress", "rawjson", *flags, context)
        silent.accept()[0].detach()
        started = False
        assert running.stderr is not None
        for line in running.stderr:
            started = started or "sending layer of [2/3]" in line
            if started:
                break
        assert started
        assert '"CancelledError' not in interrupted(running)


def test_what_goes_to_two_repositories_is_sent_once(
    lading: Lading, registry: Registry, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "context", "", then(0))
    names = [f"{registry.address}/{name}:1" for name in ("one", "two")]
    log = build(lading, context, "--push", "-t", names[0], "-t", names[1]).log
    sent = re.findall(r"^#\d+ [\d.]+ (sha256:\w+) \d+ bytes: (\w+)$", log, re.MULTILINE)
    for digest in {digest for digest, _ in sent}:
        states = sorted(state for found, state in sent if found == digest)
        assert states == ["done", "exists", "exists", "mounted"]


def test_another_compression_goes_ahead_too(
    lading: Lading, registry: Registry, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "context", "", then(0))
    output = f"type=registry,name={registry.address}/app:1,compression=zstd,force-compression=true"
    log = build(lading, context, "-o", output).log
    url = f"http://{registry.address}/v2/app/manifests/1"
    request = urllib.request.Request(url, headers={"Accept": f"{OCI_MANIFEST}, {OCI_INDEX}"})
    with urllib.request.urlopen(request) as answer:
        layers = json.load(answer)["layers"]
    for layer in layers:
        assert layer["mediaType"].endswith("+zstd")
        states = re.findall(rf"{layer['digest']} \d+ bytes: (\w+)", log)
        assert sorted(states) == ["done", "exists"]


def test_a_result_that_is_not_certain_is_not_sent_ahead(
    lading: Lading, registry: Registry, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "context", "", "FROM busybox\nRUN date +%N > /now\n")
    push = ("--push", "-t", f"{registry.address}/app:1")
    log = build(lading, context, "--verify-reproducible", *push, status=1).log
    assert "sending layer" not in log
    assert "sending layer" not in build(lading, context, "--squash", *push).log
    # What is on record as a whole has nothing that could be sent while it is built.
    build(lading, context, *push)
    assert "sending layer" not in build(lading, context, *push).log
