"""Docker's seccomp profiles made plain."""

from __future__ import annotations

import json

import pytest

from engine.containers.seccomp import plain_profile, read_profile
from engine.options.errors import OptionError

ALLOW, DENY = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"


def names(rules: list[dict], capabilities=(), machine="x86_64", kernel="6.1.0-18-amd64"):
    document = {"defaultAction": DENY, "defaultErrnoRet": 1, "archMap": [], "syscalls": rules}
    plain = plain_profile(document, capabilities, machine, kernel)
    assert (plain["defaultAction"], plain["defaultErrnoRet"]) == (DENY, 1)
    return [name for rule in plain["syscalls"] for name in rule["names"]]


def rule(name: str, **conditions) -> dict:
    return {"names": [name], "action": ALLOW, **conditions}


def test_conditions_on_capabilities():
    rules = [
        rule("always"),
        rule("mount", includes={"caps": ["CAP_SYS_ADMIN"]}),
        rule("clone", excludes={"caps": ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]}),
    ]
    assert names(rules) == ["always", "clone"]
    assert names(rules, ["CAP_SYS_ADMIN"]) == ["always", "mount"]


def test_conditions_on_machine_and_kernel():
    rules = [
        rule("modify_ldt", includes={"arches": ["amd64", "x32", "x86"]}),
        rule("arm_only", includes={"arches": ["arm64"]}),
        rule("not_arm", excludes={"arches": ["arm64"]}),
        rule("ptrace", includes={"minKernel": "4.8"}),
        rule("future", includes={"minKernel": "99.0"}),
        rule("old_only", excludes={"minKernel": "5.10"}),
    ]
    assert names(rules) == ["modify_ldt", "not_arm", "ptrace"]
    assert names(rules, machine="aarch64", kernel="5.4") == ["arm_only", "ptrace", "old_only"]


def test_arguments_and_old_spelling_are_kept():
    plain = plain_profile(
        {
            "defaultAction": ALLOW,
            "syscalls": [
                {"name": "socket", "action": DENY, "errnoRet": 97, "args": [{"index": 0}]}
            ],
        },
        (),
        "x86_64",
        "6.1",
    )
    assert plain["syscalls"] == [
        {"names": ["socket"], "action": DENY, "errnoRet": 97, "args": [{"index": 0}]}
    ]


@pytest.mark.parametrize("text", ["{", "[]", '{"syscalls": 5}', '{"syscalls": [1]}'])
def test_what_is_no_profile(tmp_path, text):
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(OptionError, match="seccomp profile"):
        read_profile(str(path), ())


def test_files(tmp_path):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"defaultAction": ALLOW}))
    assert read_profile(str(path), ()) == {"defaultAction": ALLOW, "syscalls": []}
    with pytest.raises(OptionError, match="no such file or directory"):
        read_profile(str(tmp_path / "none"), ())
