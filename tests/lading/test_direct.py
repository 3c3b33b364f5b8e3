"""`run` and `build` without click: the same outcomes, and few imports."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lading.cli import run_command
from lading.direct import run_directly
from lading.main import main

HEAVY = {
    "aiohttp",
    "asyncio",
    "click",
    "concurrent",
    "cryptography",
    "dataclasses",
    "inspect",
    "lark",
    "logging",
    "pathlib",
    "platform",
    "rich",
    "shutil",
    "subprocess",
    "tempfile",
    "threading",
    "typing",
    "urllib",
    "uuid",
}
"""Not one of these is needed to start a container or to repeat a build."""

BUILD_MODULES, RUN_MODULES, CACHED_MODULES = 94, 100, 308
"""Modules that may be imported, those of Python included: what a cold start costs, by and large."""

NEEDED_BY_A_REGISTRY = {"pathlib", "threading", "typing", "urllib"}
"""What http.client and the wire on it need."""

NOT_FOR_A_CACHE = {
    "_ctypes",
    "builder.solver.execute",
    "builder.sources.git_url",
    "idna",
    "isal",
    "multidict",
    "propcache",
    "tomllib",
    "traceback",
    "trust.signature",
    "yarl",
}
"""Not needed when a cache elsewhere has all there is."""

COUNTED = """
import sys
before = set(sys.modules)
from lading.main import main
status = main(sys.argv[1:])
print(status, *(set(sys.modules) - before), file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LADING_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("LADING_RUNTIME_DIR", str(tmp_path / "run"))


@pytest.mark.parametrize(
    "line",
    ["", "--help", "version", "run --help", "run --no-such-flag debian", "run", "tag run build"],
)
def test_the_rest_is_left_to_click(line: str) -> None:
    assert run_directly(line.split()) is None


@pytest.mark.parametrize(
    "line",
    [
        "run --detach debian",
        "run --pull never absent-image",
        "run --pull never Bad:Name",
        "build /nowhere",
        "build --label =x .",
        "build --ssh default .",
        "build --progress loud .",
    ],
)
def test_errors_are_those_of_click(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    status, ours = main(line.split()), capsys.readouterr().err
    assert status == run_command(line.split()) != 0
    assert capsys.readouterr().err == ours


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(Exception, match="No such image"):
        main(["--debug", "run", "--pull", "never", "absent-image"])


def imported(*words: str) -> tuple[int, set[str]]:
    """Exit status and modules of a command line that starts cold."""
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, *words], capture_output=True, text=True, env=environ
    )
    status, *modules = done.stderr.splitlines()[-1].split()
    return int(status), set(modules)


def heavy(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules} & HEAVY


def test_a_repeated_build_imports_little(lading: Callable[..., object], tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (context / ".dockerignore").write_text("*.log\n!kept.log\n")
    (context / "file").write_text("x")
    os.utime(context / "file", (0, 0))
    words = ("build", "-t", "image", "--progress", "tty", str(context))
    assert imported(*words)[0] == 0
    status, modules = imported(*words)
    assert (status, heavy(modules)) == (0, set())
    assert "builder.build" not in modules, "the build was not answered from its record"
    assert "socket" not in modules
    # Some seconds after the first build its leases are renewed, under a lock.
    assert len(modules - {"fcntl"}) <= BUILD_MODULES, sorted(modules)


def test_a_build_that_a_cache_elsewhere_answers_imports_little(
    lading: Callable[..., object], host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tmp_path / "names.conf"
    names.write_text('# as distributions ship it\n[aliases]\n"app" = "registry.example/app"\n')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(names))
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY file /\n")
    (context / "file").write_text("x")
    cache = f"type=registry,ref={host}/app:cache"
    words = ("build", "-q", "--push", "-t", f"{host}/app", "--cache-from", cache, str(context))
    assert imported(*words, "--cache-to", cache)[0] == 0
    monkeypatch.setenv("LADING_ROOT", str(tmp_path / "empty"))
    status, modules = imported(*words)
    assert (status, heavy(modules)) == (0, NEEDED_BY_A_REGISTRY)
    assert not modules & NOT_FOR_A_CACHE
    assert len(modules) <= CACHED_MODULES, sorted(modules)


@pytest.mark.root
def test_a_run_imports_little(lading: Callable[..., object], rootfs: Path) -> None:
    lading("import", rootfs, "image")
    words = ("run", "--rm", "--network", "none", "image", "/bin/absent")
    assert imported(*words)[0] == 127  # and now the image is unpacked
    status, modules = imported(*words)
    assert (status, heavy(modules)) == (127, set())
    assert len(modules) <= RUN_MODULES, sorted(modules)
