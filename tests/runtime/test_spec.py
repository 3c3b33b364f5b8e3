"""config.json in and out, and Docker's defaults."""

from __future__ import annotations

import json

import pytest

from runtime.config import Capabilities, Device, DeviceRule, Mount, Resources, Rlimit, Spec, User
from runtime.errors import RuntimeFault
from runtime.spec import default_environment, default_spec

MINIMAL = {"ociVersion": "1.2.0", "process": {"args": ["sh"]}}


def test_the_default_container_survives_a_round_trip() -> None:
    spec = default_spec(
        ["sh", "-c", "x"],
        env=["A=b"],
        hostname="box",
        terminal=True,
        user=User(1, 2, (3,), 0o27),
        mounts=[Mount("/x", "tmpfs", "", ("size=1m",))],
        devices=[Device("/dev/fuse", "c", 10, 229)],
        resources=Resources(memory_limit=1, unified={"memory.high": "1"}),
        rlimits=[Rlimit("RLIMIT_NOFILE", 5, 6)],
    )
    assert Spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_runcs_own_template_is_understood() -> None:
    document = {
        "ociVersion": "1.0.2-dev",
        "process": {
            "terminal": True,
            "consoleSize": {"height": 40, "width": 100},
            "user": {"uid": 5, "gid": 6, "additionalGids": [7]},
            "args": ["sh"],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": ["CAP_KILL"], "ambient": ["CAP_KILL"]},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
            "oomScoreAdj": 100,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runc",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/data", "source": "/d", "options": ["rbind", "ro"]},
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": -1}},
            "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/x"}],
            "maskedPaths": ["/proc/kcore"],
            "intelRdt": {"closID": "ignored"},
        },
        "somethingNew": 1,
    }
    spec = Spec.from_json(document)
    assert spec.process.console_size == (40, 100)
    assert spec.process.capabilities == Capabilities(("CAP_KILL",), ambient=("CAP_KILL",))
    assert spec.process.no_new_privileges
    assert spec.mounts[1].type == "bind"
    assert spec.linux.resources.devices == (DeviceRule(allow=False),)
    assert spec.linux.namespace("network").path == "/run/netns/x"
    assert spec.linux.namespace("uts") is None
    assert spec.root.readonly


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"process": []}, "process is not an object"),
        ({"process": {"args": []}}, "process.args is not a list of at least one string"),
        ({"process": {"args": ["a", 1]}}, "process.args is not a list of strings"),
        ({"process": {"args": ["a\0b"]}}, "process.args is not a list of strings without NUL"),
        ({"process": {"args": ["a"], "cwd": "x"}}, "process.cwd is not an absolute path"),
        ({"process": {"args": ["a"], "cwd": "/a\0b"}}, "process.cwd is not free of NUL"),
        ({"process": {"args": ["a"], "user": {"uid": True}}}, "process.user.uid is not an integer"),
        ({"mounts": [{"destination": "x"}]}, r"mounts\[0\].destination is not an absolute path"),
        ({"mounts": {}}, "mounts is not a list"),
        ({"linux": {"namespaces": [{"type": "x"}]}}, r"linux.namespaces\[0\].type is not one of"),
        (
            {"linux": {"devices": [{"path": "/dev/x", "type": "q"}]}},
            "type is not one of c, u, b, p",
        ),
        ({"linux": {"sysctl": {"a": 1}}}, "linux.sysctl is not an object of strings"),
        ({"linux": {"seccomp": 1}}, "linux.seccomp is not an object"),
        ({"hostname": 5}, "hostname is not a string"),
    ],
)
def test_wrong_types_are_named(change: dict, place: str) -> None:
    with pytest.raises(RuntimeFault, match=place) as caught:
        Spec.from_json({**MINIMAL, **change})
    assert caught.value.code == "request-invalid"


def test_environment_overrides_in_place() -> None:
    assert default_environment(["A=1", "PATH=/x", "A=2"], hostname="h", terminal=True) == (
        "PATH=/x",
        "HOSTNAME=h",
        "TERM=xterm",
        "A=2",
    )
    assert default_environment(["TERM=vt100"], terminal=True)[1] == "TERM=vt100"


def test_capabilities_are_dockers_fourteen() -> None:
    sets = default_spec(["x"]).process.capabilities
    assert len(sets.bounding) == 14
    assert sets.bounding == sets.effective == sets.permitted
    assert sets.inheritable == sets.ambient == ()


@pytest.mark.parametrize(
    ("add", "drop", "has", "lacks"),
    [
        (["SYS_TIME"], [], "CAP_SYS_TIME", "CAP_SYS_ADMIN"),
        (["cap_sys_time"], ["ALL"], "CAP_SYS_TIME", "CAP_CHOWN"),
        (["ALL"], ["CAP_MKNOD"], "CAP_SYS_ADMIN", "CAP_MKNOD"),
        ([], ["chown"], "CAP_KILL", "CAP_CHOWN"),
    ],
)
def test_adding_and_dropping(add: list[str], drop: list[str], has: str, lacks: str) -> None:
    names = default_spec(["x"], cap_add=add, cap_drop=drop).process.capabilities.bounding
    assert has in names
    assert lacks not in names


def test_unknown_capabilities_are_refused() -> None:
    with pytest.raises(RuntimeFault, match="unknown capability 'FLY'"):
        default_spec(["x"], cap_add=["FLY"])


def test_devices_given_are_also_allowed() -> None:
    spec = default_spec(["x"], devices=[Device("/dev/fuse", "c", 10, 229)])
    rules = spec.linux.resources.devices
    assert rules[0] == DeviceRule(allow=False)
    assert DeviceRule(allow=True, type="c", major=10, minor=229) in rules
    assert DeviceRule(allow=True, type="c", major=10, minor=200) not in rules


def test_privileged_gets_everything() -> None:
    spec = default_spec(["x"], privileged=True)
    assert spec.linux.resources.devices == (DeviceRule(allow=True),)
    assert "CAP_SYS_ADMIN" in spec.process.capabilities.effective
    assert spec.linux.masked_paths == spec.linux.readonly_paths == ()
    assert not any("ro" in mount.options for mount in spec.mounts)


def test_sharing_namespaces_leaves_them_out() -> None:
    kinds = {entry.type for entry in default_spec(["x"]).linux.namespaces}
    assert kinds == {"mount", "pid", "uts", "ipc", "network", "cgroup"}
    shared = default_spec(["x"], network="host", host_namespaces=["pid"])
    assert {entry.type for entry in shared.linux.namespaces} == kinds - {"network", "pid"}
    assert shared.linux.sysctl == {}
