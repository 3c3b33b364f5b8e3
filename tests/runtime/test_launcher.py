"""The launcher's life: started once, replaced when stale, mortal without harm, gone when idle."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime import client
from runtime.client import ContainerRequest, Rootfs, RuntimeFault, run, stop_launcher
from runtime.spec import default_spec
from tests.runtime.conftest import Box
from tests.waiting import eventually

pytestmark = pytest.mark.root

CLIENT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from runtime.client import ContainerRequest, Rootfs, run
from runtime.spec import default_spec
request = ContainerRequest(sys.argv[4], default_spec(["true"]), Rootfs(lower=(sys.argv[2],)))
container = run(request, stdin=0, stdout=1, stderr=2, runtime_dir=Path(sys.argv[3]))
sys.exit(container.wait(60))
"""


@pytest.fixture
def own_dir(tmp_path: Path) -> Iterator[Path]:
    """A run-time directory of this test alone."""
    folder = tmp_path / "run"
    yield folder
    stop_launcher(folder)
    eventually(lambda: not launchers(folder))


def launchers(folder: Path) -> list[int]:
    """Launchers that serve ``folder``; a spare has its parent's name for its first moments."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            status = (path / "status").read_text()
        except OSError:
            continue
        if status.startswith("Name:\tlading-launch\n") and os.fsencode(folder) in words:
            found[int(path.name)] = int(status.split("PPid:")[1].split()[0])
    return [pid for pid, parent in found.items() if parent not in found]


def test_a_launcher_is_there_before_it_is_needed_and_only_one(box: Box, own_dir: Path) -> None:
    client.prepare(own_dir)
    client.prepare(own_dir)
    eventually(lambda: len(launchers(own_dir)) == 1)
    before = launchers(own_dir)
    with start(box, own_dir, "true") as container:
        assert container.wait(60) == 0
    assert launchers(own_dir) == before


def start(box: Box, folder: Path, *args: str, name: str = "box") -> client.Container:
    request = ContainerRequest(
        f"{box.prefix}-{name}", default_spec(args), Rootfs(lower=(str(box.rootfs),))
    )
    return run(request, stdin=0, stdout=1, stderr=2, runtime_dir=folder)


def test_clients_that_race_start_one_launcher(box: Box, own_dir: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLIENT, os.getcwd(), str(box.rootfs), str(own_dir), identifier],
            stdin=subprocess.DEVNULL,
        )
        for identifier in (f"{box.prefix}-race-{n}" for n in range(8))
    ]
    assert [process.wait(120) for process in processes] == [0] * 8
    assert len(launchers(own_dir)) == 1


def test_stopping_waits_and_can_be_repeated(box: Box, own_dir: Path) -> None:
    stop_launcher(own_dir)
    assert start(box, own_dir, "true").wait(60) == 0
    (pid,) = launchers(own_dir)
    stop_launcher(own_dir)
    # Its last fork may still have its name.
    assert pid not in launchers(own_dir)
    eventually(lambda: not launchers(own_dir))
    stop_launcher(own_dir)
    assert start(box, own_dir, "true").wait(60) == 0


def test_containers_outlive_the_launcher(box: Box, own_dir: Path) -> None:
    container = start(box, own_dir, "sh", "-c", "sleep 0.8; exit 5")
    (pid,) = launchers(own_dir)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not launchers(own_dir))
    second = start(box, own_dir, "true", name="second")
    assert second.wait(60) == 0
    assert container.wait(60) == 5


def children(parent: int) -> list[int]:
    """The processes that a process forked and that live; none if it has ended."""
    try:
        listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in listed]


def shims(launcher: int) -> list[int]:
    """A launcher's children but for those that only sweep, which are soon gone."""
    found = []
    for child in children(launcher):
        with suppress(OSError):
            if Path(f"/proc/{child}/comm").read_text() == "lading-shim\n":
                found.append(child)
    return found


def test_spares_die_with_the_launcher(box: Box, own_dir: Path) -> None:
    assert start(box, own_dir, "true").wait(60) == 0
    (pid,) = launchers(own_dir)

    everybody: list[int] = []

    def are_all_there() -> bool:
        """The one whose container has ended, and one that was forked, each with its embryo."""
        spares = shims(pid)
        everybody[:] = [*spares, *(embryo for spare in spares for embryo in children(spare))]
        return len(spares) == 2 and all(map(children, spares)) and len(everybody) == 4

    eventually(are_all_there)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(Path(f"/proc/{one}").exists() for one in everybody))


def test_a_killed_spare_is_replaced(box: Box, own_dir: Path) -> None:
    assert start(box, own_dir, "true").wait(60) == 0
    (pid,) = launchers(own_dir)
    killed: set[int] = set()
    for _ in range(3):
        time.sleep(0.2)
        eventually(lambda: set(shims(pid)) - killed)
        victim = min(set(shims(pid)) - killed)
        os.kill(victim, signal.SIGKILL)
        killed.add(victim)
    assert start(box, own_dir, "true").wait(60) == 0


def test_an_idle_launcher_leaves(box: Box, own_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LADING_LAUNCHER_IDLE", "0.3")
    container = start(box, own_dir, "sleep", "2")
    eventually(lambda: not launchers(own_dir))
    assert not (own_dir / client.SOCKET_NAME).exists()
    assert container.wait(60) == 0
    for _ in range(4):
        assert start(box, own_dir, "true").wait(60) == 0
        time.sleep(0.28)


def test_a_launcher_of_older_code_is_replaced(box: Box, own_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "code"
    house = Path(client.__file__).parent.parent
    for name in ("runtime", "records"):
        shutil.copytree(house / name, copy / name)

    def call(name: str) -> int:
        identifier = f"{box.prefix}-{name}"
        command = [sys.executable, "-c", CLIENT, str(copy), str(box.rootfs), str(own_dir)]
        command.append(identifier)
        return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode

    assert call("one") == 0
    before = launchers(own_dir)
    assert call("two") == 0
    assert launchers(own_dir) == before
    os.utime(copy / "runtime/shim.py")
    assert call("three") == 0
    # The old one's last fork may still have its name.
    eventually(lambda: len(launchers(own_dir)) == 1)
    assert launchers(own_dir) != before


def test_a_socket_left_by_a_crash_is_replaced(box: Box, own_dir: Path) -> None:
    assert start(box, own_dir, "true").wait(60) == 0
    (pid,) = launchers(own_dir)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not launchers(own_dir))
    assert (own_dir / client.SOCKET_NAME).exists()
    assert start(box, own_dir, "true").wait(60) == 0


def test_a_directory_of_somebody_else_is_refused(box: Box, own_dir: Path) -> None:
    own_dir.mkdir(mode=0o777)
    own_dir.chmod(0o777)
    with pytest.raises(RuntimeFault, match="others can write"):
        start(box, own_dir, "true")
    own_dir.chmod(0o700)
    os.chown(own_dir, 65534, 65534)
    with pytest.raises(RuntimeFault, match="belongs to somebody else"):
        start(box, own_dir, "true")


def test_a_long_directory_name_is_no_obstacle(box: Box, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120) / "run"
    try:
        assert start(box, folder, "true").wait(60) == 0
    finally:
        stop_launcher(folder)


def test_a_client_that_says_nothing_or_nonsense_does_no_harm(box: Box, own_dir: Path) -> None:
    assert start(box, own_dir, "true").wait(60) == 0
    for data in (b"", b"\0\0\0\2{}", b"\xff" * 8, b"\0\0\0\5hello"):
        connection = client._connect(own_dir)
        assert connection is not None
        with connection:
            connection.sendall(data)
    silent = client._connect(own_dir)
    assert silent is not None
    with silent:
        assert start(box, own_dir, "true").wait(60) == 0


def test_twenty_at_once(box: Box, own_dir: Path) -> None:
    containers = [start(box, own_dir, "sh", "-c", f"exit {n}", name=f"c{n}") for n in range(20)]
    assert [container.wait(60) for container in containers] == list(range(20))


def test_the_client_is_light() -> None:
    program = (
        "import sys; sys.path.insert(0, '.'); import runtime.client; "
        "heavy = {'asyncio', 'subprocess', 'ctypes', 'tarfile', 'shutil', 'logging', 'tempfile'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_launcher_needs_nothing_but_the_standard_library() -> None:
    program = (
        "import sys; sys.path.insert(0, '.'); import runtime.launcher, runtime.shim; "
        "own = {name.partition('.')[0] for name in sys.modules};"
        "own -= {'runtime', 'records', '__main__'};"
        "print(sorted(own - set(sys.stdlib_module_names)), 'asyncio' in own)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[] False\n"


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        ("runtime.detach", "signal typing re enum json socket collections contextlib"),
        ("runtime.launcher, runtime.shim, runtime.rehearsal", "dataclasses inspect platform"),
        ("runtime.launcher, runtime.shim, runtime.rehearsal", "traceback pathlib subprocess"),
    ],
)
def test_what_a_client_may_wait_for_loads_little(modules: str, unwanted: str) -> None:
    program = (
        f"import sys; sys.path.insert(0, '.'); import {modules}; "
        "print(sorted(set(sys.argv[1:]) & set(sys.modules)))"
    )
    command = [sys.executable, "-I", "-S", "-c", program, *unwanted.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
