"""What is made ahead of a container: it is used again, never seen, and never left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.client import Container, ContainerRequest, Rootfs, run, stop_launcher
from runtime.spec import Mount, default_spec
from tests.runtime.conftest import Box, processes_of
from tests.waiting import eventually

pytestmark = pytest.mark.root

GROUPS = "/sys/fs/cgroup"


@pytest.fixture
def own_dir(tmp_path: Path) -> Iterator[Path]:
    """A run-time directory of this test alone."""
    folder = tmp_path / "run"
    yield folder
    stop_launcher(folder)


def ours(folder: Path, *names: str) -> dict[int, str]:
    """Pids and names of the processes that serve ``folder``."""
    found = processes_of(folder)
    return {pid: name for pid, name in found.items() if not names or name in names}


def start(box: Box, folder: Path, name: str, *args: str, network: str = "none") -> Container:
    for part in ("upper", "work"):
        (box.folder / name / part).mkdir(parents=True)
    upper, work = str(box.folder / name / "upper"), str(box.folder / name / "work")
    request = ContainerRequest(
        f"{box.prefix}-{name}",
        default_spec(args, network=network),
        Rootfs((str(box.rootfs),), upper, work, volatile=True),
        network=network,
    )
    return run(request, stdin=0, stdout=1, stderr=2, runtime_dir=folder)


def groups(prefix: str) -> list[str]:
    """Control groups of containers whose id begins with ``prefix``."""
    return [str(path) for path in Path(GROUPS).glob(f"*/lading/{prefix}*")]


def links() -> dict[int, str]:
    """This machine's network links by their indexes."""
    found = {}
    for link in Path("/sys/class/net").iterdir():
        with suppress(OSError):
            found[int((link / "ifindex").read_text())] = link.name
    return found


def links_of(folder: Path) -> set[str]:
    """The links by which the waiting containers of ``folder`` are connected."""
    own, said = os.readlink("/proc/self/ns/net"), ""
    for pid in ours(folder, "lading-embryo"):
        # It is born in our namespace, and may be gone by now.
        with suppress(OSError, subprocess.CalledProcessError):
            if os.readlink(f"/proc/{pid}/ns/net") != own:
                command = ["nsenter", "-t", str(pid), "-n"]
                command += ["ip", "-o", "link", "show", "type", "veth"]
                said += subprocess.run(command, capture_output=True, text=True, check=True).stdout
    indexes = links()
    numbers = map(int, re.findall(r"@if(\d+):", said))
    return {indexes[number] for number in numbers if number in indexes}


def test_shims_are_used_again_and_keep_no_descriptor(box: Box, own_dir: Path) -> None:
    def descriptors() -> dict[int, int]:
        found = {}
        for pid in ours(own_dir, "lading-shim"):
            # One that nobody needs goes after a while.
            with suppress(FileNotFoundError, ProcessLookupError):
                found[pid] = len(os.listdir(f"/proc/{pid}/fd"))
        return found

    def run_some(first: int, count: int) -> dict[int, int]:
        for number in range(first, first + count):
            network = "bridge" if number % 2 else "none"
            assert start(box, own_dir, f"n{number}", "true", network=network).wait(60) == 0
        eventually(lambda: len(ours(own_dir, "lading-embryo")) == len(ours(own_dir, "lading-shim")))
        return descriptors()

    before = run_some(0, 8)
    after = run_some(8, 16)
    assert len(after) <= 4
    assert set(before) & set(after)
    # One more where the next container's place on a bridge is ready; more while it is being made.
    eventually(lambda: max(descriptors().values()) <= max(before.values()) + 1)


def test_nothing_is_left_when_the_launcher_goes(box: Box, own_dir: Path) -> None:
    for number in range(6):
        assert start(box, own_dir, f"n{number}", "true", network="bridge").wait(60) == 0
    connected: set[str] = set()

    def is_connected() -> bool:
        connected.update(links_of(own_dir))
        return bool(connected)

    eventually(is_connected)
    spares = [path.name for path in (own_dir / "containers").iterdir()]
    stop_launcher(own_dir)
    eventually(lambda: not ours(own_dir))
    assert not list((own_dir / "containers").iterdir())
    assert not [name for spare in spares for name in groups(spare)]
    eventually(lambda: not connected.intersection(links().values()))


def has_ended(pid: int) -> bool:
    """Whether a process closed its files; it has no command line any more before that (proc(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


@pytest.mark.parametrize("victim", ["lading-shim", "lading-embryo", "lading-launch"])
def test_a_killed_spare_leaves_nothing_for_the_next_start(
    box: Box, own_dir: Path, victim: str
) -> None:
    assert start(box, own_dir, "first", "true", network="bridge").wait(60) == 0
    eventually(lambda: len(ours(own_dir, "lading-embryo")) == 2)
    spares = {path.name for path in (own_dir / "containers").iterdir()}
    victims = ours(own_dir, victim)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: all(map(has_ended, victims)))
    assert start(box, own_dir, "second", "true", network="bridge").wait(60) == 0
    if victim == "lading-embryo":
        # Their shims learn of it from the next client that they take.
        stop_launcher(own_dir)
    else:
        eventually(lambda: not spares.intersection(os.listdir(own_dir / "containers")))
        eventually(lambda: not [name for spare in spares for name in groups(spare)])


def test_a_container_of_a_killed_shim_is_swept(box: Box, own_dir: Path) -> None:
    container = start(box, own_dir, "victim", "sleep", "60", network="bridge")
    box.started.append(container)
    shim = int(Path(f"/proc/{container.pid}/stat").read_text().rpartition(")")[2].split()[1])
    identifier = f"{box.prefix}-victim"
    assert groups(identifier)
    os.kill(shim, signal.SIGKILL)
    eventually(lambda: not groups(identifier))
    eventually(lambda: not (own_dir / "containers" / identifier).exists())
    assert not list((box.folder / "victim").glob(".stubs-*"))
    assert not box.folder.joinpath("victim", "work", "work", "incompat").exists()


def test_the_id_of_a_dead_shim_is_free_again(box: Box, own_dir: Path) -> None:
    remains = own_dir / "containers" / f"{box.prefix}-again"
    remains.mkdir(parents=True)
    (remains / "lock").touch()
    (remains / "rootfs").mkdir()
    own_dir.chmod(0o700)
    assert start(box, own_dir, "again", "true").wait(60) == 0
    assert not remains.exists()


def test_furniture_is_left_out_where_it_does_not_fit(box: Box) -> None:
    script = "stat -c %a /dev/null /dev/shm; ls -d /dev/own; head -c1 /proc/keys | wc -c"
    plain = box.sh(script)
    own = box.sh(script, mounts=[Mount("/dev/own", "tmpfs", "tmpfs", ("mode=700",))])
    assert plain.out.split() == ["666", "1777", "0"]
    assert own.out.split() == ["666", "1777", "/dev/own", "0"]
    assert "No such file" in plain.err
    assert own.err == ""


def test_a_container_after_another_is_fresh(box: Box) -> None:
    spoil = "touch /dev/shm/x /dev/y /dev/mqueue/z; hostname spoilt 2>&1; ls -A /dev/shm"
    assert box.sh(spoil).out.split()[-1] == "x"
    look = box.sh("ls -A /dev/shm /dev/mqueue; ls /dev/y; hostname", hostname="fresh")
    assert "x" not in look.out.split()
    assert "z" not in look.out.split()
    assert look.out.split()[-1] == "fresh"


def test_files_of_etc_are_made_anew(box: Box) -> None:
    box.sh("for name in hosts hostname resolv.conf; do chmod 666 /etc/$name; done")
    assert box.sh("stat -c %a /etc/hosts /etc/hostname /etc/resolv.conf").out.split() == ["644"] * 3


@pytest.mark.soak
def test_five_hundred_containers_leave_nothing(box: Box, own_dir: Path) -> None:
    before, resident = set(links().values()), 0
    for number in range(500):
        network = ("none", "bridge", "bridge", "host")[number % 4]
        assert start(box, own_dir, f"n{number}", "true", network=network).wait(60) == 0
        if number == 100:
            resident = sum(map(private_memory, ours(own_dir, "lading-shim")))
    assert len(ours(own_dir, "lading-shim")) <= 4
    assert sum(map(private_memory, ours(own_dir, "lading-shim"))) < 1.5 * resident
    assert not groups(f"{box.prefix}-")
    stop_launcher(own_dir)
    eventually(lambda: not ours(own_dir))
    assert not list((own_dir / "containers").iterdir())
    assert str(own_dir) not in Path("/proc/self/mountinfo").read_text()
    eventually(
        lambda: not [name for name in set(links().values()) - before if name.startswith("lv")]
    )


def private_memory(pid: int) -> int:
    """Kilobytes that only this process has."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
