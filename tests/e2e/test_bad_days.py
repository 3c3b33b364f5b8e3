"""A context that changes while it is read, and a disk that fills up at any point of a build."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import Lading, write

pytestmark = pytest.mark.root

Change = Callable[[Path, random.Random], None]


def grow(folder: Path, source: random.Random) -> None:
    with (folder / str(source.randrange(40))).open("a") as file:
        file.write("x" * source.randrange(20_000))


def shrink(folder: Path, source: random.Random) -> None:
    os.truncate(folder / str(source.randrange(40)), source.randrange(10))


def vanish(folder: Path, source: random.Random) -> None:
    path = folder / str(source.randrange(40))
    path.unlink()
    path.write_text("y" * source.randrange(30_000))


def rewrite_in_place(folder: Path, source: random.Random) -> None:
    path = folder / str(source.randrange(40))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(os.urandom(size))


def swap_for_a_link(folder: Path, source: random.Random) -> None:
    inner = folder / "inner"
    if inner.is_symlink():
        inner.unlink()
        shutil.copytree(folder / "other", inner)
    else:
        shutil.rmtree(inner)
        inner.symlink_to("/etc")


@contextmanager
def changing(folder: Path, change: Change) -> Iterator[None]:
    """Change a folder again and again from another thread."""
    source = random.Random(1)
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.001):
            with suppress(OSError):
                change(folder, source)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("change", [grow, shrink, vanish, rewrite_in_place, swap_for_a_link])
def test_no_layer_is_kept_under_a_key_that_is_not_its_own(
    lading: Lading, tmp_path: Path, change: Change
) -> None:
    files = {f"src/{n}": f"{n}" * n * 50 for n in range(40)}
    files |= {"src/inner/a": "a", "src/other/a": "a"}
    context = write(tmp_path / "context", files | {"Dockerfile": "FROM busybox\nCOPY src /src\n"})
    with changing(context / "src", change):
        for _ in range(3):
            done = lading("build", "-q", "-t", "moving", context, status=None)
            if done.returncode != 0:
                assert (
                    "changed" in done.stderr
                    or "not found" in done.stderr
                    or "context" in (done.stderr)
                ), done.stderr
                assert "bug in lading" not in done.stderr
    assert "root:" not in lading("run", "--rm", "busybox", "cat", "/etc/x", status=None).stdout
    lading("build", "-q", "-t", "settled", context)
    listing = ("sh", "-c", "cd /src; find . -type f | sort | xargs md5sum; find . -type l")
    kept = lading("run", "--rm", "settled", *listing).stdout
    lading("build", "-q", "--no-cache", "-t", "anew", context)
    assert kept == lading("run", "--rm", "anew", *listing).stdout
    assert lading("system", "check", "--rehash").returncode == 0


@pytest.fixture
def disk(lading: Lading, tmp_path: Path) -> Iterator[Callable[[int], Lading]]:
    """Gives a lading whose state has so many megabytes; called again it is given more."""
    folder = tmp_path / "small"
    folder.mkdir()
    lading("save", "-o", tmp_path / "base.tar", "busybox")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], check=True)
    user = Lading(folder)
    user("load", "-i", tmp_path / "base.tar")

    def resized(megabytes: int) -> Lading:
        option = f"remount,size={megabytes}m"
        subprocess.run(["mount", "-o", option, folder], check=True)
        return user

    yield resized
    user("system", "shutdown", status=None)
    subprocess.run(["umount", "-l", folder], check=True)


DOCKERFILE = """\
FROM busybox
COPY big /big
RUN cat /big /big > /twice
COPY --link big /linked
RUN --mount=type=cache,target=/c cp /big /c/big && echo fine > /fine
"""


def test_a_disk_that_fills_up_anywhere(disk: Callable[[int], Lading], tmp_path: Path) -> None:
    """Each size stops the build at another point; with room it goes on from there."""
    context = write(tmp_path / "context", {"Dockerfile": DOCKERFILE})
    (context / "big").write_bytes(os.urandom(6_000_000))
    stopped = 0
    for megabytes in (8, 12, 18, 26, 36, 48):
        user = disk(megabytes)
        done = user("build", "-t", "app", context, status=None)
        if done.returncode == 0:
            break
        stopped += 1
        assert "space" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        assert "bug in lading" not in done.stderr
        assert user("images", "-q", "app").stdout == ""
    assert stopped >= 3
    user = disk(128)
    user("build", "-t", "app", context)
    assert user("run", "--rm", "app", "cat", "/fine").stdout == "fine\n"
    user("system", "prune", "-f")
    assert user("system", "check", "--rehash").returncode == 0
