"""`run` from flags to exit code, on the real runtime."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from engine.containers.directory import ContainerDirectories
from engine.containers.errors import ContainerConflictError, ContainerError
from engine.options.errors import OptionError
from engine.run import run
from engine.run_options import RunOptions, Streams
from images.digest import Digest
from tests.engine.conftest import CONFIG
from tests.ports import free_port

pytestmark = pytest.mark.root
PROJECT = Path(__file__).parents[2]


def leftovers(store) -> list[str]:
    return [record.name for record in ContainerDirectories(store.root).records()]


def claims(store) -> list[str]:
    return os.listdir(store.root / "containers/.active")


def test_the_images_command(run_small, image_store):
    result = run_small()
    assert (result.code, result.out, result.err) == (0, "default\n", "")
    assert (leftovers(image_store), claims(image_store)) == ([], [])


def test_output_and_error_are_apart_and_the_exit_code_is_the_programs(run_small):
    result = run_small("sh", "-c", "echo out; echo err >&2; exit 42")
    assert (result.code, result.out, result.err) == (42, "out\n", "err\n")


def test_death_by_signal(run_small):
    result = run_small("sh", "-c", "sh -c 'kill -9 $$'; exit $?")
    assert result.code == 137


def test_large_output_arrives_whole(run_small):
    result = run_small("sh", "-c", "seq 1 200000; seq 1 100 >&2")
    assert result.out.count("\n") == 200000
    assert result.err.endswith("100\n")


def test_input_only_with_interactive(run_small):
    assert run_small("cat", stdin=b"typed").out == ""
    assert run_small("cat", stdin=b"typed" * 50000, interactive=True).out == "typed" * 50000


def test_a_program_that_reads_no_input(run_small):
    assert run_small("true", stdin=b"x" * 1000000, interactive=True).code == 0


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("missing", 127, 'exec: "missing": executable file not found in $PATH'),
        ("/missing", 127, "no such file or directory"),
        ("/not-executable", 126, "permission denied"),
        ("/etc", 126, "is a directory"),
    ],
)
def test_programs_that_cannot_start(run_small, image_store, command, status, words):
    with pytest.raises(ContainerError) as caught:
        run_small(command)
    assert caught.value.exit_status == status
    assert words in caught.value.what
    assert (leftovers(image_store), claims(image_store)) == ([], [])


def test_unknown_image_is_125(image_store, engine_folder):
    with pytest.raises(ContainerError, match="No such image: nothing:latest") as caught:
        run(RunOptions(image="nothing"), image_store, engine_folder / "run")
    assert caught.value.exit_status == 125


def test_unknown_user_is_125(run_small):
    with pytest.raises(ContainerError, match="no matching entries in passwd file") as caught:
        run_small("true", user="nobody-such")
    assert (caught.value.exit_status, caught.value.code) == (125, "user-unknown")


def test_environment_user_directory_and_names(run_small):
    result = run_small(
        "sh",
        "-c",
        "echo $COLOR $X $HOST $HOSTNAME $HOME; id -u; pwd; id -G; hostname; cat /etc/hosts",
        env=("X=1", "HOST", "ABSENT"),
        user="bob",
        group_add=("7",),
        workdir="/data",
        hostname="web",
        add_host=("db:10.9.8.7",),
        network="none",
    )
    lines = result.out.splitlines()
    assert lines[:3] == ["blue 1 1 web /home/bob", "1000", "/data"]
    assert (set(lines[3].split()), lines[4]) == ({"1000", "50", "7"}, "web")
    assert "10.9.8.7\tdb" in lines


def test_dev_stdout_may_be_opened_by_anybody(run_small):
    result = run_small("sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr", user="bob")
    assert (result.code, result.out, result.err) == (0, "out\n", "err\n")


def test_entrypoint_drops_the_images_command(run_small):
    assert run_small(entrypoint="hostname", hostname="web").out == "web\n"
    assert run_small("-c", "echo $0", entrypoint="sh").out == "sh\n"


def test_mounts(run_small, tmp_path):
    (tmp_path / "file").write_text("from the host\n")
    result = run_small(
        "sh",
        "-c",
        "cat /ro/file; touch /ro/x; touch /scratch/x && echo made; grep /scratch /proc/mounts;"
        "echo back > /rw/back; touch /x",
        volume=(f"{tmp_path}:/ro:ro", f"{tmp_path}/new:/rw"),
        tmpfs=("/scratch:size=1m",),
        read_only=True,
    )
    assert result.out.startswith("from the host\nmade\n")
    assert "size=1024k" in result.out
    assert result.err.count("Read-only file system") == 2
    assert (tmp_path / "new/back").read_text() == "back\n"


def test_missing_bind_source_of_mount_is_an_error(run_small, tmp_path):
    with pytest.raises(ContainerError, match="bind source path does not exist"):
        run_small("true", mount=(f"type=bind,src={tmp_path}/none,dst=/x",))


def test_named_volume_is_filled_once_and_keeps(run_small, tmp_path):
    volume = (f"{tmp_path.name}:/data",)
    assert run_small("ls", "-l", "/data", volume=volume).out.count("seed") == 1
    run_small("sh", "-c", "echo more > /data/more; rm /data/seed", volume=volume)
    assert run_small("ls", "/data", volume=volume).out == "more\n"


def test_anonymous_volumes_go_with_the_container(run_small, image_store):
    volumes = image_store.root / "volumes"
    before = set(os.listdir(volumes)) if volumes.exists() else set()
    result = run_small("sh", "-c", "cat /data/seed; stat -c %a /data/seed", volume=("/data",))
    assert result.out == "seed\n640\n"
    assert set(os.listdir(volumes)) == before


def test_limits(run_small):
    result = run_small("sh", "-c", "ulimit -n; ulimit -Hn", ulimit=("nofile=100:200",))
    assert result.out == "100\n200\n"


def test_capabilities_and_privileges(run_small):
    script = "grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status"
    default = run_small("sh", "-c", script).out.split()
    assert default[1] == "00000000a80425fb"
    assert default[3:6:2] == ["0", "2"]
    result = run_small(
        "sh", "-c", script, cap_drop=("ALL",), security_opt=("no-new-privileges",)
    ).out.split()
    assert (result[1], result[3]) == ("0000000000000000", "1")
    result = run_small("sh", "-c", script, security_opt=("seccomp=unconfined",)).out.split()
    assert result[5] == "0"


def test_seccomp_profile_from_a_file(run_small, tmp_path):
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {
                "names": ["sethostname"],
                "action": "SCMP_ACT_ERRNO",
                "includes": {"caps": ["CAP_BPF"]},
            },
        ],
    }
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    option = f"seccomp={tmp_path}/profile.json"
    result = run_small("mkdir", "/x", security_opt=(option,))
    assert "Function not implemented" in result.err


def test_devices(run_small):
    result = run_small("sh", "-c", "head -c 0 /dev/x && echo read", device=("/dev/null:/dev/x:r",))
    assert result.out == "read\n"


def test_published_port(image_store, engine_folder):
    port = free_port()
    script = "echo hello > /index.html; exec httpd -f -p 80 -h /"
    with spawn(image_store, engine_folder, ["sh", "-c", script], publish=[f"{port}:80"]) as child:
        deadline = time.monotonic() + 60
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
                    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    if b"hello" in client.makefile("rb").read():
                        break
            except OSError:
                time.sleep(0.05)
            assert time.monotonic() < deadline
        child.send_signal(signal.SIGKILL)


def spawn(store, folder, command: list[str], **flags) -> subprocess.Popen:
    """Run in a process of its own."""
    program = (
        "import json, sys; from pathlib import Path\n"
        "from engine.run import run; from engine.run_options import RunOptions\n"
        "from images.store import ImageStore\n"
        "flags = {k: tuple(v) if isinstance(v, list) else v\n"
        "         for k, v in json.loads(sys.argv[3]).items()}\n"
        "sys.exit(run(RunOptions(**flags), ImageStore.open(Path(sys.argv[1])), Path(sys.argv[2])))"
    )
    flags = {"image": "test/small", "command": command, "rm": True, **flags}
    words = [sys.executable, "-c", program, str(store.root), f"{folder}/run", json.dumps(flags)]
    return subprocess.Popen(words, cwd=PROJECT, stdout=subprocess.PIPE, stdin=subprocess.PIPE)


def test_signals_are_passed_on(image_store, engine_folder):
    script = "trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.1; done"
    with spawn(image_store, engine_folder, ["sh", "-c", script]) as child:
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGTERM)
        assert child.stdout.read() == b"got\n"
        assert child.wait() == 7


def test_the_third_request_to_end_is_not_a_request(image_store, engine_folder):
    script = "trap 'echo got' TERM; echo ready; while :; do sleep 0.1; done"
    with spawn(image_store, engine_folder, ["sh", "-c", script]) as child:
        assert child.stdout.readline() == b"ready\n"
        for _ in range(2):
            child.send_signal(signal.SIGTERM)
            # Two that come before the command has time are one.
            assert child.stdout.readline() == b"got\n"
        child.send_signal(signal.SIGTERM)
        assert child.wait() == 137


@pytest.mark.parametrize("auto_remove", [True, False])
def test_a_killed_command_leaves_nothing_that_the_next_does_not_take_away(
    image_store, engine_folder, run_small, auto_remove, tmp_path
):
    script = "echo $HOSTNAME; sleep 1000"
    name = f"victim-{tmp_path.name}"
    with spawn(
        image_store, engine_folder, ["sh", "-c", script], name=name, rm=auto_remove
    ) as child:
        host = child.stdout.readline().decode().strip()
        child.send_signal(signal.SIGKILL)
    assert claims(image_store)
    run_small("true")
    assert claims(image_store) == []
    directories = ContainerDirectories(image_store.root)
    found = [record for record in directories.records() if record.name == name]
    if auto_remove:
        assert found == []
    else:
        assert [(record.status, record.exit_code) for record in found] == [("exited", 137)]
        directories.remove(found[0])
    deadline = time.monotonic() + 60
    while any(host in line for line in running_processes()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running_processes() -> list[str]:
    lines = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                lines.append(Path(f"/proc/{entry}/environ").read_bytes().decode(errors="replace"))
            except OSError:
                continue
    return [line for line in lines if "HOSTNAME=" in line]


def test_kept_containers_hold_their_name(run_small, image_store, tmp_path):
    name = tmp_path.name
    assert run_small("sh", "-c", "exit 3", name=name, rm=False).code == 3
    directories = ContainerDirectories(image_store.root)
    record = directories.find(name)
    assert (record.status, record.exit_code, record.image) == ("exited", 3, "test/small")
    with pytest.raises(
        ContainerConflictError, match=f'The container name "/{name}" is already in use'
    ):
        run_small("true", name=name)
    directories.remove(record)
    assert run_small("true", name=name).code == 0


def test_cid_file(run_small, tmp_path):
    path = tmp_path / "cid"
    result = run_small("hostname", cidfile=str(path))
    assert path.read_text().startswith(result.out.strip())
    with pytest.raises(ContainerError, match="container ID file found"):
        run_small("true", cidfile=str(path))


def test_snapshots_in_use_survive_garbage_collection(image_store, engine_folder):
    with spawn(
        image_store,
        engine_folder,
        ["sh", "-c", "echo ready; cat; ls /bin/busybox"],
        interactive=True,
    ) as child:
        assert child.stdout.readline() == b"ready\n"
        image = image_store.lookup("test/small")
        image_store.remove("test/small")
        image_store.gc(grace=0)
        try:
            child.stdin.close()
            assert child.stdout.read() == b"/bin/busybox\n"
        finally:
            from images.reference import Reference

            image_store.tag(Reference.parse("test/small"), image.descriptor)
    assert isinstance(image.image_id, Digest)


def test_terminal(image_store, engine_folder):
    master, slave = pty.openpty()
    # Before anybody can ask for it.
    termios.tcsetwinsize(master, (33, 77))
    pid = os.fork()
    if pid == 0:
        os.close(master)
        streams = Streams(slave, slave, slave)
        options = RunOptions(
            image="test/small",
            command=("sh", "-c", "tty; stty size; read line; echo got $line; exit 5"),
            tty=True,
            interactive=True,
            rm=True,
        )
        try:
            os._exit(run(options, image_store, engine_folder / "run", streams))
        except BaseException:  # noqa: BLE001 - a forked child must not return into pytest
            os._exit(99)
    os.close(slave)
    os.set_blocking(master, True)
    shown = b""
    typed = False
    while b"got hello" not in shown:
        assert select.select([master], [], [], 60)[0], shown
        shown += os.read(master, 4096)
        if not typed and b"77" in shown:
            os.write(master, b"hello\r")
            typed = True
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    os.close(master)
    assert b"/dev/pts/0\r\n33 77\r\n" in shown


def test_interactive_terminal_needs_one(run_small):
    with pytest.raises(ContainerError, match="the input device is not a TTY") as caught:
        run_small("true", tty=True, interactive=True)
    assert caught.value.exit_status == 1


def test_flags_are_refused_before_anything_is_made(run_small, image_store):
    for flags in ({"detach": True}, {"memory": "1k"}, {"network": "mine"}, {"volume": ("x:y:z",)}):
        with pytest.raises(OptionError) as caught:
            run_small("true", **flags)
        assert caught.value.exit_status == 125
    assert leftovers(image_store) == []


def test_pull_policy(image_store, engine_folder):
    pulled = []

    def pull(reference, platform):
        pulled.append((str(reference), platform))

    options = RunOptions(image="test/small", command=("true",), rm=True, pull="always")
    assert run(options, image_store, engine_folder / "run", pull=pull) == 0
    assert pulled == [("docker.io/test/small:latest", None)]
    options = RunOptions(image="absent", command=("true",), pull="never")
    with pytest.raises(ContainerError, match="No such image"):
        run(options, image_store, engine_folder / "run", pull=pull)
    assert len(pulled) == 1


def test_another_platform_is_refused(run_small):
    with pytest.raises(ContainerError, match="does not match the specified platform"):
        run_small("true", platform="linux/s390x")


def test_exposed_ports_are_published_at_random(run_small, image_store):
    assert "80/tcp" in CONFIG["ExposedPorts"]
    result = run_small("true", publish_all=True)
    assert result.code == 0
