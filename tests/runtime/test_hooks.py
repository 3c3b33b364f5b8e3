"""Hooks of ``createContainer``: what they are told, what they see, and how they fail."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.client import RuntimeFault
from runtime.config import Hook, Mount, Spec
from runtime.plan import Places, plan
from runtime.request import Rootfs
from runtime.spec import default_spec
from tests.runtime.conftest import Box

PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"


def _program(folder: Path, text: str) -> str:
    """A hook with ``$bundle`` and ``$root``."""
    path = folder / "hook"
    path.write_text(
        "#!/bin/sh\nset -e\nstate=$(cat)\n"
        """bundle=$(echo "$state" | sed 's/.*"bundle": *"\\([^"]*\\)".*/\\1/')\n"""
        f"root=$bundle/rootfs\n{text}\n"
    )
    path.chmod(0o755)
    return str(path)


def test_they_come_before_the_pivot_and_after_the_mounts() -> None:
    spec = default_spec(["true"], mounts=[Mount("/data", "bind", "/host/data", ("rbind",))])
    hooked = replace(spec, hooks=(Hook("/bin/one"), Hook("/bin/two")))
    places = Places("/state", (), (), "/stubs")
    rootfs = Rootfs(lower=("/image",), upper="/up", work="/work")
    lines = [operation.describe() for operation in plan(hooked, rootfs, places)]
    at = lines.index("run hooks /bin/one /bin/two")
    assert lines[at + 1].startswith("pivot into the root")
    assert any(line.startswith("bind /host/data") for line in lines[:at])
    assert not any("hooks" in it.describe() for it in plan(spec, rootfs, places))


def test_they_are_read_and_written() -> None:
    hooks = (Hook("/bin/a", ("a", "b"), ("X=1",), 5), Hook("/bin/b"))
    spec = replace(default_spec(["true"]), hooks=hooks)
    assert Spec.from_json(json.loads(json.dumps(spec.to_json()))).hooks == hooks


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        ({"path": "relative"}, "absolute path"),
        ({"path": "/x", "args": "text"}, "args"),
        ({"path": "/x", "timeout": 0}, "greater than zero"),
        ({"path": "/x", "timeout": "1"}, "an integer"),
    ],
)
def test_hooks_that_are_none(hook: dict[str, object], says: str) -> None:
    document = default_spec(["true"]).to_json() | {"hooks": {"createContainer": [hook]}}
    with pytest.raises(RuntimeFault, match=says):
        Spec.from_json(document)


@pytest.mark.root
def test_a_hook_changes_the_root(box: Box, tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library/lib.so.1").write_text("it")
    told = tmp_path / "told"
    program = _program(
        tmp_path,
        f"""echo "$*|$WHO" > {told}
        cat $bundle/config.json >> {told}
        test -f $root/gpu/lib.so.1
        ln -s lib.so.1 $root/link""",
    )
    hook = Hook(program, ("hook", "create-symlinks"), (PATH, "WHO=me"))
    mount = Mount("/gpu", "bind", str(tmp_path / "library"), ("rbind", "ro"))

    def change(spec: Spec) -> Spec:
        return replace(spec, mounts=(*spec.mounts, mount), hooks=(hook,))

    outcome = box.run("readlink", "/link", change=change)
    assert (outcome.code, outcome.out) == (0, "lib.so.1\n")
    words, _, config = told.read_text().partition("\n")
    assert words == "create-symlinks|me"
    assert re.fullmatch(r".*/containers/[^/]+/rootfs", json.loads(config)["root"]["path"])


@pytest.mark.root
@pytest.mark.parametrize(
    ("text", "timeout", "says"),
    [
        ("echo no GPU is here >&2; exit 7", None, "failed with status 7: no GPU is here"),
        ("kill -9 $$", None, "failed with status -9: it says nothing"),
        ("exec sleep 600", 1, "takes longer than 1 s"),
    ],
)
def test_hooks_that_fail(
    box: Box, tmp_path: Path, text: str, timeout: int | None, says: str
) -> None:
    hook = Hook(_program(tmp_path, text), env=(PATH,), timeout=timeout)
    with pytest.raises(RuntimeFault, match=says) as caught:
        box.run("true", change=lambda spec: replace(spec, hooks=(hook,)))
    assert caught.value.code == "hook-failed"


@pytest.mark.root
def test_a_hook_that_is_not_there(box: Box) -> None:
    with pytest.raises(RuntimeFault, match="cannot run the hook /nowhere: no such file") as caught:
        box.run("true", change=lambda spec: replace(spec, hooks=(Hook("/nowhere"),)))
    assert caught.value.code == "hook-failed"
