"""Containers from the outside: exit codes, streams, signals, terminals, and what is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.client import ContainerRequest, Rootfs, RuntimeFault, SecretFile, run
from runtime.spec import Mount, Resources, Rlimit, default_spec
from tests.runtime.conftest import Box, layer, mark
from tests.waiting import eventually

pytestmark = pytest.mark.root


def leftovers(box: Box, identifier: str) -> list[str]:
    """Every trace of a container on the machine."""
    found = [str(path) for path in box.runtime_dir.glob(f"containers/{identifier}*")]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/lading/{identifier}*")]
    found += [str(path) for path in box.folder.glob(".stubs-*")]
    mounts = Path("/proc/self/mountinfo").read_text()
    found += [line for line in mounts.splitlines() if identifier in line]
    return found


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code_is_the_programs(box: Box, code: int) -> None:
    assert box.sh(f"exit {code}").code == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_death_by_signal_is_128_and_its_number(box: Box, number: signal.Signals) -> None:
    # The first process ignores default-action signals of its own, so a child dies instead.
    assert box.sh(f"sh -c 'kill -{int(number)} $$'; exit $?").code == 128 + number


def test_signals_from_the_client_arrive(box: Box) -> None:
    container = box.start(
        box.request(["sh", "-c", "trap 'exit 7' USR1; echo up; while :; do sleep 0.05; done"])
    )
    eventually(lambda: "up" in box.outcome(0).out)
    container.kill(signal.SIGUSR1)
    assert container.wait(60) == 7
    again = box.start(box.request(["sleep", "60"]))
    again.kill(signal.SIGTERM)
    with pytest.raises(TimeoutError):
        again.wait(0.3)
    again.kill(signal.SIGKILL)
    assert again.wait(60) == 137
    assert again.wait() == 137


def test_streams_are_the_callers_own(box: Box, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("some input\n")
    with (tmp_path / "in").open() as source:
        container = box.start(
            box.request(["sh", "-c", "cat; echo problem >&2"]), stdin=source.fileno()
        )
        assert container.wait(60) == 0
    outcome = box.outcome(0)
    assert (outcome.out, outcome.err) == ("some input\n", "problem\n")


def test_a_pipe_ends_when_the_container_does(box: Box) -> None:
    reader, writer = os.pipe()
    request = box.request(["sh", "-c", "echo one; exec sleep 0.2"])
    container = run(request, stdin=0, stdout=writer, stderr=2, runtime_dir=box.runtime_dir)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "one\n"
    assert container.wait(60) == 0


@pytest.mark.parametrize(
    ("args", "what", "code", "exit_code"),
    [
        (
            ["nowhere"],
            'exec: "nowhere": executable file not found in $PATH',
            "command-not-found",
            127,
        ),
        (
            ["/bin/nowhere"],
            'exec: "/bin/nowhere": stat /bin/nowhere: no such file or directory',
            "command-not-found",
            127,
        ),
        (["plain"], 'exec: "plain": executable file not found in $PATH', "command-not-found", 127),
        (["/bin/plain"], 'exec: "/bin/plain": permission denied', "command-not-executable", 126),
        (["/tmp"], 'exec: "/tmp": is a directory', "command-not-executable", 126),
        ([""], 'exec: "": executable file not found in $PATH', "command-not-found", 127),
    ],
)
def test_exec_errors_have_dockers_words(
    box: Box, args: list[str], what: str, code: str, exit_code: int
) -> None:
    with pytest.raises(RuntimeFault) as caught:
        box.run(*args)
    assert (caught.value.what, caught.value.code, caught.value.exit_code) == (what, code, exit_code)
    assert not leftovers(box, box.prefix)


def test_a_missing_interpreter_is_explained(box: Box, tmp_path: Path) -> None:
    script = tmp_path / "layer/bin/script"
    script.parent.mkdir(parents=True)
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(RuntimeFault, match="no such file or directory") as caught:
        box.run("/bin/script", lower=(str(tmp_path / "layer"),))
    assert caught.value.code == "command-not-found"
    assert "interpreter" in (caught.value.fix or "")


def test_unknown_users_are_named(box: Box) -> None:
    with pytest.raises(RuntimeFault, match="unable to find user nobody2") as caught:
        box.run("id", request={"user": "nobody2"})
    assert caught.value.code == "user-unknown"


def test_environment_follows_docker(box: Box) -> None:
    out = box.run("env", env=["A=1", "A=2", "PATH=/bin"], hostname="box").out.splitlines()
    assert sorted(out) == ["A=2", "HOME=/root", "HOSTNAME=box", "PATH=/bin"]
    assert "TERM=xterm" in box.run("env", terminal=True, change=as_terminal).out
    assert "HOME=/home/bob" in box.run("env", request={"user": "bob"}).out


def as_terminal(spec):
    return replace(
        spec, process=replace(spec.process, terminal=True, env=(*spec.process.env, "TERM=xterm"))
    )


def test_identity_comes_from_the_image(box: Box) -> None:
    assert (
        "uid=1000(bob) gid=1000(bob) groups=50(staff),1000(bob)"
        in box.run("id", request={"user": "bob"}).out
    )
    assert (
        "uid=1000(bob) gid=10(wheel) groups=10(wheel)\n"
        in box.run("id", request={"user": "bob:wheel"}).out
    )
    assert box.run("id", request={"user": "1234"}).out == "uid=1234 gid=0(root) groups=0(root)\n"
    assert box.run("id", request={"user": "1:2", "group_add": ("staff",)}).out == (
        "uid=1 gid=2 groups=2,50(staff)\n"
    )


def test_first_process_is_pid_one_and_alone(box: Box) -> None:
    out = box.sh("echo $$; ls -d /proc/[0-9]*; hostname; true", hostname="box").out
    assert out.splitlines() == ["1", "/proc/1", "box"]


def test_no_signal_is_ignored_or_blocked(box: Box) -> None:
    out = box.run("grep", "-E", "Sig(Ign|Blk|Cgt)", "/proc/self/status").out
    assert {line.split()[1] for line in out.splitlines()} == {"0" * 16}


def test_working_directory_is_made_and_entered(box: Box) -> None:
    assert box.run("pwd", cwd="/new/place").out == "/new/place\n"
    assert (box.upper / "new/place").is_dir()


def test_nothing_of_ours_stays_in_the_upper_directory(box: Box, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    mounts = [
        Mount("/deep/er/mount", "bind", str(source), ("rbind", "ro")),
        Mount("/etc/one", "bind", "/etc/hostname", ("bind",)),
        Mount("/deep/tmp", "tmpfs"),
    ]
    secret = SecretFile("/run/secrets/key", b"hidden")
    before = os.stat(box.rootfs / "etc").st_mtime_ns
    outcome = box.sh(
        "cat /run/secrets/key && touch /made && ls /deep/er/mount",
        mounts=mounts,
        request={"secrets": (secret,)},
    )
    assert outcome.out == "hidden"
    assert sorted(str(path.relative_to(box.upper)) for path in box.upper.rglob("*")) == ["made"]
    assert os.stat(box.rootfs / "etc").st_mtime_ns == before
    assert not leftovers(box, box.prefix)


def test_stubs_below_a_whiteout_are_removed_again(box: Box, tmp_path: Path) -> None:
    etc = tmp_path / "layer/etc"
    etc.mkdir(parents=True)
    os.mknod(etc / "hosts", 0o020000, os.makedev(0, 0))
    assert box.sh("test -f /etc/hosts", lower=(str(tmp_path / "layer"),)).code == 0
    assert not (box.upper / "etc/hosts").exists()


def test_a_plain_directory_is_left_as_it_was(box: Box, tmp_path: Path) -> None:
    root = tmp_path / "plain"
    subprocess.run(["cp", "-a", str(box.rootfs), str(root)], check=True)
    before = sorted(path.relative_to(root) for path in root.rglob("*"))
    outcome = box.run("true", request={"rootfs": Rootfs(path=str(root))})
    assert outcome.code == 0
    assert sorted(path.relative_to(root) for path in root.rglob("*")) == before


def test_a_hundred_and_thirty_layers(box: Box, tmp_path: Path) -> None:
    lower = tuple(layer(tmp_path / f"{n}:layer,{n}", **{f"f{n}": str(n)}) for n in range(130))
    outcome = box.sh("cat /f0 /f77 /f129", lower=lower)
    assert outcome.out == "077129"


def test_topmost_layer_wins_and_lowers_are_never_written(box: Box, tmp_path: Path) -> None:
    top, bottom = layer(tmp_path / "top", who="top"), layer(tmp_path / "bottom", who="bottom")
    assert box.sh("cat /who; echo changed > /who", lower=(top, bottom)).out == "top"
    assert Path(top, "who").read_text() == "top"
    assert (box.upper / "who").read_text() == "changed\n"


def test_read_only_root(box: Box, tmp_path: Path) -> None:
    outcome = box.sh(
        "touch /x 2>/dev/null || echo no; touch /data/x /dev/shm/x && echo yes",
        read_only=True,
        mounts=[Mount("/data", "bind", layer(tmp_path / "data"), ("rbind",))],
    )
    assert outcome.out == "no\nyes\n"
    rootless_upper = Rootfs(lower=(str(box.rootfs),))
    assert box.sh("touch /x 2>&1", request={"rootfs": rootless_upper}).code != 0


def test_read_only_binds_cover_mounts_below(box: Box, tmp_path: Path) -> None:
    below = tmp_path / "data/below"
    below.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(below)], check=True)
    try:
        outcome = box.sh(
            "touch /data/x 2>/dev/null || echo no; touch /data/below/x 2>/dev/null || echo no",
            mounts=[Mount("/data", "bind", str(tmp_path / "data"), ("rbind", "ro"))],
        )
    finally:
        subprocess.run(["umount", str(below)], check=True)
    assert outcome.out == "no\nno\n"


def test_mounts_made_after_the_launcher_are_seen(box: Box, tmp_path: Path) -> None:
    box.run("true")
    late = tmp_path / "late"
    late.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(late)], check=True)
    try:
        (late / "file").write_text("seen")
        mounts = [Mount("/late", "bind", str(late), ("rbind",))]
        assert box.run("cat", "/late/file", mounts=mounts).out == "seen"
    finally:
        subprocess.run(["umount", str(late)], check=True)


def test_a_client_in_another_mount_namespace_sees_its_own_mounts(box: Box, tmp_path: Path) -> None:
    box.run("true")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from runtime.client import *; from runtime.spec import *\n"
        "spec = default_spec(['cat', '/data/file'], mounts=[Mount('/data', 'bind', sys.argv[2])])\n"
        "request = ContainerRequest(sys.argv[5], spec, Rootfs(lower=(sys.argv[3],)))\n"
        "c = run(request, stdin=0, stdout=1, stderr=2, runtime_dir=Path(sys.argv[4]))\n"
        "sys.exit(c.wait(60))\n"
    )
    script = f'mount -t tmpfs none {tmp_path} && echo inner > {tmp_path}/file && exec "$@"'
    done = subprocess.run(
        [
            *("unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", program),
            *(os.getcwd(), str(tmp_path), str(box.rootfs), str(box.runtime_dir)),
            f"{box.prefix}-other-ns",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("inner\n", 0), done.stderr


def test_overlay_mounts_show_a_subtree_and_keep_writes(box: Box, tmp_path: Path) -> None:
    lower = layer(tmp_path / "stage", app__config="from stage", other="hidden")
    upper, work = layer(tmp_path / "up"), layer(tmp_path / "work")
    options = (f"lowerdir+={lower}", f"upperdir={upper}", f"workdir={work}", "subpath=app")
    outcome = box.sh(
        "ls /mnt; cat /mnt/config; echo x > /mnt/new",
        mounts=[Mount("/mnt", "overlay", "overlay", options)],
    )
    assert outcome.out == "config\nfrom stage"
    assert Path(upper, "app/new").read_text() == "x\n"
    read_only = (f"lowerdir+={lower}", f"lowerdir+={upper}", "ro")
    outcome = box.sh("touch /mnt/x", mounts=[Mount("/mnt", "overlay", "overlay", read_only)])
    assert outcome.code != 0


def test_secrets_have_mode_and_owner_and_no_file_on_disk(box: Box) -> None:
    secret = SecretFile("/run/secrets/key", b"s3cret", 0o440, 1000, 50)
    outcome = box.sh(
        "stat -c '%a %u %g %s' /run/secrets/key; echo x >> /run/secrets/key || echo ro",
        request={"secrets": (secret,)},
    )
    assert outcome.out == "440 1000 50 6\nro\n"
    assert not any(
        b"s3cret" in path.read_bytes() for path in box.folder.rglob("*") if path.is_file()
    )


def test_hosts_hostname_and_resolv_conf(box: Box) -> None:
    outcome = box.sh(
        "cat /etc/hosts /etc/hostname /etc/resolv.conf",
        hostname="box",
        request={"extra_hosts": (("db", "10.0.0.9"),), "dns": ("192.0.2.1",)},
    )
    assert "10.0.0.9\tdb\n" in outcome.out
    assert "\nbox\n" in outcome.out
    assert outcome.out.endswith("nameserver 192.0.2.1\n") or "nameserver 192.0.2.1\n" in outcome.out
    with pytest.raises(RuntimeFault, match="white space"):
        box.run("true", request={"extra_hosts": (("db\n6.6.6.6 evil", "10.0.0.9"),)})


def test_host_network_and_host_pid(box: Box) -> None:
    def namespaces(**options):
        return box.sh(
            "readlink /proc/self/ns/net; readlink /proc/self/ns/pid", **options
        ).out.split()

    ours = [os.readlink(f"/proc/self/ns/{name}") for name in ("net", "pid")]
    own = namespaces()
    assert own[0] != ours[0]
    assert own[1] != ours[1]
    assert namespaces(network="host")[0] == ours[0]
    assert namespaces(host_namespaces=["pid"])[1] == ours[1]


def test_every_process_of_a_host_pid_container_is_killed(box: Box) -> None:
    one, other = mark(1), mark(2)
    request = box.request(
        ["sh", "-c", f"sleep {one} & setsid sleep {other} & sleep 0.3"], host_namespaces=["pid"]
    )
    assert box.start(request).wait(60) == 0
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert f"sleep {one}" not in running.stdout
    assert f"sleep {other}" not in running.stdout
    assert not leftovers(box, request.id)


def test_bridge_network_gets_an_address(box: Box) -> None:
    request = box.request(["sh", "-c", "cat /etc/hosts; ip addr show eth0"], network="bridge")
    request = replace(request, hostname="box")
    container = box.start(request)
    assert container.endpoint is not None
    address = container.endpoint["address"]
    assert container.wait(60) == 0
    out = box.outcome(0).out
    assert f"{address}\tbox" in out
    assert f"inet {address}/" in out


def test_limits_are_in_force(box: Box) -> None:
    limits = Resources(memory_limit=64 << 20, pids_limit=20, cpu_quota=50000, cpu_period=100000)
    outcome = box.sh(
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max "
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us; cat /proc/self/cgroup | cut -d: -f3 | sort -u",
        resources=limits,
    )
    if "No such file" in outcome.err:
        pytest.skip("this machine has no cgroup v1")
    assert outcome.out == f"{64 << 20}\n20\n50000\n/\n"


def test_running_out_of_memory_is_reported(box: Box) -> None:
    request = box.request(
        ["sh", "-c", "head -c 100m /dev/zero | tail > /dev/null"],
        resources=Resources(memory_limit=16 << 20, memory_swap=16 << 20),
    )
    container = box.start(request)
    assert container.wait(60) != 0
    assert container.oom_killed


def test_rlimits_are_clamped_to_what_we_may_give(box: Box) -> None:
    rlimits = [Rlimit("RLIMIT_NOFILE", 1 << 20, 1 << 20), Rlimit("RLIMIT_CORE", 0, 0)]
    outcome = box.sh("ulimit -Hn; ulimit -c", rlimits=rlimits)
    import resource

    hard = min(1 << 20, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    assert int(outcome.out.split()[0]) >= hard
    assert outcome.out.split()[1] == "0"


def test_terminal_is_real_and_relayed(box: Box) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"typed\n")
    request = box.request(
        ["sh", "-c", "tty; stty size; read line; echo got $line; ls -l /dev/console"],
        change=lambda spec: replace(
            as_terminal(spec),
            process=replace(as_terminal(spec).process, console_size=(33, 99)),
        ),
    )
    container = box.start(request, stdin=reader, terminal=True)
    assert container.wait(60) == 0
    out = box.outcome(0).out
    assert "/dev/pts/0\r\n33 99\r\n" in out
    assert "got typed\r\n" in out
    assert "136," in out
    os.close(reader)
    os.close(writer)


def test_resize_reaches_the_program(box: Box) -> None:
    reader, writer = os.pipe()
    request = box.request(
        ["sh", "-c", "trap 'stty size; exit 3' WINCH; echo up; while :; do sleep 0.05; done"],
        change=as_terminal,
    )
    container = box.start(request, stdin=reader, terminal=True)
    eventually(lambda: "up" in box.outcome(0).out)
    container.resize(40, 120)
    assert container.wait(60) == 3
    assert "40 120" in box.outcome(0).out
    os.close(reader)
    os.close(writer)


def test_a_large_output_through_a_terminal_is_whole(box: Box) -> None:
    outcome = box.sh("seq 1 20000", terminal=True, change=as_terminal)
    assert outcome.out.split() == [str(number) for number in range(1, 20001)]


def test_a_busy_id_is_refused_and_free_again_afterwards(box: Box) -> None:
    request = box.request(["sleep", "60"])
    container = box.start(request)
    with pytest.raises(RuntimeFault, match="is running") as caught:
        box.start(request)
    assert caught.value.code == "busy"
    container.kill(signal.SIGKILL)
    container.wait(60)
    again = replace(request, spec=default_spec(["true"]))
    assert box.start(again).wait(60) == 0


def test_a_vanished_client_takes_its_container_along(box: Box) -> None:
    request = box.request(["sh", "-c", f"sleep {mark(3)} & sleep {mark(3)}"])
    container = box.start(request)
    assert leftovers(box, request.id)
    container.close()
    eventually(lambda: not leftovers(box, request.id))
    with pytest.raises(ProcessLookupError):
        os.kill(container.pid, 0)


def test_kill_minus_nine_of_the_client_leaves_nothing(box: Box) -> None:
    seconds = mark(4)
    request = box.request(["sh", "-c", f"sleep {seconds} & echo up; sleep {seconds}"])
    child = os.fork()
    if child == 0:
        try:
            box.start(request)
            signal.pause()
        finally:
            os._exit(1)
    out = box.folder / "out"
    eventually(lambda: out.exists() and out.read_text() == "up\n")
    assert leftovers(box, request.id)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    eventually(lambda: not leftovers(box, request.id))
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert f"sleep {seconds}" not in running.stdout


def test_an_independent_container_outlives_its_client(box: Box, tmp_path: Path) -> None:
    exit_file = tmp_path / "exit"
    request = box.request(
        ["sh", "-c", "sleep 0.5; exit 9"],
        request={"kill_on_disconnect": False, "exit_file": str(exit_file)},
    )
    box.start(request).close()
    eventually(exit_file.exists)
    assert exit_file.read_text() == "9\n"


def test_a_killed_shim_takes_its_container_along_and_the_id_is_free(box: Box) -> None:
    request = box.request(["sleep", mark(5)])
    container = box.start(request)
    status = Path(f"/proc/{container.pid}/status").read_text()
    shim = int(status.split("PPid:")[1].split()[0])
    os.kill(shim, signal.SIGKILL)
    with pytest.raises(RuntimeFault, match="supervisor died"):
        container.wait(60)
    eventually(lambda: not Path(f"/proc/{container.pid}").exists())
    again = replace(request, spec=default_spec(["true"]))

    def free() -> bool:
        try:
            return box.start(again).wait(60) == 0
        except RuntimeFault as fault:
            # The launcher's sweep may be at it.
            if fault.code != "busy":
                raise
            return False

    eventually(free)
    assert not leftovers(box, request.id)


@pytest.mark.parametrize("identifier", ["../x", "", "a/b", "x" * 200, ".hidden"])
def test_ids_cannot_leave_their_directory(box: Box, identifier: str) -> None:
    request = ContainerRequest(identifier, default_spec(["true"]), Rootfs(lower=("/",)))
    with pytest.raises(RuntimeFault, match="invalid container id"):
        box.start(request)


def test_control_group_parents_cannot_leave_theirs(box: Box) -> None:
    with pytest.raises(RuntimeFault, match="control group path"):
        box.run("true", request={"cgroup_parent": "../../etc"})


def test_no_terminal_modes_of_the_caller_are_changed(box: Box) -> None:
    master, slave = os.openpty()
    before = termios.tcgetattr(slave), os.get_blocking(slave)
    container = run(
        box.request(["true"], change=as_terminal),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        terminal=True,
        runtime_dir=box.runtime_dir,
    )
    assert container.wait(60) == 0
    assert (termios.tcgetattr(slave), os.get_blocking(slave)) == before
    os.close(master)
    os.close(slave)
