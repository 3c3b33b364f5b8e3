"""Flags and image config merged by Docker's rules, without a runtime."""

from __future__ import annotations

import os

import pytest

from engine.containers import specification
from engine.containers.devices import parse_devices
from engine.containers.errors import ContainerError
from engine.containers.limits import resources, rlimits
from engine.options.errors import OptionError
from engine.run_options import RunOptions
from runtime.config import Spec
from runtime.request import Port, Rootfs

IDENTIFIER = "abcdef0123456789" * 4


def options(**flags) -> RunOptions:
    return RunOptions(image="debian", **flags)


def plan(config=None, **flags):
    config = {"Cmd": ["sh"], **(config or {})}
    return specification.make_plan(options(**flags), config, IDENTIFIER, {"HOST": "1"})


@pytest.mark.parametrize(
    ("entrypoint", "command", "config", "expected"),
    [
        (None, (), {"Cmd": ["c"]}, ("c",)),
        (None, ("x",), {"Cmd": ["c"]}, ("x",)),
        (None, (), {"Entrypoint": ["e"], "Cmd": ["c"]}, ("e", "c")),
        (None, ("x",), {"Entrypoint": ["e"], "Cmd": ["c"]}, ("e", "x")),
        ("n", (), {"Entrypoint": ["e"], "Cmd": ["c"]}, ("n",)),
        ("n", ("x",), {"Entrypoint": ["e"], "Cmd": ["c"]}, ("n", "x")),
        ("", ("x",), {"Entrypoint": ["e"], "Cmd": ["c"]}, ("x",)),
        (None, (), {"Entrypoint": ["e"], "Cmd": None}, ("e",)),
    ],
)
def test_arguments(entrypoint, command, config, expected):
    chosen = options(entrypoint=entrypoint, command=command)
    assert specification.arguments(chosen, config) == expected


@pytest.mark.parametrize(("entrypoint", "config"), [(None, {}), ("", {"Cmd": ["c"]})])
def test_nothing_to_run(entrypoint, config):
    with pytest.raises(ContainerError, match="no command specified"):
        specification.arguments(options(entrypoint=entrypoint), config)


def test_image_config_and_flags():
    config = {"Env": ["A=image", "B=2"], "User": "bob", "WorkingDir": "/work", "Labels": {"l": "1"}}
    merged = plan(config)
    assert (merged.env, merged.user, merged.cwd) == (("A=image", "B=2"), "bob", "/work")
    assert (merged.hostname, merged.network) == ("abcdef012345", "bridge")
    merged = plan(config, env=("A=flag", "HOST"), user="", workdir="/x", label=("l=2", "m=3"))
    assert merged.env == ("A=image", "B=2", "A=flag", "HOST=1")
    assert (merged.user, merged.cwd, merged.labels) == ("", "/x", {"l": "2", "m": "3"})


def test_the_hosts_name_with_the_hosts_network():
    name = os.uname().nodename
    assert plan(network="host").hostname == plan(uts="host").hostname == name
    assert plan(network="host", hostname="web").hostname == "web"


def test_relative_working_directory():
    with pytest.raises(OptionError, match="needs to be an absolute path"):
        plan(workdir="x")


def test_volumes_of_the_image_and_of_flags():
    merged = plan({"Volumes": {"/data": {}, "/logs/": {}, "": {}, "/": {}}}, volume=("/x:/data",))
    assert [(mount.kind, mount.target) for mount in merged.mounts] == [
        ("bind", "/data"),
        ("volume", "/logs"),
    ]


def test_ports():
    config = {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}}
    assert plan(config).ports == ()
    merged = plan(config, publish=("8080:80",), publish_all=True, expose=("90",))
    assert merged.ports == (Port(80, "tcp", 8080), Port(53, "udp"), Port(90))
    assert plan(config, publish=("8080:80",), network="none").ports == ()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"detach": True}, "detached containers are not supported"),
        ({"init": True}, "an init process is not supported"),
        ({"pull": "sometimes"}, "invalid pull option: 'sometimes'"),
        ({"pid": "container:x"}, "invalid PID mode"),
        ({"name": "x"}, "Invalid container name"),
        ({"uts": "host", "hostname": "web"}, "conflicting options: hostname and the UTS mode"),
    ],
)
def test_refused_flags(flags, words):
    with pytest.raises(OptionError, match=words):
        specification.check(options(**flags))


def test_the_runtime_understands_the_spec():
    chosen = options(
        tty=True,
        read_only=True,
        tmpfs=("/t/deep", "/t"),
        memory="64m",
        cpus="0.5",
        ulimit=("nofile=5",),
        oom_score_adj="10",
        shm_size="1m",
        domainname="example",
        sysctl=("net.ipv4.ip_forward=1",),
        cap_drop=("ALL",),
        pid="host",
    )
    merged = specification.make_plan(chosen, {"Cmd": ["sh"]}, IDENTIFIER, {})
    mounts = [specification.runtime_mount(mount, "") for mount in merged.mounts]
    spec = Spec.from_json(specification.make_spec(chosen, merged, mounts, console=(24, 80)))
    assert [mount.destination for mount in spec.mounts][-2:] == ["/t", "/t/deep"]
    assert (spec.process.terminal, spec.process.console_size) == (True, (24, 80))
    assert (spec.root.readonly, spec.domainname, spec.process.oom_score_adj) == (
        True,
        "example",
        10,
    )
    limits = spec.linux.resources
    assert (limits.memory_limit, limits.memory_swap) == (64 << 20, 128 << 20)
    assert (limits.cpu_quota, limits.cpu_period) == (50000, 100000)
    assert spec.process.rlimits[0].type == "RLIMIT_NOFILE"
    assert spec.process.capabilities.bounding == ()
    assert spec.linux.sysctl["net.ipv4.ip_forward"] == "1"
    assert spec.linux.namespace("pid") is None
    assert any("size=1048576" in mount.options for mount in spec.mounts)


def test_a_mount_takes_the_place_of_a_default_one():
    chosen = options(tmpfs=("/dev/shm:size=2m",))
    merged = specification.make_plan(chosen, {"Cmd": ["sh"]}, IDENTIFIER, {})
    mounts = [specification.runtime_mount(mount, "") for mount in merged.mounts]
    spec = Spec.from_json(specification.make_spec(chosen, merged, mounts, console=None))
    (found,) = [mount for mount in spec.mounts if mount.destination == "/dev/shm"]
    assert "size=2m" in found.options


def test_request():
    chosen = options(add_host=("db:10.0.0.1",), dns=("10.0.0.2",), cgroup_parent="/ci")
    merged = specification.make_plan(chosen, {"Cmd": ["sh"]}, IDENTIFIER, {})
    root = Rootfs(path="/root")
    request = specification.make_request(chosen, merged, {}, IDENTIFIER, root)
    assert (request.extra_hosts, request.dns) == ((("db", "10.0.0.1"),), ("10.0.0.2",))
    assert (request.cgroup_parent, request.seccomp, request.network) == ("ci", "default", "bridge")
    assert request.kill_on_disconnect


@pytest.mark.parametrize(
    ("flags", "seccomp"),
    [
        ({}, "default"),
        ({"privileged": True}, "unconfined"),
        ({"security_opt": ("seccomp=unconfined",)}, "unconfined"),
        ({"security_opt": ("seccomp=/p.json",)}, "spec"),
        ({"privileged": True, "security_opt": ("seccomp=/p.json",)}, "spec"),
    ],
)
def test_seccomp_choice(flags, seccomp):
    chosen = options(**flags)
    merged = specification.make_plan(chosen, {"Cmd": ["sh"]}, IDENTIFIER, {})
    request = specification.make_request(chosen, merged, {}, IDENTIFIER, Rootfs(path="/"))
    assert request.seccomp == seccomp


def test_capabilities_that_a_profile_depends_on():
    assert "CAP_SYS_ADMIN" in specification.granted_capabilities(options(privileged=True))
    assert specification.granted_capabilities(options(cap_drop=("ALL",))) == ()
    with pytest.raises(OptionError):
        specification.granted_capabilities(options(cap_add=("CAP_FLY",)))


def test_limits():
    assert resources(options()) == {}
    assert resources(options(memory="8m", memory_swap="-1"))["memory_swap"] == -1
    assert "pids_limit" not in resources(options(pids_limit="-1"))
    assert rlimits(("core=0",)) == [("RLIMIT_CORE", 0, 0)]
    with pytest.raises(OptionError, match="Nano CPUs and CPU Period cannot both be set"):
        resources(options(cpus="1", cpu_period="1000"))
    with pytest.raises(OptionError, match="less than memory reservation"):
        resources(options(memory="8m", memory_reservation="9m"))


def test_devices():
    devices, rules = parse_devices(["/dev/null", "/dev/zero:/dev/z:r", "/dev/full:rw"])
    assert [device[:4] for device in devices] == [
        ("/dev/null", "c", 1, 3),
        ("/dev/z", "c", 1, 5),
        ("/dev/full", "c", 1, 7),
    ]
    assert rules == [(False, "c", 1, 5, "wm"), (False, "c", 1, 7, "m")]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("/dev/none", "no such file or directory"),
        ("/etc/passwd:/dev/x", "is not a device node"),
        ("/dev/null:/etc/x", "is not below /dev"),
        ("/dev/null:/dev/x:rq", "invalid device specification"),
        ("/dev/null:/dev/x:rw:y", "invalid device specification"),
    ],
)
def test_malformed_devices(value, words):
    with pytest.raises(OptionError) as caught:
        parse_devices([value])
    assert words in caught.value.what
