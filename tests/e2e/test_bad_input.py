"""Bad input and bad days: what, where and how to fix it, and a store that stays consistent."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import (
    LADING,
    Lading,
    Registry,
    files_below,
    leftover_mounts,
    write,
)
from tests.waiting import eventually

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _consistent_afterwards(lading: Lading) -> Iterator[None]:
    yield
    assert lading("system", "check", "--rehash").returncode == 0


@pytest.mark.parametrize(
    ("dockerfile", "messages"),
    [
        ("FROM busybox\nRNU true\n", ["Dockerfile:2", "unknown instruction: RNU", "RUN"]),
        ("FROM busybox\nCOPY --chwon=1 a /\n", ["Dockerfile:2", "unknown flag: --chwon", "chown"]),
        ("FROM busybox\nENV A\n", ["Dockerfile:2", "ENV must have two arguments"]),
        ("RUN true\n", ["no build stage in current context"]),
        ("FROM busybox\nRUN <<EOF\ntrue\n", ["unterminated heredoc"]),
        ("FROM busybox AS a\nCOPY --from=a /x /\n", ["circular dependency", "a"]),
        ("FROM busybox\nCOPY --chown=nosuchuser a /\n", ["Dockerfile:2", "nosuchuser"]),
        ("FROM busybox\nUSER ghost\nRUN true\n", ["ghost"]),
        ("FROM busybox\nCOPY srcc/main.c /\n", ["Dockerfile:2", "srcc/main.c", "src/main.c"]),
        ("FROM busybox\nCOPY secret.txt /\n", ["secret.txt", ".dockerignore", "2"]),
        ("FROM busybox\nRUN echo before; exit 3\n", ["before", "exit code: 3", "Dockerfile:2"]),
        ("FROM localhost:1/no/such\n", ["localhost:1"]),
        ("", ["empty"]),
    ],
)
def test_broken_dockerfiles_say_where_and_what(
    lading: Lading, tmp_path: Path, dockerfile: str, messages: list[str]
) -> None:
    files = {"Dockerfile": dockerfile, "a": "a", "src/main.c": "", "secret.txt": "s"}
    context = write(tmp_path / "c", files | {".dockerignore": "# keep out\nsecret.*\n"})
    done = lading("build", "-t", "broken", context, status=1)
    for message in messages:
        assert message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert lading("images", "-q", "broken").stdout == ""


def test_an_unknown_target_is_suggested(lading: Lading, tmp_path: Path) -> None:
    context = write(tmp_path / "c", {"Dockerfile": "FROM busybox AS build\n"})
    done = lading("build", "--target", "biuld", context, status=1)
    assert 'target stage "biuld" could not be found (did you mean build?)' in done.stderr


def test_a_missing_context_is_named(lading: Lading, tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in lading("build", tmp_path / "nowhere", status=1).stderr


def escaping_archives() -> dict[str, list[tarfile.TarInfo]]:
    """Archives that try to write outside their root."""

    def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        return member

    outside = "/tmp/lading-escaped"
    return {
        "dotdot": [entry("../../../../../../../../tmp/lading-escaped")],
        "absolute": [entry(outside)],
        "symlink": [entry("out", tarfile.SYMTYPE, "/tmp"), entry("out/lading-escaped")],
        "hardlink": [entry("grab", tarfile.LNKTYPE, "/etc/hostname"), entry("grab")],
        "relative-symlink": [
            entry("a/out", tarfile.SYMTYPE, "../../../../../../tmp"),
            entry("a/out/lading-escaped"),
        ],
    }


@pytest.mark.parametrize("kind", escaping_archives())
@pytest.mark.parametrize("way", ["import", "add"])
def test_archives_cannot_escape(lading: Lading, tmp_path: Path, kind: str, way: str) -> None:
    hostname = Path("/etc/hostname").read_bytes()
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w") as out:
        for member in escaping_archives()[kind]:
            out.addfile(member, io.BytesIO())
    if way == "import":
        done = lading("import", archive, "evil", status=None)
        if done.returncode == 0:
            lading("run", "--rm", "evil", "/nothing", status=None)
    else:
        context = write(
            tmp_path / "c", {"Dockerfile": "FROM busybox\nADD evil.tar /x/\nRUN true\n"}
        )
        archive.rename(context / "evil.tar")
        lading("build", "-t", "evil", context, status=None)
    assert not Path("/tmp/lading-escaped").exists()
    assert Path("/etc/hostname").read_bytes() == hostname


def test_content_that_does_not_match_its_digest_is_refused(
    lading: Lading, registry: Registry, tmp_path: Path
) -> None:
    name = f"{registry.address}/base:1"
    lading("tag", "busybox", name)
    lading("push", "-q", name)
    lading("rmi", "busybox", name)
    lading("system", "prune", "-f", "-a")
    blobs = [path for path in files_below(registry.storage) if len(path.name) == 64]
    layer = max(blobs, key=lambda path: path.stat().st_size)
    data = bytearray(layer.read_bytes())
    data[len(data) // 2] ^= 1
    layer.chmod(0o600)
    layer.write_bytes(data)
    done = lading("pull", name, status=1)
    assert f"sha256:{layer.name} was asked for" in done.stderr
    assert "nothing was kept" in done.stderr
    assert lading("images", "-q").stdout == ""


@pytest.fixture
def small_disk(lading: Lading, busybox_tar: Path, tmp_path: Path) -> Iterator[Lading]:
    """A lading whose state has twelve megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], check=True)
    user = Lading(folder)
    user("import", busybox_tar, "busybox")
    yield user
    user("system", "shutdown", status=None)
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("step", ["COPY big /", "RUN head -c 30000000 /dev/urandom > /big"])
def test_a_full_disk_fails_the_build_and_nothing_else(
    small_disk: Lading, tmp_path: Path, step: str
) -> None:
    context = write(tmp_path / "c", {"Dockerfile": f"FROM busybox\n{step}\n"})
    (context / "big").write_bytes(os.urandom(30_000_000))
    done = small_disk("build", "-t", "big", context, status=1)
    assert "no space left on device" in done.stderr
    assert "lading system prune" in done.stderr
    assert "Traceback" not in done.stderr
    small_disk("system", "prune", "-f")
    assert small_disk("system", "check", "--rehash").returncode == 0
    assert small_disk("run", "--rm", "busybox", "echo", "fine").stdout == "fine\n"


def test_a_killed_build_leaves_nothing_half_done(lading: Lading, tmp_path: Path) -> None:
    lines = ["FROM busybox", "COPY . /src"]
    lines += [f"RUN echo {n} > /f{n}; head -c 200000 /dev/urandom > /r{n}" for n in range(12)]
    files = {f"d/{n}": "x" * n for n in range(300)}
    context = write(tmp_path / "c", files | {"Dockerfile": "\n".join(lines) + "\n"})
    source = random.Random(1)
    for _ in range(8):
        build = lading.start("build", "-t", "app", "--no-cache", context)
        time.sleep(source.uniform(0.05, 0.6))
        build.send_signal(signal.SIGKILL)
        build.communicate()
    # What they were writing counts as left behind after a minute; the next build removes it.
    told = lading("system", "check", "--rehash", status=None).stderr.splitlines()
    heads = [line for line in told if not line.startswith("  ")]
    assert [line for line in heads if "a killed process left" not in line] == []
    lading("build", "-t", "app", context)
    assert lading("run", "--rm", "app", "cat", "/f11").stdout == "11\n"
    assert not leftover_mounts(tmp_path)


def test_a_killed_run_leaves_no_process_and_no_directory(lading: Lading, tmp_path: Path) -> None:
    marker = f"7351.{os.getpid()}"
    run = subprocess.Popen(
        [LADING, "run", "--rm", "busybox", "sleep", marker], env=lading.environment
    )
    eventually(lambda: _processes(marker))
    run.kill()
    run.wait()
    eventually(lambda: not _processes(marker))
    containers = tmp_path / "root/containers"

    def swept() -> bool:
        # While the killed one's shim still takes it down, it is left to the next command.
        assert lading("run", "--rm", "busybox", "true").stdout == ""
        return all(path.name.startswith(".") for path in containers.iterdir())

    eventually(swept)


def test_an_interrupted_build_ends_at_once_and_cleanly(lading: Lading, tmp_path: Path) -> None:
    marker = f"7352.{os.getpid()}"
    context = write(tmp_path / "c", {"Dockerfile": f"FROM busybox\nRUN sleep {marker}\n"})
    build = lading.start("build", context)
    eventually(lambda: _processes(marker))
    build.send_signal(signal.SIGINT)
    _, err = build.communicate(timeout=60)
    assert build.returncode == 130
    assert "Traceback" not in err
    eventually(lambda: not _processes(marker))


def _processes(argument: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:1] == [b"sleep"] and argument.encode() in words:
            found.append(path.parent.name)
    return found
