"""Devices for steps, by the files of the Container Device Interface."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from builder.errors import BuildEnvironmentError
from builder.plan.devices import DeviceSpec
from engine.builds.cdi import CLASS, edits_of
from runtime.config import Hook, Mount


def _file(folder: Path, name: str = "gpu.json", **changes: Any) -> Path:
    document = {
        "cdiVersion": "0.6.0",
        "kind": "v.example/gpu",
        "annotations": {CLASS: "accelerator"},
        "containerEdits": {"env": ["SHARED=1"]},
        "devices": [
            {
                "name": "0",
                "containerEdits": {
                    "env": ["GPU=0"],
                    "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/null"}],
                    "mounts": [
                        {"hostPath": "/lib", "containerPath": "/gpu", "options": ["ro", "bind"]}
                    ],
                },
            },
            {"name": "1", "containerEdits": {"env": ["GPU=1"]}},
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(document | changes))
    return path


def _edits(folder: Path, *names: str, required: bool = True) -> Any:
    return edits_of([DeviceSpec(name, required) for name in names], [folder])


def test_one_device(tmp_path: Path) -> None:
    _file(tmp_path)
    found = _edits(tmp_path, "v.example/gpu=0")
    assert found.env == ("SHARED=1", "GPU=0")
    (device,) = found.devices
    null = os.stat("/dev/null")
    assert (device.path, device.type) == ("/dev/gpu0", "c")
    assert (device.major, device.minor) == (os.major(null.st_rdev), os.minor(null.st_rdev))
    assert device.file_mode == stat.S_IMODE(null.st_mode)
    assert found.mounts == (Mount("/gpu", "bind", "/lib", ("bind", "ro")),)


@pytest.mark.parametrize(
    ("names", "env"),
    [
        (("v.example/gpu",), ("SHARED=1", "GPU=0")),
        (("v.example/gpu=*",), ("SHARED=1", "GPU=0", "GPU=1")),
        (("v.example/gpu=1", "v.example/gpu=1"), ("SHARED=1", "GPU=1")),
        (("accelerator",), ("SHARED=1", "GPU=0", "GPU=1")),
    ],
)
def test_names_kinds_and_classes(tmp_path: Path, names: tuple[str, ...], env: object) -> None:
    _file(tmp_path)
    assert _edits(tmp_path, *names).env == env


def test_yaml_and_a_folder_that_goes_before(tmp_path: Path) -> None:
    _file(tmp_path / "etc")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "gpu.yaml").write_text(
        "cdiVersion: 0.6.0\nkind: v.example/gpu\n"
        "devices:\n- name: '0'\n  containerEdits:\n    env: [GPU=other]\n"
    )
    found = edits_of([DeviceSpec("v.example/gpu=0")], [tmp_path / "etc", tmp_path / "run"])
    assert found.env == ("GPU=other",)


def test_hooks_of_all_that_is_wanted_once(tmp_path: Path) -> None:
    def hook(name: str) -> dict[str, Any]:
        args = ["nvidia-cdi-hook", name]
        return {"hookName": "createContainer", "path": "/usr/bin/x", "args": args, "env": ["A=1"]}

    devices = [
        {"name": str(number), "containerEdits": {"hooks": [hook("create-symlinks")]}}
        for number in range(2)
    ]
    _file(tmp_path, containerEdits={"hooks": [hook("update-ldcache")]}, devices=devices)
    made = [Hook("/usr/bin/x", ("nvidia-cdi-hook", name), ("A=1",)) for name in HOOKS]
    assert _edits(tmp_path, "v.example/gpu=*").hooks == tuple(made)


HOOKS = ("update-ldcache", "create-symlinks", "create-symlinks")


def test_devices_that_are_not_there(tmp_path: Path) -> None:
    _file(tmp_path)
    for name in ("v.example/gpu=7", "w.example/gpu", "nothing"):
        assert _edits(tmp_path, name, required=False).missing == (name,)
        with pytest.raises(BuildEnvironmentError, match="is not registered"):
            _edits(tmp_path, name)
    assert _edits(tmp_path / "none", "x", required=False).missing == ("x",)


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ({"hooks": [{"hookName": "prestart", "path": "/bin/x"}]}, "wants a hook prestart"),
        ({"hooks": [{"hookName": "createContainer", "path": "x"}]}, "no absolute path"),
        ({"hooks": [{"hookName": "createContainer", "path": "/x", "timeout": -1}]}, "timeout"),
        ({"hooks": [{"path": "/bin/x"}]}, "not a CDI file"),
        ({"deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/none"}]}, "is not there"),
        ({"deviceNodes": [{"path": "/dev/x", "hostPath": "/etc"}]}, "is not a device node"),
        ({"deviceNodes": [{"path": "/etc/x", "hostPath": "/dev/null"}]}, "not below /dev"),
        ({"deviceNodes": [{"path": "/dev/../x", "hostPath": "/dev/null"}]}, "not below /dev"),
        ({"deviceNodes": [{}]}, "not a CDI file"),
        ({"deviceNodes": 5}, "not a CDI file"),
        ({"mounts": [{"hostPath": "/lib"}]}, "not a CDI file"),
    ],
)
def test_edits_that_cannot_be(tmp_path: Path, edits: dict[str, Any], says: str) -> None:
    path = _file(tmp_path, containerEdits=edits)
    with pytest.raises(BuildEnvironmentError, match=says) as caught:
        _edits(tmp_path, "v.example/gpu=1")
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"kind": "a/b"}', '{"kind": "a/b", "devices": [{}]}', "\x00", "[" * 9999],
)
def test_files_that_are_none_have_no_devices(tmp_path: Path, text: str) -> None:
    for suffix in ("json", "yaml"):
        (tmp_path / f"bad.{suffix}").write_text(text)
    _file(tmp_path)
    assert _edits(tmp_path, "v.example/gpu=1").env == ("SHARED=1", "GPU=1")
