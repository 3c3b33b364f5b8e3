"""RUN steps on the real runtime: what the builder's Protocol promises."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from builder.plan.devices import DeviceSpec
from builder.runner import (
    BindMount,
    Cancellation,
    Dns,
    OverlayMount,
    Resources,
    RunStep,
    SecretMount,
    SshMount,
    TmpfsMount,
    Ulimit,
)
from engine.builds.steps import ContainerSteps, make_request, make_spec
from runtime.errors import RuntimeFault

ENV = ("PATH=/bin", "STAGE=build")


class Recorder:
    """An output sink that remembers."""

    def __init__(self) -> None:
        self.streams = {1: b"", 2: b""}

    def __call__(self, stream: int, data: bytes) -> None:
        self.streams[stream] += data


@pytest.fixture
def lowers(image_store):
    image = image_store.image(image_store.lookup("test/small").descriptor)
    return tuple(image_store.lowerdirs(image))


@pytest.fixture
def make_step(lowers, tmp_path):
    def make(*args: str, **changes) -> RunStep:
        upper, work = tmp_path / "upper", tmp_path / "work"
        upper.mkdir(exist_ok=True)
        work.mkdir(exist_ok=True)
        values = {
            "args": args,
            "env": ENV,
            "cwd": "/",
            "user": "",
            "lower": lowers,
            "upper": upper,
            "work": work,
            "output": Recorder(),
            "cancellation": Cancellation(),
            "network": "none",
        }
        return RunStep(**{**values, **changes})

    return make


@pytest.fixture
def runner(engine_folder):
    return ContainerSteps(engine_folder / "run")


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.root
def test_exit_code_and_output(runner, make_step):
    step = make_step("sh", "-c", "echo out; echo err >&2; exit 3")
    assert runner.run(step) == 3
    assert step.output.streams == {1: b"out\n", 2: b"err\n"}


@pytest.mark.root
def test_the_upper_directory_holds_what_was_written_and_nothing_else(runner, make_step, tmp_path):
    (tmp_path / "context").mkdir()
    step = make_step(
        "sh",
        "-c",
        "echo made > /made; rm /data/seed; cat /etc/hosts /etc/resolv.conf > /dev/null",
        mounts=(
            BindMount("/deep/er/context", tmp_path / "context"),
            TmpfsMount("/scratch"),
            SecretMount("/run/secrets/token", b"hush"),
        ),
    )
    assert runner.run(step) == 0
    assert tree(step.upper) == ["data", "data/seed", "made"]
    assert (step.upper / "data/seed").is_char_device()


@pytest.mark.root
def test_environment_is_the_steps_alone(runner, make_step):
    step = make_step("env")
    assert runner.run(step) == 0
    found = set(step.output.streams[1].decode().split())
    assert found == {*ENV, "HOME=/root"}


@pytest.mark.root
def test_user_directory_host_names_and_limits(runner, make_step):
    step = make_step(
        "sh",
        "-c",
        "id -u; pwd; hostname; grep db /etc/hosts; ulimit -n; grep -w /dev/shm /proc/mounts",
        user="bob",
        cwd="/made/here",
        hostname="buildkitsandbox",
        extra_hosts=(("db", "10.1.2.3"),),
        resources=Resources(shm_size=1 << 20, ulimits=(Ulimit("nofile", 64, 128),)),
    )
    assert runner.run(step) == 0
    lines = step.output.streams[1].decode().splitlines()
    assert lines[:5] == ["1000", "/made/here", "buildkitsandbox", "10.1.2.3\tdb", "64"]
    assert "size=1024k" in lines[5]
    assert (step.upper / "made/here").is_dir()


@pytest.mark.root
def test_mounts(runner, make_step, tmp_path, lowers):
    cache, extra = tmp_path / "cache", tmp_path / "extra"
    for folder in (cache, extra / "sub", tmp_path / "u", tmp_path / "w"):
        folder.mkdir(parents=True)
    (extra / "sub/file").write_text("below\n")
    step = make_step(
        "sh",
        "-c",
        "cat /from/file /secret; stat -c '%a %u %g' /secret; echo kept > /cache/kept;"
        "echo lost > /from/lost; touch /ro/x",
        mounts=(
            BindMount("/cache", cache, read_only=False),
            BindMount("/ro", cache),
            OverlayMount("/from", (extra,), "sub", tmp_path / "u", tmp_path / "w"),
            SecretMount("/secret", b"hush\n", mode=0o440, uid=1000, gid=50),
        ),
    )
    assert runner.run(step) == 1
    assert step.output.streams[1] == b"below\nhush\n440 1000 50\n"
    assert b"Read-only file system" in step.output.streams[2]
    assert (cache / "kept").read_text() == "kept\n"
    assert tree(extra) == ["sub", "sub/file"]
    assert tree(step.upper) == []


@pytest.mark.root
def test_ssh_agent_of_another_user(runner, make_step, tmp_path):
    path = tmp_path / "agent"
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(path))
        step = make_step(
            "stat", "-c", "%F %a %u", "/agent", mounts=(SshMount("/agent", path, 0o600, 1000),)
        )
        assert runner.run(step) == 0
    assert step.output.streams[1] == b"socket 600 1000\n"
    assert tree(step.upper) == []


@pytest.mark.root
def test_cancellation_ends_a_running_step(runner, make_step):
    started = threading.Event()
    step = make_step("sh", "-c", "echo started; sleep 1000", output=lambda *_: started.set())
    codes = []
    thread = threading.Thread(target=lambda: codes.append(runner.run(step)))
    thread.start()
    assert started.wait(60)
    step.cancellation.cancel()
    thread.join(60)
    assert codes == [137]


@pytest.mark.root
def test_a_step_that_was_cancelled_before_ends_too(runner, make_step):
    step = make_step("sleep", "1000")
    step.cancellation.cancel()
    before = time.monotonic()
    assert runner.run(step) == 137
    assert time.monotonic() - before < 100


@pytest.mark.root
def test_steps_run_at_the_same_time(runner, make_step, tmp_path):
    fifo = tmp_path / "shared"
    fifo.mkdir()
    mount = BindMount("/shared", fifo, read_only=False)
    scripts = (
        "mkfifo /shared/a; echo x > /shared/a",
        "while [ ! -p /shared/a ]; do sleep 0.01; done; cat /shared/a",
    )
    codes = [None, None]

    def run(number: int) -> None:
        upper, work = tmp_path / f"upper{number}", tmp_path / f"work{number}"
        upper.mkdir()
        work.mkdir()
        step = make_step("sh", "-c", scripts[number], mounts=(mount,), upper=upper, work=work)
        codes[number] = runner.run(step)

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert codes == [0, 0]


@pytest.mark.root
@pytest.mark.parametrize(
    ("args", "user", "code"),
    [
        (("missing",), "", "command-not-found"),
        (("/data",), "", "command-not-executable"),
        (("true",), "stranger", "user-unknown"),
    ],
)
def test_faults_have_the_protocols_codes(runner, make_step, args, user, code):
    step = make_step(*args, user=user)
    with pytest.raises(RuntimeFault) as caught:
        runner.run(step)
    assert caught.value.code == code
    assert tree(step.upper) == []


@pytest.mark.root
def test_network_of_its_own_unless_the_hosts_was_asked_for(runner, make_step):
    own = os.readlink("/proc/self/ns/net").encode()
    for network, shared in (("default", False), ("none", False), ("host", True)):
        step = make_step("readlink", "/proc/self/ns/net", network=network)
        assert runner.run(step) == 0
        assert (step.output.streams[1].strip() == own) is shared


def test_request_of_an_insecure_step():
    step = RunStep(
        args=("true",),
        env=ENV,
        cwd="/",
        user="",
        lower=(Path("/lower"),),
        upper=Path("/upper"),
        work=Path("/work"),
        output=Recorder(),
        cancellation=Cancellation(),
        security="insecure",
        network="default",
        resources=Resources(cgroup_parent="/ci/jobs/"),
    )
    request = make_request(step)
    spec = make_spec(step, {})
    assert (request.seccomp, request.network) == ("unconfined", "bridge")
    assert request.cgroup_parent == "ci/jobs"
    assert request.kill_on_disconnect
    assert spec.linux.masked_paths == ()
    assert "CAP_SYS_ADMIN" in spec.process.capabilities.bounding


def test_limits_reach_the_runtime(make_step):
    limits = Resources(
        memory_limit=64 << 20,
        memory_swap=-1,
        cpu_shares=7,
        cpu_quota=1000,
        cpu_period=2000,
        cpuset_cpus="0",
        cpuset_mems="0",
        dns=Dns(("9.9.9.9",), ("lan",), ("ndots:2",)),
    )
    request = make_request(make_step("true", resources=limits))
    found = request.spec.linux.resources
    assert (found.memory_limit, found.memory_swap, found.cpu_shares) == (64 << 20, -1, 7)
    assert (found.cpu_quota, found.cpu_period) == (1000, 2000)
    assert (found.cpuset_cpus, found.cpuset_mems) == ("0", "0")
    assert (request.dns, request.dns_search, request.dns_options) == (
        ("9.9.9.9",),
        ("lan",),
        ("ndots:2",),
    )


@pytest.mark.root
def test_a_device_and_its_edits(runner, make_step, tmp_path, monkeypatch) -> None:
    (tmp_path / "cdi").mkdir()
    (tmp_path / "cdi" / "v.json").write_text(
        json.dumps(
            {
                "cdiVersion": "0.6.0",
                "kind": "v.example/zero",
                "devices": [
                    {
                        "name": "a",
                        "containerEdits": {
                            "env": ["DEVICE=here"],
                            "deviceNodes": [{"path": "/dev/noughts", "hostPath": "/dev/zero"}],
                        },
                    }
                ],
            }
        )
    )
    monkeypatch.setattr("engine.builds.steps.CDI_FOLDERS", (tmp_path / "cdi",))
    output = Recorder()
    devices = (DeviceSpec("v.example/zero=a", required=True), DeviceSpec("v.example/none"))
    command = "echo $DEVICE; head -c 3 /dev/noughts | od -An -tx1"
    step = make_step("/bin/sh", "-c", command, output=output, devices=devices)
    assert runner.run(step) == 0
    assert output.streams[1].split() == [b"here", b"00", b"00", b"00"]
    assert b"no device v.example/none is registered" in output.streams[2]
    assert not (step.upper / "dev").exists(), "no device is left in the layer"
