"""One test per known way out of a container: the attack runs, and the host does not notice."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.client import Rootfs, RuntimeFault, run
from runtime.spec import Mount, Resources
from tests.runtime.conftest import Box, Outcome, processes_of

pytestmark = pytest.mark.root
Inside = Callable[..., Outcome]

AT_FDCWD, RENAME_EXCHANGE = -100, 2
INTERPRETER = Path(os.path.realpath(sys.executable))


def symlink_layer(folder: Path, **links: str) -> str:
    """A layer of symbolic links; double underscores stand for slashes."""
    folder.mkdir()
    for name, target in links.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    return str(folder)


def processes_named(box: Box, *names: str) -> list[int]:
    """Those of our launcher; the first process of another's may become a container meanwhile."""
    return [pid for pid, name in processes_of(box.runtime_dir).items() if name in names]


def refused(outcome: Outcome) -> None:
    """Busy while the launcher runs it, and read-only even when nobody does."""
    *opens, chmod = outcome.out.split()
    assert len(opens) == 3, outcome.err
    assert set(opens) <= {"EROFS", "ETXTBSY"}
    assert chmod == "EROFS"


class TestInterpreterOverwrite:
    """CVE-2019-5736: what /proc/self/exe leads to must not be writable."""

    SCRIPT = """
import errno, os
for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
    try:
        os.open("/proc/self/exe", flags)
        print("opened")
    except OSError as error:
        print(errno.errorcode[error.errno])
try:
    os.chmod("/proc/self/exe", 0o777)
    print("changed")
except OSError as error:
    print(errno.errorcode[error.errno])
"""

    @pytest.mark.parametrize("entry", ["/proc/self/exe", "/link"])
    def test_entry_point_is_our_own_interpreter(
        self, inside: Inside, tmp_path: Path, entry: str
    ) -> None:
        layer = symlink_layer(tmp_path / "layer", link="/proc/self/exe")
        before = hashlib.sha256(INTERPRETER.read_bytes()).digest()
        environment = [f"PYTHONHOME={sys.base_prefix}"]
        outcome = inside(self.SCRIPT, args=(entry, "-c"), lower=(layer,), env=environment)
        refused(outcome)
        assert hashlib.sha256(INTERPRETER.read_bytes()).digest() == before

    def test_shebang_of_proc_self_exe(self, inside: Inside, tmp_path: Path) -> None:
        script = tmp_path / "layer/entry"
        script.parent.mkdir()
        script.write_text(f"#!/proc/self/exe\n{self.SCRIPT}")
        script.chmod(0o755)
        outcome = inside(
            "ignored",
            args=("/entry",),
            lower=(str(script.parent),),
            env=[f"PYTHONHOME={sys.base_prefix}"],
        )
        refused(outcome)

    def test_processes_of_ours_on_the_host(self, box: Box, inside: Inside) -> None:
        inside("pass")
        pids = processes_named(box, "lading-launch", "lading-shim", "lading-embryo")
        assert pids
        script = f"""
import os
for pid in {pids}:
    for name in ("exe", "fd/3", "root", "cwd", "mem"):
        try:
            os.open(f"/proc/{{pid}}/{{name}}", os.O_RDWR if name in ("exe", "mem") else os.O_RDONLY)
            print("opened", pid, name)
        except OSError:
            pass
"""
        assert inside(script, host_namespaces=["pid"]).out == ""

    def test_launcher_runs_from_a_read_only_mount(self, box: Box) -> None:
        box.run("true")
        for pid in processes_named(box, "lading-launch"):
            # Its forks have its name for a moment and may be gone by now.
            with suppress(FileNotFoundError, ProcessLookupError):
                assert os.statvfs(f"/proc/{pid}/exe").f_flag & os.ST_RDONLY


class TestLeakedDescriptors:
    """CVE-2024-21626: no descriptor of the host, and no working directory through one."""

    @pytest.mark.parametrize("number", range(3, 21))
    def test_working_directory_through_a_descriptor(self, box: Box, number: int) -> None:
        with pytest.raises(RuntimeFault, match="working directory"):
            box.run("pwd", cwd=f"/proc/self/fd/{number}")

    def test_image_links_to_a_descriptor(self, box: Box, tmp_path: Path) -> None:
        layer = symlink_layer(tmp_path / "layer", way="/proc/self/fd/7")
        with pytest.raises(RuntimeFault, match="working directory"):
            box.run("pwd", cwd="/way", lower=(layer,))

    def test_only_the_standard_streams_are_open(self, inside: Inside) -> None:
        reader, writer = os.pipe()
        os.set_inheritable(writer, True)
        outcome = inside("import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))")
        os.close(reader)
        os.close(writer)
        assert outcome.out in ("[0, 1, 2, 3]\n", "[0, 1, 2]\n")

    def test_current_directory_of_the_first_process_is_inside(self, inside: Inside) -> None:
        script = "import os; print(os.readlink('/proc/1/cwd'), os.readlink('/proc/1/root'))"
        assert inside(script).out == "/ /\n"


def test_mount_point_swapped_for_a_link_while_starting(box: Box, tmp_path: Path) -> None:
    """CVE-2021-30465: two containers share a volume; one swaps a directory for a link."""
    volume, host = tmp_path / "volume", tmp_path / "host"
    (volume / "target").mkdir(parents=True)
    host.mkdir()
    (volume / "link").symlink_to("/" + "../" * 12 + str(host).lstrip("/"))
    stop = threading.Event()
    libc = ctypes.CDLL(None)

    def exchange() -> None:
        names = [os.fsencode(volume / name) for name in ("target", "link")]
        while not stop.is_set():
            libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(25):
            mounts = [
                Mount("/volume", "bind", str(volume), ("rbind",)),
                Mount("/volume/target", "tmpfs"),
            ]
            try:
                box.sh("touch /volume/target/mark", mounts=mounts)
            except RuntimeFault as fault:
                assert fault.code == "mount-refused"  # noqa: PT017
            assert not list(host.iterdir())
    finally:
        stop.set()
        thread.join()
    assert str(host) not in Path("/proc/self/mountinfo").read_text()


def test_masks_do_not_come_from_the_images_null_device(box: Box, tmp_path: Path) -> None:
    """CVE-2025-31133: /dev/null of the image is a link to /proc/sys/kernel/core_pattern."""
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    layer = symlink_layer(tmp_path / "layer", dev__null="/proc/sys/kernel/core_pattern")
    outcome = box.sh(
        "stat -c %t:%T /proc/keys /proc/timer_list; echo '|/evil' > /proc/keys; "
        "grep evil /proc/sys/kernel/core_pattern; ls -l /dev/null",
        lower=(layer,),
    )
    assert outcome.out.startswith("1:3\n1:3\n")
    assert "evil" not in outcome.out
    assert outcome.out.splitlines()[-1].startswith("crw-rw-rw-")
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_console_is_the_terminal_whatever_the_image_says(box: Box, tmp_path: Path) -> None:
    """CVE-2025-52565: /dev/console and /dev/pts/0 of the image are links into /proc."""
    links = {
        "dev__console": "/proc/sys/kernel/core_pattern",
        "dev__pts__0": "/proc/sys/kernel/core_pattern",
        "dev__ptmx": "/proc/sysrq-trigger",
    }
    layer = symlink_layer(tmp_path / "layer", **links)
    outcome = box.sh("stat -c '%F %t' /dev/console; tty", lower=(layer,), terminal=True)
    assert outcome.out == "character special file 88\r\n/dev/pts/0\r\n"


class TestProcfsRedirect:
    """CVE-2019-16884, CVE-2019-19921, CVE-2025-52881: writes must reach the real procfs."""

    @pytest.mark.parametrize("kind", ["tmpfs", "bind"])
    @pytest.mark.parametrize(
        "destination", ["/proc", "/proc/sys", "/proc/self/attr", "/proc/1/../sys", "/proc/../proc"]
    )
    def test_nothing_may_cover_proc(
        self, box: Box, tmp_path: Path, kind: str, destination: str
    ) -> None:
        mount = Mount(destination, kind, str(tmp_path) if kind == "bind" else "", ("rbind",))
        with pytest.raises(RuntimeFault) as caught:
            box.run("true", mounts=[mount])
        assert caught.value.code == "mount-refused"

    @pytest.mark.parametrize(
        "target", ["/proc", "/proc/self", "../../../../proc/1", "/proc/../proc"]
    )
    def test_not_through_a_link_of_the_image_either(
        self, box: Box, tmp_path: Path, target: str
    ) -> None:
        layer = symlink_layer(tmp_path / "layer", way=target)
        with pytest.raises(RuntimeFault) as caught:
            box.run("true", lower=(layer,), mounts=[Mount("/way/attr", "tmpfs")])
        assert caught.value.code == "mount-refused"

    def test_single_files_may_be_covered(self, box: Box, tmp_path: Path) -> None:
        (tmp_path / "cpuinfo").write_text("one\n")
        mount = Mount("/proc/cpuinfo", "bind", str(tmp_path / "cpuinfo"), ("bind", "ro"))
        assert box.run("cat", "/proc/cpuinfo", mounts=[mount]).out == "one\n"

    def test_the_root_cannot_be_covered(self, box: Box, tmp_path: Path) -> None:
        layer = symlink_layer(tmp_path / "layer", way="/")
        for destination in ("/", "/way", "/bin/..", "/proc/../.."):
            with pytest.raises(RuntimeFault) as caught:
                box.run("true", lower=(layer,), mounts=[Mount(destination, "tmpfs")])
            assert caught.value.code == "mount-refused"


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
def test_standard_mount_points_may_not_be_links(box: Box, tmp_path: Path, name: str) -> None:
    """CVE-2026-41579, CVE-2026-47766: /dev of the image is a link to a directory of the host."""
    host = tmp_path / "host"
    host.mkdir()
    layer = symlink_layer(tmp_path / "layer", **{name: "../" * 12 + str(host).lstrip("/")})
    with pytest.raises(RuntimeFault, match="symbolic link is in the way") as caught:
        box.run("true", lower=(layer,))
    assert caught.value.code == "mount-refused"
    assert not list(host.iterdir())


def test_device_paths_cannot_leave_dev(box: Box, tmp_path: Path) -> None:
    from runtime.spec import Device

    for path in ("/dev/../etc/evil", "/dev/..", "/dev/x/../../evil"):
        with pytest.raises(RuntimeFault):
            box.run("true", devices=[Device(path, "c", 1, 3)])
    outcome = box.run("ls", "-l", "/dev/net/tun", devices=[Device("/dev/net/tun", "c", 10, 200)])
    assert "10, 200" in outcome.out


def test_working_directory_is_made_inside(box: Box, tmp_path: Path) -> None:
    """CVE-2026-55686: WORKDIR /a/b where /a is a link to a directory of the host."""
    host = tmp_path / "host"
    host.mkdir()
    layer = symlink_layer(tmp_path / "layer", a=str(host), b="../" * 12 + str(host).lstrip("/"))
    for cwd in ("/a/made", "/b/made"):
        with pytest.raises(RuntimeFault, match="leads nowhere"):
            box.run("pwd", cwd=cwd, lower=(layer,))
    (box.upper / str(host).lstrip("/")).mkdir(parents=True)
    assert box.run("pwd", cwd="/a/made", lower=(layer,)).out == f"{host}/made\n"
    assert not list(host.iterdir())


def test_other_users_of_the_host_cannot_reach_our_state(box: Box) -> None:
    """CVE-2021-41091: a setuid file left in a data directory must be out of reach."""
    container = box.start(box.request(["sleep", "30"]))
    assert stat.S_IMODE(box.runtime_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((box.runtime_dir / "containers").stat().st_mode) == 0o700
    child = os.fork()
    if child == 0:
        os.setresuid(65534, 65534, 65534)
        with socket.socket(socket.AF_UNIX) as client:
            code = client.connect_ex(str(box.runtime_dir / "launcher.sock"))
        os._exit(0 if code == errno.EACCES else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    container.close()


def test_sockets_are_not_reachable_through_the_hosts_network(box: Box) -> None:
    """CVE-2020-15257: an abstract socket would be open to any container with the host's network."""
    out = box.run("cat", "/proc/net/unix", network="host").out
    assert not [line for line in out.splitlines() if "@" in line and "lading" in line]


def test_inheritable_and_ambient_capabilities_are_empty(box: Box) -> None:
    """CVE-2022-24769, CVE-2022-27649, CVE-2022-27650."""
    out = box.sh("cat /proc/self/status").out
    sets = dict(line.split(":\t") for line in out.splitlines() if line.startswith("Cap"))
    assert sets["CapInh"] == sets["CapAmb"] == "0" * 16
    assert sets["CapBnd"] == sets["CapEff"] == sets["CapPrm"] == "00000000a80425fb"
    out = box.sh("cat /proc/self/status", request={"user": "bob"}).out
    sets = dict(line.split(":\t") for line in out.splitlines() if line.startswith("Cap"))
    assert sets["CapEff"] == sets["CapPrm"] == sets["CapInh"] == "0" * 16


def test_supplementary_groups_are_replaced(box: Box, tmp_path: Path) -> None:
    """CVE-2022-36109, CVE-2022-2989: what a group may not read stays closed to its members."""
    secret = tmp_path / "layer/negative"
    secret.parent.mkdir()
    secret.write_text("open to everybody but the group")
    secret.chmod(0o604)
    os.chown(secret, 0, 50)
    lower = (str(secret.parent),)
    assert box.run("cat", "/negative", lower=lower, request={"user": "bob"}).code != 0
    assert box.run("cat", "/negative", lower=lower, request={"user": "1000:7"}).code == 0
    out = box.sh("grep Groups /proc/self/status", request={"user": "1000:7"}).out
    assert out.split() == ["Groups:", "7"]


@pytest.mark.parametrize(
    "user", ["-1", "4294967295", "99999999999", "1:-1", "bob:4294967296", "\n"]
)
def test_odd_users_are_refused(box: Box, user: str) -> None:
    """CVE-2026-30892 and 4294967295, which setresuid takes as "unchanged" and would stay root."""
    with pytest.raises(RuntimeFault) as caught:
        box.run("id", request={"user": user})
    assert caught.value.code == "user-unknown"


def test_account_files_that_block(box: Box, tmp_path: Path) -> None:
    """CVE-2024-9676: /etc/passwd is a FIFO, a device or endless."""
    layer = tmp_path / "layer/etc"
    layer.mkdir(parents=True)
    for make in (
        lambda path: os.mkfifo(path),
        lambda path: os.mknod(path, stat.S_IFCHR | 0o644, os.makedev(1, 5)),
        lambda path: os.mkdir(path),
        lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 40),
    ):
        make(layer / "passwd")
        with pytest.raises(RuntimeFault, match="passwd"):
            box.run("id", request={"user": "bob"}, lower=(str(layer.parent),))
        subprocess.run(["rm", "-rf", str(layer / "passwd")], check=True)


def test_no_terminal_of_the_host_is_in_reach(box: Box) -> None:
    """TIOCSTI: a program with our terminal could type commands into it."""
    outcome = box.sh("cat < /dev/tty; ps -o pid,sid 2>/dev/null; cut -d' ' -f6,7 /proc/1/stat")
    assert "No such device" in outcome.err or "can't open" in outcome.err
    assert outcome.out.splitlines()[-1] == "1 0"


def test_nothing_of_our_environment_reaches_the_container(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2020-14370, CVE-2021-3602."""
    for name in ("DOCKER_HOST", "HTTP_PROXY", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD_X"):
        monkeypatch.setenv(name, "leak")
    out = box.sh("env; cat /proc/*/environ | tr '\\0' '\\n'", hostname="box").out
    names = {line.partition("=")[0] for line in out.splitlines() if "=" in line}
    assert names <= {"PATH", "HOME", "HOSTNAME", "SHLVL", "PWD", "OLDPWD", "_"}
    for pid in processes_named(box, "lading-launch"):
        # Its forks have its name for a moment and may be gone by now.
        with suppress(FileNotFoundError, ProcessLookupError):
            assert b"leak" not in Path(f"/proc/{pid}/environ").read_bytes()


BOMB = "bomb() { bomb | bomb & }; bomb & exec sleep 600"
"""Its first process forks once, before there are many: a shell that cannot fork ends."""


def await_explosion(box: Box) -> None:
    deadline = time.monotonic() + 60
    while "can't fork" not in box.outcome(0).err:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_fork_bomb_stays_in_its_box_and_dies(box: Box) -> None:
    request = box.request(["sh", "-c", BOMB], resources=Resources(pids_limit=40))
    container = box.start(request)
    await_explosion(box)
    assert subprocess.run(["true"], check=False).returncode == 0
    container.kill(9)
    assert container.wait(60) == 137
    assert not list(Path("/sys/fs/cgroup").glob(f"*/lading/{request.id}"))


def test_a_fork_bomb_in_the_hosts_pid_namespace_dies_too(box: Box) -> None:
    request = box.request(
        ["sh", "-c", BOMB], resources=Resources(pids_limit=40), host_namespaces=["pid"]
    )
    container = box.start(request)
    await_explosion(box)
    container.kill(9)
    assert container.wait(60) == 137
    assert not list(Path("/sys/fs/cgroup").glob(f"*/lading/{request.id}"))


def test_a_reader_that_never_reads_does_not_stop_the_shim(box: Box) -> None:
    """CVE-2025-64329: output nobody takes must not hold up signals."""
    reader, writer = os.pipe()
    request = box.request(["sh", "-c", "while :; do echo flood; done"], terminal=True)
    container = run(
        request, stdin=0, stdout=writer, stderr=2, terminal=True, runtime_dir=box.runtime_dir
    )
    time.sleep(0.3)
    container.kill(9)
    assert container.wait(60) == 137
    os.close(reader)
    os.close(writer)


def test_privileged_is_what_we_hold_and_no_more(box: Box) -> None:
    out = box.sh(
        "grep CapEff /proc/self/status; grep Seccomp: /proc/self/status", privileged=True
    ).out
    held = Path("/proc/self/status").read_text().split("CapBnd:\t")[1].split()[0]
    assert out.split()[1] == held
    mounted = box.sh(
        "mkdir /m && mount -t tmpfs none /m && echo ok; ls /dev/kmsg",
        privileged=True,
        request={"seccomp": "unconfined"},
    )
    assert mounted.out == "ok\n/dev/kmsg\n"


def test_an_overlay_cannot_be_told_more_through_a_path(box: Box, tmp_path: Path) -> None:
    odd = tmp_path / "a,b:c\\d upperdir=x"
    odd.mkdir()
    (odd / "file").write_text("odd")
    rootfs = Rootfs(lower=(str(odd), str(box.rootfs)))
    assert box.run("cat", "/file", request={"rootfs": rootfs}).out == "odd"
